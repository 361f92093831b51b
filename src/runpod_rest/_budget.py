"""The rate-limit budget that all calls of one client share.

RunPod counts per user, not per call. When one call learns that a window is used up, the others wait with it instead
of each finding out by a refusal of its own. A semaphore keeps the crowd small that starts when the window opens.
"""

import asyncio
from collections.abc import Callable


class Budget:
    """A gate that stays shut until a known moment."""

    def __init__(self, clock: Callable[[], float], parallel: int) -> None:
        self._clock = clock
        self._opens_at = 0.0
        self.slots = asyncio.Semaphore(parallel)

    def shut_for(self, seconds: float) -> None:
        """Nobody sends for `seconds` from now on. Never shortens a longer wait that is already known."""
        if seconds > 0:
            self._opens_at = max(self._opens_at, self._clock() + seconds)

    def wait_s(self) -> float:
        """Seconds until the next call has a chance; 0 when the gate is open."""
        return max(0.0, self._opens_at - self._clock())
