"""What the emulated world is like just now: how much capacity there is, and what befalls workers that start.

Moved by the levers, asked by the scaler. In memory only: a new emulator has unlimited capacity and healthy workers.
"""

from dataclasses import dataclass, field

from runpod_emulator.model import Endpoint, WorkerStatus

ANYTHING = "*"


@dataclass(frozen=True)
class Fate:
    """What befalls every worker of an endpoint that starts from now on."""

    crash_after_s: float | None = None
    """Its process ends so long after its start."""
    exit_code: int = 1
    pull_seconds: float | None = None
    """Its image takes at least so long."""
    shown_as: WorkerStatus | None = None
    """What it is shown as between its crash and its replacement, instead of UNHEALTHY: RunPod was seen to go on
    reporting crash-looping workers as RUNNING, THROTTLED or IDLE (runpod-api-live.md §3)."""


@dataclass
class Conditions:
    capacity: dict[str, int] = field(default_factory=dict)
    """GPU pool, GPU type or `*` -> how many workers can run there at once; what is not named has no limit."""
    fates: dict[str, Fate] = field(default_factory=dict)
    """Endpoint id, endpoint name or `*` -> fate."""

    def fate(self, endpoint: Endpoint) -> Fate:
        """The most exact rule alone counts."""
        for key in (endpoint.id, endpoint.name, ANYTHING):
            if key in self.fates:
                return self.fates[key]
        return Fate()

    def has_room(self, *, total: int, in_pool: int, on_type: int, pool: str | None, gpu_type: str | None) -> bool:
        """Whether one more worker can be placed beside so many that run already."""
        for key, used in ((ANYTHING, total), (pool, in_pool), (gpu_type, on_type)):
            limit = None if key is None else self.capacity.get(key)
            if limit is not None and used >= limit:
                return False
        return True
