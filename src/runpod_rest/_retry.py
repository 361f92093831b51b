"""When a call is repeated, and how long we wait first.

Repeating is safe in three cases, and only there:
- the server says that it did nothing (429), or nothing was sent (no connection): any method;
- the method changes nothing, or the same thing twice (GET, HEAD, DELETE): also after 5xx and broken connections;
- the caller declares this one call repeatable.

RunPod has no idempotency key (runpod-api.md §1.1), so a POST or PATCH without an answer is handed to the caller, who
alone can look whether it was carried out.
"""

import email.utils
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

SAFE_METHODS = frozenset({"GET", "HEAD", "DELETE"})
# 501 and 505 say "never", not "not now".
_FINAL_5XX = frozenset({501, 505})
RATE_LIMIT = "rate limit"
"""The reason of a wait for RunPod's rate limit, as against one after a failure."""


@dataclass(frozen=True)
class RetryPolicy:
    """How patient a client is. Times in seconds."""

    tries: int = 4
    first_delay_s: float = 0.5
    longest_delay_s: float = 30.0
    longest_wait_s: float = 75.0
    """A rate-limit wait above this is not waited for: the error gives the figure instead. A minute's window is."""
    try_timeout_s: float = 30.0
    total_timeout_s: float = 180.0
    """For all tries and the pauses between them; waiting for the rate limit is not counted."""

    def backoff(self, failures: int, random: float) -> float:
        """Seconds before the next try: exponential, the upper half of it by chance (`random` in [0, 1))."""
        full = min(self.longest_delay_s, self.first_delay_s * 2.0 ** (failures - 1))
        return full / 2 + full / 2 * random


@dataclass(frozen=True)
class Wait:
    """One pause before a call, for whoever shows progress. `tries` is how often it was sent already."""

    call: str
    seconds: float
    reason: str
    """`RATE_LIMIT`, or what went wrong with the last try."""
    tries: int


def may_repeat_status(method: str, status: int, *, repeatable: bool = False) -> bool:
    """May a call that was answered with `status` be sent again?"""
    if status == 429:
        return True
    return status >= 500 and status not in _FINAL_5XX and (method in SAFE_METHODS or repeatable)


def may_repeat_after_break(method: str, *, sent: bool, repeatable: bool = False) -> bool:
    """May a call without an answer be sent again? `sent` is false only if no byte of it left this machine."""
    return not sent or method in SAFE_METHODS or repeatable


def retry_after_s(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds from a Retry-After header (a number or an HTTP date); None where there is none that can be read."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d+)?", value):
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - (time.time() if now is None else now))
