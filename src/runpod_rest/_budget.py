"""The rate-limit budget that all calls to one plane of the API share.

RunPod counts per user, not per call, and says in the headers of every answer what is left of each of its windows
(runpod-api.md §1.1). So the calls are counted here before they leave: the one that would be too many waits for the
window's end instead of earning a refusal, and all the others wait with it. A header only ever corrects the count
downwards within a window, because somebody else may use the same account, and because answers overtake each other.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_ROUNDING_S = 1.0
"""Headers give whole seconds. One that was rounded down would have us knock before the door opens."""
_SAME_WINDOW_S = 2.0
_RESERVE = 0.25
"""The part of a window that optional calls leave to the others."""


@dataclass
class _Window:
    quota: int | None
    seconds: int | None
    left: int
    began_at: float
    ends_at: float
    guessed: bool = False
    """It began anew by our clock, and no answer has told its end yet."""


class Budget:
    """What may still be sent. `take` before a call, `done` after it."""

    def __init__(self, clock: Callable[[], float], parallel: int) -> None:
        self._clock = clock
        self._opens_at = 0.0
        self._windows: dict[str, _Window] = {}
        self._under_way = 0
        self.slots = asyncio.Semaphore(parallel)
        """Keeps the crowd small that starts when a window opens."""

    def wait_s(self, *, optional: bool = False) -> float:
        """Seconds until the next call has a chance; 0 when one may leave now. Optional ones keep off the reserve."""
        now = self._clock()
        self._roll(now)
        longest = max(0.0, self._opens_at - now)
        for window in self._windows.values():
            reserve = int((window.quota or 0) * _RESERVE) if optional else 0
            if window.left <= reserve:
                longest = max(longest, window.ends_at - now)
        return longest

    def take(self) -> float:
        """One call leaves. Returns the moment, for `done`."""
        self._under_way += 1
        for window in self._windows.values():
            window.left -= 1
        return self._clock()

    def done(self, left_at: float, headers: Mapping[str, str] | None) -> None:
        """The call that left then has ended, with these headers if it was answered."""
        self._under_way -= 1
        if headers is None:
            return
        now = self._clock()
        self._roll(now)
        policy = _figures(headers.get("RateLimit-Policy", ""))
        for name, figures in _figures(headers.get("RateLimit", "")).items():
            if "r" not in figures or "t" not in figures:
                continue
            told = policy.get(name, {})
            ends_at = now + figures["t"] + _ROUNDING_S
            known = self._windows.get(name)
            if known is None or (not known.guessed and ends_at > known.ends_at + _SAME_WINDOW_S):
                # Calls on their way may be counted already or not; we take it that they are not.
                left = figures["r"] - self._under_way
                self._windows[name] = _Window(told.get("q"), told.get("w"), left, left_at, ends_at)
            elif left_at >= known.began_at:
                known.left = min(known.left, figures["r"])
                if known.guessed:
                    known.ends_at, known.guessed = ends_at, False

    def _roll(self, now: float) -> None:
        """Windows that ended begin anew: with their whole quota where it is known, else with an open mind."""
        for name, window in list(self._windows.items()):
            if window.ends_at > now:
                continue
            if not window.quota or not window.seconds:
                del self._windows[name]
                continue
            left, ends_at = window.quota - self._under_way, now + window.seconds + _ROUNDING_S
            self._windows[name] = _Window(window.quota, window.seconds, left, now, ends_at, guessed=True)

    def shut_for(self, seconds: float) -> None:
        """Nobody sends for `seconds` from now on. Never shortens a longer wait that is already known."""
        if seconds > 0:
            self._opens_at = max(self._opens_at, self._clock() + seconds)


def _figures(header: str) -> dict[str, dict[str, int]]:
    """`"minute";r=0;t=12, "hour";r=2800;t=1812` by window. What cannot be read is left out."""
    found: dict[str, dict[str, int]] = {}
    for entry in header.split(","):
        name, _, parameters = entry.strip().partition(";")
        if name:
            found[name] = {
                key: int(value) for key, value in re.findall(r"(?:^|;)\s*([a-z])=(\d{1,9})(?!\d)", parameters)
            }
    return found
