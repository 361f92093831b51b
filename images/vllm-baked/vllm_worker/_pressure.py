"""How many jobs to take: as many as are allowed, and fewer while vLLM shows that it has too many.

A job that waits inside of this vLLM could be answered by another worker; one that is preempted is calculated twice.
What vLLM measures is asked for once a second while there are jobs, and how many may be in hand follows as TCP's window
does: down by a quarter at each sign of trouble, up again a little at a time.
"""

import math
import re
from dataclasses import dataclass, replace

MEASURE_S = 1.0
FULL = 0.95
"""Share of the KV cache in use from which nothing is added."""
ROOM = 0.85
"""Share below which there is room for more."""
QUEUED_SAMPLES = 3
"""So often in a row somebody must wait: a long prompt alone makes others wait for a moment."""
CALM_SAMPLES = 2
"""So often in a row all must be well before more is taken."""
STEPS_TO_THE_TOP = 32

_METRIC = re.compile(
    r"^vllm:(kv_cache_usage_perc|num_requests_waiting|num_preemptions_total)(?:\{[^}\n]*\})? (\S+)", re.MULTILINE
)


@dataclass(frozen=True)
class Sample:
    """What vLLM measures, over all of its engines."""

    usage: float
    """Of the fullest KV cache, 0 to 1."""
    waiting: int
    preemptions: int
    """Since vLLM's start."""


@dataclass(frozen=True)
class Limit:
    """How many jobs may be in hand now, and what led there."""

    ceiling: int
    now: int
    preemptions: int | None = None
    queued: int = 0
    calm: int = 0

    @classmethod
    def at(cls, ceiling: int) -> "Limit":
        """Before anything was measured."""
        return cls(ceiling, ceiling)

    @property
    def lowered(self) -> bool:
        """Whether less is taken than allowed."""
        return self.now < self.ceiling

    def after(self, sample: Sample, active: int) -> "Limit":
        """What follows from a measurement, with so many jobs in hand."""
        in_hand = max(1, min(self.now, active))
        preempted = self.preemptions is not None and sample.preemptions > self.preemptions
        queued = self.queued + 1 if sample.waiting > 0 else 0
        measured = replace(self, preemptions=sample.preemptions, queued=queued, calm=0)
        if preempted:
            return replace(measured, now=_less(in_hand), queued=0)
        if queued >= QUEUED_SAMPLES:
            return replace(measured, now=max(_less(in_hand), in_hand - sample.waiting), queued=0)
        if sample.usage >= FULL:
            return replace(measured, now=in_hand)
        if sample.waiting > 0 or sample.usage >= ROOM:
            return measured
        if self.calm + 1 < CALM_SAMPLES:
            return replace(measured, calm=self.calm + 1)
        return replace(measured, now=min(self.ceiling, self.now + max(1, self.ceiling // STEPS_TO_THE_TOP)))


def _less(in_hand: int) -> int:
    return max(1, in_hand * 3 // 4)


def read_sample(text: str) -> Sample | None:
    """Read vLLM's metrics; None where they do not hold what is needed (vLLM can be told not to count)."""
    found: dict[str, list[float]] = {}
    for name, value in _METRIC.findall(text):
        try:
            number = float(value)
        except ValueError:
            continue
        if math.isfinite(number):
            found.setdefault(name, []).append(number)
    try:
        return Sample(
            usage=max(found["kv_cache_usage_perc"]),
            waiting=int(sum(found["num_requests_waiting"])),
            preemptions=int(sum(found["num_preemptions_total"])),
        )
    except KeyError:
        return None


class Slots(int):
    """A number of jobs, for RunPod's SDK, that may change while there are jobs in hand.

    The SDK compares the number with the size of the queue that it made for an earlier one, and where they differ it
    takes no job at all until the last one in hand is done, which can be minutes. Its queue need not shrink for that:
    here numbers below one ceiling count as equal, so the queue is made once, for the ceiling.
    """

    ceiling: int

    def __new__(cls, now: int, ceiling: int) -> "Slots":
        slots = super().__new__(cls, now)
        slots.ceiling = ceiling
        return slots

    def __eq__(self, other: object) -> bool:
        return self.ceiling == (other.ceiling if isinstance(other, Slots) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.ceiling)
