"""The scaler's rules as laws."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runpod_emulator.jobs import Demand
from runpod_emulator.scaler import backoff_s, init_timeout_s, wish
from tests.runpod_emulator.jobs.support import endpoint

COUNT = st.integers(0, 500)
LIMIT = st.integers(0, 20)


@given(queued=COUNT, busy=COUNT, value=st.integers(1, 50), low=LIMIT, high=LIMIT, present=LIMIT)
def test_request_count_is_the_documented_formula(
    queued: int, busy: int, value: int, low: int, high: int, present: int
) -> None:
    """ceil((inQueue + inProgress) / value), between min and max."""
    it = endpoint(workers_min=low, workers_max=high, scaling={"type": "REQUEST_COUNT", "requestCount": value})
    wanted = wish(it, Demand(queued, busy), present=present, ready=present).now
    assert wanted == min(high, max(low, math.ceil((queued + busy) / value)))


@given(queued=COUNT, busy=COUNT, overdue=COUNT, low=LIMIT, high=LIMIT, ready=LIMIT, starting=LIMIT)
def test_queue_delay_never_leaves_min_and_max(
    queued: int, busy: int, overdue: int, low: int, high: int, ready: int, starting: int
) -> None:
    """And asks for at most one worker per overdue job, counting those that start already."""
    it = endpoint(workers_min=low, workers_max=high, scaling={"type": "QUEUE_DELAY", "queueDelay": 4})
    overdue = min(overdue, queued)
    got = wish(it, Demand(queued, busy, overdue), present=ready + starting, ready=ready)
    assert min(low, high) <= got.now <= high
    assert got.now <= max(low, ready + max(starting, overdue))
    assert got.at_least <= high


def test_one_waiting_job_never_starts_two_workers() -> None:
    """While the first worker starts, the wish stays at one."""
    it = endpoint(workers_max=5, scaling={"type": "QUEUE_DELAY", "queueDelay": 4})
    assert wish(it, Demand(1, 0, 1), present=0, ready=0).now == 1
    assert wish(it, Demand(1, 0, 1), present=1, ready=0).now == 1


@given(st.integers(1, 10_000))
def test_back_off_grows_and_has_an_end(failures: int) -> None:
    """Doubling, never longer than five minutes."""
    assert backoff_s(2.0, failures) <= backoff_s(2.0, failures + 1) <= 300.0
    assert backoff_s(2.0, 0) == 0.0


@pytest.mark.parametrize(
    ("value", "seconds"), [("1200", 1200.0), ("", 420.0), ("soon", 420.0), ("-1", 420.0), ("inf", 420.0)]
)
def test_the_init_limit_comes_from_the_endpoints_env(value: str, seconds: float) -> None:
    """RUNPOD_INIT_TIMEOUT in seconds; what is no number is ignored."""
    assert init_timeout_s(endpoint(env={"RUNPOD_INIT_TIMEOUT": value}), 420.0) == seconds
