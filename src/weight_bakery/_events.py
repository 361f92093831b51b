"""What a bake tells while it runs. Events are plain data; who shows them, and how, is decided elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from weight_bakery._layers import Role

Outcome = Literal["sent", "present", "mounted"]
"""What became of a layer: its bytes moved, it was there already, or it was taken over from another repository."""

Unit = Literal["layer", "file"]


@dataclass(frozen=True)
class LayerPlanned:
    """A layer that the bake will see to. `index` names it in later events."""

    index: int
    role: Role
    label: str
    size: int


@dataclass(frozen=True)
class Planned:
    """All layers are known; nothing has moved yet."""

    target: str
    layers: tuple[LayerPlanned, ...]
    unit: Unit = "layer"
    """What `layers` are: seeding a volume moves files as they are."""


@dataclass(frozen=True)
class LayerAdvanced:
    """More bytes of a layer have been hashed or sent (negative: a try failed and starts again)."""

    index: int
    activity: Literal["hashing", "sending"]
    size: int


@dataclass(frozen=True)
class LayerFinished:
    """A layer is where it belongs."""

    index: int
    outcome: Outcome


@dataclass(frozen=True)
class Note:
    """Something worth a line: a retry, a damaged cache."""

    text: str


Event = Planned | LayerAdvanced | LayerFinished | Note
Progress = Callable[[Event], None]


def silent(event: Event) -> None:
    """Show nothing."""
    del event
