"""What a status is asked for, and a line of its answer: how something stands, and what to do."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from weight_bakery._request import Credentials
from weight_bakery._sources import Notice, ignore

Part = Literal["source", "registry", "stack"]
State = Literal["same", "differs", "unknown", "skipped"]
PARTS: tuple[Part, ...] = ("source", "registry", "stack")


@dataclass(frozen=True)
class Finding:
    """How one part of a target stands. `remedy` is empty where nothing is to be done."""

    part: Part
    state: State
    """`unknown`: could not be asked. `skipped`: was not to be asked, or says nothing about good or bad."""
    text: str
    remedy: str = ""


@dataclass(frozen=True)
class Deployed:
    """What a stack runs, as whoever knows the stack found out."""

    stack: str
    images: tuple[str, ...] = ()
    """References as the stack's resources have them."""
    lock: Path | None = None
    """The lock file that the stack's configuration names."""
    root: Path = Path()
    """Folder that layouts in the references are relative to."""
    problem: str = ""
    """Why the stack could not be asked; empty when it could."""
    remedy: str = ""


@dataclass(frozen=True)
class StatusRequest:
    """Which entries to look at, and how to reach what they name."""

    lock: Path
    targets: tuple[str, ...] = ()
    """As in the lock file, or as a bake was given them; empty means all."""
    parts: tuple[Part, ...] = PARTS
    deployed: Deployed | None = None
    """None when no stack was named."""
    hub_endpoint: str | None = None
    hub_token: str | None = field(default=None, repr=False)
    credentials: Credentials | None = None
    """Login for the one registry that the entries name; not used when they name several."""
    docker_config: Path | None = None
    cache: Path | None = None
    """Digest cache of folders."""
    notice: Notice = ignore
    """Told what is going to take a while. Called from other threads."""


def short(digest: str) -> str:
    """A digest or commit as people read it."""
    algorithm, colon, rest = digest.rpartition(":")
    return f"{algorithm}{colon}{rest[:12]}"
