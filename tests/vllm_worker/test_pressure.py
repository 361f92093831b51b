"""Fewer jobs while vLLM has too many, and slowly more again."""

import asyncio
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vllm_worker.support import JobApi
from vllm_worker._pressure import CALM_SAMPLES, QUEUED_SAMPLES, STEPS_TO_THE_TOP, Limit, Sample, Slots, read_sample

CALM = Sample(0.2, 0, 7)
samples = st.builds(Sample, st.floats(0, 1), st.integers(0, 1000), st.integers(0, 5))


def after(limit: Limit, *measured: Sample, active: int = 100) -> Limit:
    return functools.reduce(lambda now, sample: now.after(sample, active), measured, limit)


def metrics(usage: float, waiting: int, preemptions: int) -> str:
    label = '{engine="0",model_name="fake"}'
    return (
        "# HELP vllm:num_requests_waiting Number of requests waiting to be processed.\n"
        f"vllm:num_requests_waiting{label} {waiting}.0\n"
        f'vllm:num_requests_waiting_by_reason{{engine="0",reason="capacity"}} 99.0\n'
        f"vllm:kv_cache_usage_perc{label} {usage}\n"
        f"vllm:num_preemptions_total{label} {preemptions}.0\n"
        f"vllm:num_preemptions_created{label} 1.7e+09\n"
    )


def test_vllms_metrics_are_read_over_all_engines() -> None:
    """The fullest cache, and the sums; nothing where vLLM does not count."""
    one = metrics(0.25, 3, 2)
    assert read_sample(one) == Sample(0.25, 3, 2)
    assert read_sample(one + metrics(0.75, 1, 1)) == Sample(0.75, 4, 3)
    for text in ("", "vllm:kv_cache_usage_perc 0.5", one.replace("_total", ""), one.replace("0.25", "NaN")):
        assert read_sample(text) is None


@pytest.mark.parametrize(
    ("measured", "active", "left"),
    [
        ([CALM] * 9, 30, 30),
        ([CALM, Sample(0.5, 0, 8)], 30, 22),
        ([CALM, Sample(0.5, 0, 8)], 8, 6),
        ([CALM, Sample(0.5, 0, 8), Sample(0.5, 0, 9)], 30, 16),
        ([CALM, Sample(0.5, 0, 8)], 0, 1),
        ([CALM, Sample(0.5, 0, 3)], 30, 30),
        ([Sample(0.5, 2, 0)] * (QUEUED_SAMPLES - 1), 30, 30),
        ([Sample(0.5, 2, 0)] * QUEUED_SAMPLES, 30, 28),
        ([Sample(0.5, 20, 0)] * QUEUED_SAMPLES, 30, 22),
        ([Sample(0.97, 0, 0)], 12, 12),
        ([Sample(0.9, 0, 0)] * 9, 30, 30),
    ],
    ids=["calm", "preempted", "of those in hand", "again", "idle", "vLLM's counter began anew", "waiting for a moment",
         "a queue", "a long queue", "full", "nearly full"],
)  # fmt: skip
def test_what_a_measurement_leads_to(measured: list[Sample], active: int, left: int) -> None:
    """Of 30 that are allowed."""
    assert after(Limit.at(30), *measured, active=active).now == left


@given(st.integers(1, 300), st.lists(st.tuples(samples, st.integers(0, 400)), max_size=40))
def test_the_limit_keeps_its_bounds(ceiling: int, course: list[tuple[Sample, int]]) -> None:
    """Whatever is measured: from 1 to what is allowed, up in small steps only, and not at all in trouble."""
    limit = Limit.at(ceiling)
    for sample, active in course:
        later = limit.after(sample, active)
        assert 1 <= later.now <= ceiling
        assert later.now - limit.now <= max(1, ceiling // STEPS_TO_THE_TOP)
        if sample.waiting or sample.usage >= 0.85 or sample.preemptions > (limit.preemptions or 0) >= 1:
            assert later.now <= limit.now
        limit = later
    steps = -(-ceiling // max(1, ceiling // STEPS_TO_THE_TOP))
    assert after(limit, *[Sample(0, 0, 0)] * (CALM_SAMPLES * steps)).now == ceiling


@given(st.integers(1, 60), st.integers(1, 60))
def test_it_settles_near_what_vllm_can_hold(ceiling: int, capacity: int) -> None:
    """With an endless queue of jobs, and a vLLM that preempts above its capacity: never far below it for long."""
    limit, preemptions, taken = Limit.at(ceiling), 0, []
    for _ in range(400):
        active = limit.now
        preemptions += active > capacity
        limit = limit.after(Sample(min(1.0, 0.8 * active / capacity), 0, preemptions), active)
        taken.append(limit.now)
    settled = taken[200:]
    assert max(settled) <= min(ceiling, capacity + 1)
    assert min(settled) >= max(1, min(ceiling, capacity) * 3 // 4)


@given(st.integers(1, 99), st.integers(1, 99), st.integers(1, 99))
def test_slots_count_as_what_they_are_and_compare_as_their_ceiling(now: int, other: int, ceiling: int) -> None:
    """What RunPod's SDK does with the number: compare with its queue's size, subtract, and ask for less or more."""
    slots = Slots(now, ceiling)
    assert slots == ceiling
    assert slots == Slots(other, ceiling)
    assert slots != ceiling + 1
    assert slots - 1 == now - 1
    assert (slots > 0, other < slots, slots <= 0) == (True, other < now, False)
    assert asyncio.Queue[int](maxsize=slots).full() is False


@pytest.mark.slow
async def test_a_worker_takes_less_under_pressure_and_more_when_it_is_over(
    start: Callable[..., Any], platform: JobApi, tmp_path: Path
) -> None:
    """With RunPod's own SDK: a job stays in the platform's queue, and is taken while another one still runs."""

    def slow() -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": "slow"}], "stream": True}

    told = tmp_path / "home0" / "metrics.txt"
    told.parent.mkdir()
    told.write_text(metrics(0.5, 0, 0))
    worker = await start(MAX_CONCURRENCY="2", WORKER_DRAIN_TIMEOUT="1")
    await worker.event("ready")
    assert not (worker.home / ".cache" / "vllm-worker" / "starts.json").exists(), "a start that succeeded is forgotten"
    first, second = await platform.submit(slow()), await platform.submit(slow())
    await platform.first_piece(first)
    await platform.first_piece(second)
    await worker.seen(lambda entry: entry.get("path") == "/metrics")
    told.write_text(metrics(0.9, 0, 3))
    assert (await worker.event("pressure"))["limit"] == 1
    await platform.cancel(second)
    await worker.seen(lambda entry: entry.get("aborted") == "slow")
    third = await platform.submit(slow())
    await asyncio.sleep(2.2)
    assert [job["id"] for job in platform.queue] == [third]
    told.write_text(metrics(0.1, 0, 3))
    await platform.first_piece(third)
    assert first not in platform.done
    assert [entry["limit"] for entry in worker.events("pressure")] == [1, 2]
    await platform.release()
