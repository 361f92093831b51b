"""How many workers an endpoint should have: plain functions of numbers, no clock and no state."""

import math
from dataclasses import dataclass

from runpod_emulator.jobs import Demand
from runpod_emulator.model import Endpoint

DEFAULT_IDLE_TIMEOUT_S = 10
"""Of the API (runpod-api.md §1.2); used too where the field does not exist, for QUEUE with REQUEST_COUNT
(our assumption)."""
LONGEST_BACKOFF_S = 300.0


@dataclass(frozen=True)
class Wish:
    """What the rules ask for. `at_least` is what idle workers may shrink to, `now` what is to be there now."""

    now: int
    at_least: int


def queue_delay_s(endpoint: Endpoint) -> float:
    """How long a job may wait before it counts as overdue; 0 for the other scaler."""
    return float(endpoint.scaling["queueDelay"]) if endpoint.scaling["type"] == "QUEUE_DELAY" else 0.0


def wish(endpoint: Endpoint, demand: Demand, *, present: int, ready: int) -> Wish:
    """The number of workers wanted (runpod-api.md §2.3).

    REQUEST_COUNT: ceil((inQueue + inProgress) / value). QUEUE_DELAY: one more for every job that waited longer than
    the delay, beside the workers that are ready already; those still starting are counted for the overdue jobs, so that
    one waiting job never starts two workers (our assumption: how fast RunPod adds them is not documented).
    Always between workers.min and workers.max; where min is above max, max wins (our assumption).
    """
    if endpoint.scaling["type"] == "REQUEST_COUNT":
        load = math.ceil((demand.in_queue + demand.in_progress) / int(endpoint.scaling["requestCount"]))
        grown = floor = load
    else:
        grown = max(present, ready + demand.overdue) if demand.overdue else 0
        # A queue that is not overdue yet starts nobody, but keeps who is there.
        floor = present if demand.in_queue else 0
    return Wish(now=_clamp(endpoint, grown), at_least=_clamp(endpoint, floor))


def idle_timeout_s(endpoint: Endpoint) -> float:
    return float(DEFAULT_IDLE_TIMEOUT_S if endpoint.idle_timeout_s is None else endpoint.idle_timeout_s)


def backoff_s(first_s: float, failures: int) -> float:
    """The pause after the n-th failure in a row: doubling, up to five minutes (our assumption)."""
    return min(LONGEST_BACKOFF_S, first_s * 2.0 ** min(failures - 1, 30)) if failures else 0.0


def init_timeout_s(endpoint: Endpoint, default_s: float) -> float:
    """RUNPOD_INIT_TIMEOUT of the endpoint's env, in seconds (runpod-api.md §2.7); what is no number is ignored."""
    try:
        value = float(endpoint.env.get("RUNPOD_INIT_TIMEOUT", ""))
    except ValueError:
        return default_s
    return value if math.isfinite(value) and value > 0 else default_s


def _clamp(endpoint: Endpoint, count: int) -> int:
    return min(max(count, endpoint.workers_min), endpoint.workers_max)
