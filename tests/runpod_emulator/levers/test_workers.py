"""Capacity, and what befalls workers, as levers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.runpod_emulator.levers.support import Whole, until, whole
from tests.support.levers import LeverRefused


@pytest_asyncio.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[Whole]:
    async with whole(tmp_path / "state") as live:
        yield live


async def settled(emulator: Whole, endpoint_id: str, *statuses: str) -> None:
    async with asyncio.timeout(20):
        while await emulator.statuses(endpoint_id) != sorted(statuses):
            await asyncio.sleep(0.01)


async def test_without_capacity_a_worker_is_throttled_until_there_is_some(emulator: Whole) -> None:
    """0 places in the only pool; taking the limit away starts the worker at once."""
    assert await emulator.levers.capacity({"ADA_24": 0}) == {"ADA_24": 0}
    endpoint_id = await emulator.endpoint()
    await emulator.run(endpoint_id)
    await settled(emulator, endpoint_id, "THROTTLED")
    assert (await emulator.ok("GET", f"/v2/{endpoint_id}/health"))["workers"]["throttled"] == 1
    assert await emulator.levers.capacity({"ADA_24": None}) == {}
    await settled(emulator, endpoint_id, "INITIALIZING")


async def test_another_pool_takes_what_the_first_cannot(emulator: Whole) -> None:
    """A worker goes to the first type with room: another pool, another type of the pool."""
    await emulator.levers.capacity({"ADA_24": 0, "NVIDIA RTX A5000": 0})
    endpoint_id = await emulator.endpoint(gpu={"pools": ["ADA_24", "AMPERE_24"]})
    await emulator.run(endpoint_id)
    await settled(emulator, endpoint_id, "INITIALIZING")
    (worker,) = (await emulator.ok("GET", f"/v2/serverless/{endpoint_id}/workers"))["workers"]
    assert worker["gpuTypeId"] == "NVIDIA GeForce RTX 3090"


async def test_places_are_counted_over_all_endpoints(emulator: Whole) -> None:
    """One place for all: the second endpoint waits until the first is gone."""
    await emulator.levers.capacity({"*": 1})
    first, second = await emulator.endpoint(), await emulator.endpoint()
    await emulator.run(first)
    await settled(emulator, first, "INITIALIZING")
    await emulator.run(second)
    await settled(emulator, second, "THROTTLED")
    await emulator.ok("DELETE", f"/v2/serverless/{first}")
    await settled(emulator, second, "INITIALIZING")


async def test_a_lower_limit_ends_nobody(emulator: Whole) -> None:
    """Workers that run stay; capacity is asked only for placing."""
    endpoint_id = await emulator.endpoint()
    await emulator.run(endpoint_id)
    session = await emulator.worker(endpoint_id)
    await emulator.levers.capacity({"*": 0})
    await asyncio.sleep(0.1)
    assert [worker["id"] for worker in emulator.details(endpoint_id)] == [session.worker_id]


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ({"ADA_25": 1}, "'ADA_25' is no GPU pool"),
        ({"ADA_24": -1}, r"\$\.ADA_24: minimum"),
        ({"ADA_24": 1, "*": "2"}, r"\$\.\*: got string, want integer"),
    ],
)
async def test_a_wrong_capacity_is_refused_whole(emulator: Whole, places: Any, said: str) -> None:
    """The place is named, and nothing is changed."""
    with pytest.raises(LeverRefused, match=said):
        await emulator.levers.capacity(places)
    assert await emulator.levers.capacity() == {}


async def test_a_worker_crashes_and_crashes_again(emulator: Whole) -> None:
    """Its process ends after the asked time with the asked code; its successor does the same after the pause."""
    endpoint_id = await emulator.endpoint(name="doomed")
    await emulator.levers.workers("doomed", crash_after_s=50, exit_code=3)
    await emulator.run(endpoint_id)
    seen = set()
    for _ in range(2):
        session = await emulator.worker(endpoint_id)
        seen.add(session.worker_id)
        await emulator.levers.advance(49)
        await asyncio.sleep(0.02)
        assert await emulator.statuses(endpoint_id) == ["INITIALIZING"]
        await emulator.levers.advance(1)
        await settled(emulator, endpoint_id, "UNHEALTHY")
        (worker,) = emulator.details(endpoint_id)
        assert worker["reason"] == "the worker exited with code 3"
        assert emulator.host.alive() == []
        await emulator.levers.advance(300)
    await until(lambda: len(emulator.host.specs) == 3)
    assert len(seen) == 2


async def test_a_crashing_worker_can_be_shown_as_healthy(emulator: Whole) -> None:
    """What RunPod was seen to do: it goes on saying RUNNING, and nothing is unhealthy."""
    endpoint_id = await emulator.endpoint()
    await emulator.levers.workers("*", crash_after_s=0, shown_as="RUNNING")
    await emulator.run(endpoint_id)
    await settled(emulator, endpoint_id, "RUNNING")
    assert emulator.host.alive() == []
    told = (await emulator.ok("GET", f"/v2/{endpoint_id}/health"))["workers"]
    assert (told["running"], told["unhealthy"]) == (1, 0)


async def test_a_worker_that_ends_before_its_crash_ends_as_it_does(emulator: Whole) -> None:
    """A crash that is still to come changes nothing."""
    endpoint_id = await emulator.endpoint()
    await emulator.levers.workers("*", crash_after_s=3600, exit_code=3)
    await emulator.run(endpoint_id)
    session = await emulator.worker(endpoint_id)
    emulator.host.containers[session.worker_id].exit(7)
    await settled(emulator, endpoint_id, "UNHEALTHY")
    assert emulator.details(endpoint_id)[0]["reason"] == "the worker exited with code 7"


async def test_a_slow_pull_keeps_a_worker_initializing(emulator: Whole) -> None:
    """No process before the asked time is over; a deleted endpoint does not wait for it."""
    slow, deleted = await emulator.endpoint(name="slow"), await emulator.endpoint(name="slow")
    await emulator.levers.workers("slow", pull_seconds=1200)
    await emulator.run(slow)
    await emulator.run(deleted)
    await settled(emulator, slow, "INITIALIZING")
    await settled(emulator, deleted, "INITIALIZING")
    await emulator.levers.advance(1100)
    await emulator.ok("DELETE", f"/v2/serverless/{deleted}")
    assert emulator.host.specs == []
    await emulator.levers.advance(100)
    await until(lambda: len(emulator.host.specs) == 1)


async def test_the_most_exact_rule_counts_and_nothing_removes_one(emulator: Whole) -> None:
    """The id before the name before `*`; a rule that asks for nothing is none."""
    endpoint_id = await emulator.endpoint(name="llm")
    levers = emulator.levers
    await levers.workers("*", crash_after_s=1)
    await levers.workers("llm", pull_seconds=5)
    await levers.workers(endpoint_id, crash_after_s=2, exit_code=9)
    stored = emulator.ctx.endpoints.endpoint(endpoint_id)
    assert stored is not None
    fate = emulator.ctx.conditions.fate
    assert (fate(stored).crash_after_s, fate(stored).exit_code) == (2, 9)
    await levers.workers(endpoint_id)
    assert (fate(stored).crash_after_s, fate(stored).pull_seconds) == (None, 5)
    await levers.workers("llm")
    assert fate(stored).crash_after_s == 1
    assert [rule["endpoint"] for rule in await levers.worker_rules()] == ["*"]
    await levers.clear_workers()
    assert await levers.worker_rules() == []


async def test_a_restart_puts_every_lever_back(tmp_path: Path) -> None:
    """What was made stays; faults, budget, capacity, fates, counters and skipped time do not."""
    async with whole(tmp_path) as first:
        made = await first.endpoint()
        levers = first.levers
        await levers.status(500, times=None)
        await levers.limits(1)
        await levers.capacity({"*": 0})
        await levers.workers("*", crash_after_s=0)
        await levers.advance(3600)
    async with whole(tmp_path) as second:
        levers = second.levers
        assert await levers.requests() == {}
        assert (await levers.faults(), await levers.capacity(), await levers.worker_rules()) == ([], {}, [])
        assert (await levers.clock())["offset_s"] == 0
        assert [(await second.call("GET", f"/v2/serverless/{made}"))[0] for _ in range(3)] == [200] * 3


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"exit_code": 256}, r"\$\.exit_code: maximum"),
        ({"crash_after_s": -1}, r"\$\.crash_after_s: minimum"),
        ({"pull_seconds": "long"}, r"\$\.pull_seconds: got string, want number"),
        ({"shown_as": "FINE"}, r"\$\.shown_as: value must be one of"),
    ],
)
async def test_a_wrong_fate_is_refused_with_its_field(emulator: Whole, fields: Any, said: str) -> None:
    """The field is named, and no rule is made."""
    with pytest.raises(LeverRefused, match=said):
        await emulator.levers.workers("*", **fields)
    assert await emulator.levers.worker_rules() == []
