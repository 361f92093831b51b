"""What the worker plane needs of the scaler, which is `Context.fleet` and owns book and roster."""

from typing import Protocol, runtime_checkable

from runpod_emulator.context import Context
from runpod_emulator.jobs import JobBook
from runpod_emulator.model import Json
from runpod_emulator.workers._roster import Roster


@runtime_checkable
class RunsWorkers(Protocol):
    book: JobBook
    roster: Roster

    def worker_details(self, endpoint_id: str) -> list[Json]:
        """Every worker with its phases, the ones that are ending included."""

    def throttle(self, endpoint_id: str, on: bool) -> None:
        """As if there were no capacity: new workers stay THROTTLED until it is off again."""


def worker_plane(ctx: Context) -> RunsWorkers:
    if not isinstance(ctx.fleet, RunsWorkers):
        raise RuntimeError("the fleet in this context runs no workers; assemble the emulator with scaler.Scaler")
    return ctx.fleet
