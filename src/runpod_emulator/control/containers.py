"""The container block that endpoints and templates share, and how a command travels in it (runpod-api-live.md §2.2).

`entrypoint` and `cmd` are stored inside the `args` string; answers carry all three. `args` is either a plain shell
string, which is the CMD, or the text of a JSON object `{"entrypoint": […], "cmd": […]}`.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from runpod_emulator.control.problem import bad_request


@dataclass(frozen=True)
class Command:
    """What a container runs. An empty part means the image's own."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def decode(args: str) -> Command:
    """The command that a stored `args` means. Never fails: unbalanced quotes fall back to splitting at blanks."""
    if args.lstrip().startswith("{"):
        try:
            parsed = json.loads(args)
        except ValueError:
            parsed = None
        if isinstance(parsed, dict) and set(parsed) <= {"entrypoint", "cmd"} and all(map(_is_words, parsed.values())):
            return Command(tuple(parsed.get("entrypoint", ())), tuple(parsed.get("cmd", ())))
    try:
        return Command(cmd=tuple(shlex.split(args)))
    except ValueError:
        return Command(cmd=tuple(args.split()))


def encode(command: Command) -> str:
    """The `args` text for a command given as lists. Both keys are always written (our assumption)."""
    if not command.entrypoint and not command.cmd:
        return ""
    return json.dumps({"entrypoint": list(command.entrypoint), "cmd": list(command.cmd)}, ensure_ascii=False)


@dataclass(frozen=True)
class Container:
    """Defaults as the published answers show them (§1.1; disk 20 is from an example, not a promise)."""

    image: str = ""
    args: str = ""
    disk: int = 20
    env: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[str, ...] = ()
    registry: str | None = None

    def overlaid(self, body: Mapping[str, Any], *, merge_env: bool = False) -> "Container":
        """This block with the fields of a checked body over it. `env` is replaced, or merged key by key when this
        block comes from a template (§1.2 templateId)."""
        env = dict(body.get("env", self.env))
        return replace(
            self,
            image=body.get("image", self.image),
            args=_args(body, self.args),
            disk=int(body.get("disk", self.disk)),
            env={**self.env, **env} if merge_env else env,
            ports=tuple(body.get("ports", self.ports)),
            # An empty id is no id (our assumption).
            registry=(body["registry"] or None) if "registry" in body else self.registry,
        )

    def as_json(self) -> dict[str, Any]:
        command = decode(self.args)
        return {
            "image": self.image,
            "args": self.args,
            "entrypoint": list(command.entrypoint),
            "cmd": list(command.cmd),
            "disk": self.disk,
            "ports": list(self.ports),
            "env": dict(self.env),
            "registry": self.registry,
        }


def _args(body: Mapping[str, Any], stored: str) -> str:
    entrypoint: Sequence[str] | None = body.get("entrypoint")
    cmd: Sequence[str] | None = body.get("cmd")
    if "args" in body:
        said = decode(body["args"])
        # A read-modify-write sends all three; they must mean one command. 400 is our assumption.
        if entrypoint is not None and tuple(entrypoint) != said.entrypoint:
            raise bad_request("args and entrypoint describe different commands; send one of them")
        if cmd is not None and tuple(cmd) != said.cmd:
            raise bad_request("args and cmd describe different commands; send one of them")
        return str(body["args"])
    if entrypoint is None and cmd is None:
        return stored
    before = decode(stored)
    after = Command(
        before.entrypoint if entrypoint is None else tuple(entrypoint), before.cmd if cmd is None else tuple(cmd)
    )
    return stored if after == before else encode(after)
