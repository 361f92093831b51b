"""The job plane's rate limits per endpoint: calls per 10 s and calls at once (runpod-api.md §2.7, Rate limits).

Only the base numbers: how much each running worker adds is not documented. Off unless `Config.enforce_rate_limits`.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from runpod_emulator.jobs._request import JobRequestError

WINDOW_S = 10.0
LIMITS: dict[str, tuple[int, int | None]] = {
    "runsync": (2000, 400),
    "run": (1000, 200),
    "status": (2000, 400),
    "stream": (2000, 400),
    "cancel": (100, 20),
    "purge-queue": (2, None),
    "openai": (2000, 400),
}


class RateLimits:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls: defaultdict[tuple[str, str], deque[float]] = defaultdict(deque)
        self._open: defaultdict[tuple[str, str], int] = defaultdict(int)

    @contextmanager
    def admit(self, endpoint_id: str, operation: str) -> Iterator[None]:
        """Count one call for as long as the block runs. Raises JobRequestError(429) when there are too many."""
        per_window, at_once = LIMITS.get(operation, (None, None))
        key = (endpoint_id, operation)
        calls, now = self._calls[key], self._clock()
        while calls and calls[0] <= now - WINDOW_S:
            calls.popleft()
        if per_window is not None and len(calls) >= per_window:
            raise JobRequestError(429, f"more than {per_window} calls of {operation} within {WINDOW_S:.0f} s")
        if at_once is not None and self._open[key] >= at_once:
            raise JobRequestError(429, f"more than {at_once} calls of {operation} at once")
        calls.append(now)
        self._open[key] += 1
        try:
            yield
        finally:
            self._open[key] -= 1
