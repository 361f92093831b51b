"""How fast a flow is, when it has collapsed, and how many flows may run beside each other after that.

The Hub has been seen to throttle: about 75-90 MB/s per flow, then 0.1-1 MB/s after 18-30 GB, for good, with six and
more flows at once; with four it held 300 MB/s for 90 GB (huggingface_hub issue 4893; per-flow rates: huggingface.js
issue 2350). That is a fall to a seventieth or less. A collapse is called at a twentieth, so that flows which merely
share a line are left alone. What helps: another connection by a new address, and fewer flows.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_S = 10.0
"""A rate is taken over this long: an ordinary hiccup of a connection is shorter."""
STARVED = 0.8
"""Only a window in which the reader mostly waited tells of the source; else it was the target that was slow."""
COLLAPSE = 20
"""A flow has collapsed when its rate is less than one such part of the best it had."""
PAUSE_S = 45.0
"""A collapsed flow lets others go first for so long at most. Registries' and our own stall limits are 60 s and more."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class Collapse:
    """What a flow had, and what it has left, in bytes per second."""

    best: float
    now: float


class RateWatch:
    """The rate of one flow, window by window. The best is kept over reconnections, which is what makes it useful."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self.best = 0.0
        self._restart()

    def start(self) -> float:
        """Return the time before a read, for `took`."""
        return self._clock()

    def took(self, started: float, size: int) -> Collapse | None:
        """Count a read of `size` bytes; says so when the window that it ends was a collapse."""
        now = self._clock()
        self._waited += now - started
        self._bytes += size
        elapsed = now - self._began
        if elapsed < WINDOW_S:
            return None
        rate, starved = self._bytes / elapsed, self._waited / elapsed >= STARVED
        self._restart()
        if starved and rate * COLLAPSE < self.best:
            return Collapse(self.best, rate)
        self.best = max(self.best, rate)
        return None

    def _restart(self) -> None:
        self._began = self._clock()
        self._waited = 0.0
        self._bytes = 0


class FlowGate:
    """How many connections to a source may be open at once: any number, until one of them collapses."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = 0
        self.limit: int | None = None
        """None while nothing has collapsed."""

    def enter(self, stopped: Callable[[], bool], pause_s: float = PAUSE_S) -> None:
        """Take a place. Waits for one, but never for long: an upload that starves is given up by its registry."""
        with self._changed:
            self._changed.wait_for(lambda: stopped() or self.limit is None or self._open < self.limit, pause_s)
            self._open += 1

    def leave(self) -> None:
        """Give the place back."""
        with self._changed:
            self._open -= 1
            self._changed.notify_all()

    def collapsed(self) -> int:
        """Allow one flow less than are open now, never none; returns the new limit. Call it before `leave`."""
        with self._changed:
            self.limit = max(1, min(self._open, self.limit or self._open) - 1)
            return self.limit

    def wake(self) -> None:
        """Let everybody who waits look again whether the bake was stopped."""
        with self._changed:
            self._changed.notify_all()
