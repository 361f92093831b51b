"""The emulator's time: the system's, plus what was skipped with `POST /_emulator/clock`.

True here: whatever waits for a moment of the emulated cloud (an idle timeout, a TTL, a held poll, a retry) reckons with
this clock and wakes when it is moved. What waits for this machine (a process that has to end, a registry, the pauses
that keep a worker from spinning, a fault's latency) reckons with the system's time: moving a clock does not hurry it.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from runpod_emulator.waiting import Signal

MovedBy = Callable[[float], None]


class Clock:
    """Call it for seconds since the epoch. Runs forward only; a new emulator's clock is at the system's time again."""

    def __init__(self, base: Callable[[], float] = time.time) -> None:
        self._base = base
        # Deadlines must not follow a system clock that is set; a test's own clock is never set.
        self._steady = time.monotonic if base is time.time else base
        self._observers: list[MovedBy] = []
        self.offset_s = 0.0
        self.moved = Signal()
        """Fires when time was skipped."""

    def __call__(self) -> float:
        return self._base() + self.offset_s

    def steady(self) -> float:
        """Seconds since some moment, for deadlines."""
        return self._steady() + self.offset_s

    def observe(self, moved: MovedBy) -> None:
        """`moved` hears how many seconds were skipped, before anyone wakes."""
        self._observers.append(moved)

    def advance(self, seconds: float) -> None:
        self.offset_s += seconds
        for observer in self._observers:
            observer(seconds)
        self.moved.fire()

    async def sleep(self, seconds: float) -> None:
        end = self.steady() + seconds
        while (left := end - self.steady()) > 0:
            await self.moved.wait(left)

    async def finished(self, future: asyncio.Future[Any], within_s: float) -> bool:
        """Whether it is done within so many seconds of this clock. It is never cancelled here."""
        skipping = asyncio.ensure_future(self.sleep(within_s))
        try:
            await asyncio.wait({future, skipping}, return_when=asyncio.FIRST_COMPLETED)
            return future.done()
        finally:
            skipping.cancel()
            await asyncio.gather(skipping, return_exceptions=True)
