"""The account's budget for the control plane (runpod-api.md §1.1): fixed windows, told in headers, refused when asked.

The headers go out on every authenticated answer; whether a used-up window refuses is a mode (`enforced`), which the
command line sets for a start and the lever `PUT /_emulator/limits` for now.
"""

import math
from dataclasses import dataclass, field, replace

from aiohttp import web

from runpod_emulator.config import Config, RateWindow

MINUTE = RateWindow("minute", 0, 60)


@dataclass
class RateLimiter:
    """Fixed windows for the one caller there is."""

    windows: tuple[RateWindow, ...]
    enforced: bool = False
    per_minute: int | None = None
    """What the lever set; None: the windows the emulator was started with."""
    _used: dict[str, tuple[float, int]] = field(default_factory=dict)

    def count(self, now: float) -> None:
        for window in self.windows:
            start, used = self._current(window, now)
            self._used[window.name] = (start, used + 1)

    def exceeded(self, now: float) -> tuple[RateWindow, int] | None:
        """The used-up window that takes longest to reset, and how many seconds that is."""
        full = [
            (self._reset(window, now), window)
            for window in self.windows
            if self._current(window, now)[1] >= window.quota
        ]
        if not full:
            return None
        wait, window = max(full, key=lambda item: item[0])
        return window, wait

    def set_per_minute(self, quota: int | None, config: Config) -> None:
        """A fresh budget: `quota` calls a minute and refused beyond, or None: as the emulator was started."""
        self.per_minute = quota
        self.enforced = config.enforce_rate_limits or quota is not None
        self.windows = config.rate_windows
        if quota is not None:
            longer = tuple(window for window in config.rate_windows if window.name != MINUTE.name)
            self.windows = (replace(MINUTE, quota=quota), *longer)
        self._used.clear()

    def policy(self) -> str:
        return ", ".join(f'"{window.name}";q={window.quota};w={window.seconds}' for window in self.windows)

    def state(self, now: float) -> str:
        return ", ".join(
            f'"{window.name}";r={max(0, window.quota - self._current(window, now)[1])};t={self._reset(window, now)}'
            for window in self.windows
        )

    def _current(self, window: RateWindow, now: float) -> tuple[float, int]:
        start, used = self._used.get(window.name, (now, 0))
        return (now, 0) if now - start >= window.seconds else (start, used)

    def _reset(self, window: RateWindow, now: float) -> int:
        start, _ = self._current(window, now)
        return max(1, math.ceil(start + window.seconds - now))


LIMITER: web.AppKey[RateLimiter] = web.AppKey("runpod_emulator.rate_limiter", RateLimiter)
