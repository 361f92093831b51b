"""What a program asks for: one registration, decoded and defaulted."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pulumi_embedded._state import ResourceState
from pulumi_embedded._values import PropertyMap


@dataclass(frozen=True)
class Alias:
    """Another name the resource may be recorded under: a URN, or what differs from the present one."""

    urn: str = ""
    name: str = ""
    type: str = ""
    stack: str = ""
    project: str = ""
    parent: str = ""
    no_parent: bool = False


@dataclass
class Registered:
    """What the program is told. `result`: success, failed or skipped."""

    state: ResourceState | None
    result: str = "success"


@dataclass(eq=False)
class Goal:
    """One RegisterResource. `done` is resolved with a `Registered`."""

    type: str
    name: str
    custom: bool
    properties: PropertyMap
    parent: str = ""
    protect: bool | None = None
    dependencies: list[str] = field(default_factory=list)
    provider: str = ""
    property_dependencies: dict[str, list[str]] = field(default_factory=dict)
    delete_before_replace: bool | None = None
    ignore_changes: list[str] = field(default_factory=list)
    additional_secret_outputs: list[str] = field(default_factory=list)
    aliases: Sequence[Alias] = ()
    import_id: str = ""
    custom_timeouts: dict[str, float] = field(default_factory=dict)
    replace_on_changes: list[str] = field(default_factory=list)
    replacement_trigger: Any = None
    retain_on_delete: bool | None = None
    deleted_with: str = ""
    replace_with: list[str] = field(default_factory=list)
    hide_diff: list[str] = field(default_factory=list)
    source_position: str = ""
    done: "asyncio.Future[Registered] | None" = None

    def resolve(self, registered: Registered) -> None:
        """Answer the registration, once."""
        if self.done is not None and not self.done.done():
            self.done.set_result(registered)


@dataclass(eq=False)
class ReadGoal:
    """One ReadResource (`.get`)."""

    type: str
    name: str
    id: Any
    properties: PropertyMap
    parent: str = ""
    provider: str = ""
    dependencies: list[str] = field(default_factory=list)
    additional_secret_outputs: list[str] = field(default_factory=list)
    source_position: str = ""
    done: "asyncio.Future[Registered] | None" = None

    def resolve(self, registered: Registered) -> None:
        """Answer the read, once."""
        if self.done is not None and not self.done.done():
            self.done.set_result(registered)


_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Seconds in `20m`, `1h30m`, `1.5s`; ValueError otherwise."""
    if text == "0":
        return 0.0
    position, total = 0, 0.0
    for match in _DURATION.finditer(text):
        if match.start() != position:
            break
        total += float(match[1]) * _UNIT_S[match[2]]
        position = match.end()
    if not text or position != len(text):
        raise ValueError(f"unable to parse customTimeout Value {text}")
    return total
