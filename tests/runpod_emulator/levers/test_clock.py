"""A clock that is moved: everything that asks for the time follows at once."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest
import pytest_asyncio

from runpod_emulator.clock import Clock
from tests.runpod_emulator.control.support import Cloud
from tests.runpod_emulator.levers.support import Whole, until, whole
from tests.support.levers import LeverRefused, Levers

SOURCES = Path(__file__).resolve().parents[3] / "src" / "runpod_emulator"
LONG_AGO_S = 15.0
"""What would have taken 30 s or more must come in less than this, on a busy machine too."""


@pytest_asyncio.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[Whole]:
    async with whole(tmp_path / "state") as live:
        yield live


async def test_the_clock_tells_how_far_it_was_moved(emulator: Whole) -> None:
    """Now and offset; new things are dated by it."""
    before = (await emulator.levers.clock())["now"]
    now = await emulator.levers.advance(86_400)
    assert 86_400 <= now - before < 86_500
    assert (await emulator.levers.clock())["offset_s"] == 86_400
    made = await emulator.ok("GET", f"/v2/serverless/{await emulator.endpoint()}/releases")
    dated = datetime.fromisoformat(made["releases"][0]["createdAt"])
    assert abs(dated.timestamp() - now) < 100


@pytest.mark.parametrize("seconds", [-1, "60", 1e12, None])
async def test_it_runs_forward_only(emulator: Whole, seconds: object) -> None:
    """A step back, or none that is a number, is refused and moves nothing."""
    with pytest.raises(LeverRefused, match=r"\$\.advance_s"):
        await emulator.levers.advance(seconds)  # type: ignore[arg-type]
    assert (await emulator.levers.clock())["offset_s"] == 0


async def test_held_polls_and_calls_end(emulator: Whole) -> None:
    """/runsync, /stream, job-take and job-stop answer when their time has been skipped, not when it has passed."""
    endpoint_id = await emulator.endpoint()
    job_id = await emulator.run(endpoint_id)
    session = await emulator.worker(endpoint_id)
    assert (await emulator.poll(session))[0] == 200
    began = time.monotonic()
    base, key = f"/v2/{endpoint_id}", {"Authorization": session.key}
    held = [
        asyncio.create_task(emulator.call("POST", f"{base}/runsync", {"input": 1})),
        asyncio.create_task(emulator.call("GET", f"{base}/stream/{job_id}?wait=60000")),
    ]
    url = f"{emulator.ctx.base_url}{base}/job-stop/{session.worker_id}"
    stop = asyncio.create_task(emulator.http.get(url, headers=key))
    await asyncio.sleep(0.1)
    assert not any(task.done() for task in (*held, stop))
    await emulator.levers.advance(90)
    answers = [(await task)[1]["status"] for task in held]
    assert (answers, (await stop).status) == (["IN_QUEUE", "IN_PROGRESS"], 204)
    assert (await emulator.poll(session))[0] == 200  # the job of /runsync
    poll = asyncio.create_task(emulator.poll(session))
    await asyncio.sleep(0.1)
    assert not poll.done()
    await emulator.levers.advance(30)
    assert await poll == (204, None)
    assert time.monotonic() - began < LONG_AGO_S


async def test_jobs_time_out_and_expire(emulator: Whole) -> None:
    """The execution limit, the time a result is kept, and the TTL in the queue."""
    endpoint_id = await emulator.endpoint()
    job_id = await emulator.run(endpoint_id)
    session = await emulator.worker(endpoint_id)
    assert (await emulator.poll(session))[0] == 200
    await emulator.levers.advance(600)
    path = f"/v2/{endpoint_id}/status/{job_id}"
    async with asyncio.timeout(LONG_AGO_S):
        while (await emulator.ok("GET", path))["status"] != "TIMED_OUT":
            await asyncio.sleep(0.01)
    await emulator.levers.advance(1800)
    assert (await emulator.call("GET", path))[0] == 404
    queued = await emulator.run(endpoint_id, policy={"ttl": 60_000})
    await emulator.levers.advance(60)
    assert (await emulator.call("GET", f"/v2/{endpoint_id}/status/{queued}"))[0] == 404


async def test_an_idle_worker_is_stopped_and_none_is_lost(emulator: Whole) -> None:
    """The idle timeout passes by itself; an hour that was skipped is no silence of the workers."""
    endpoint_id = await emulator.endpoint(workers={"min": 0, "max": 1, "idleTimeout": 3000})
    await emulator.run(endpoint_id)
    session = await emulator.ready_worker(endpoint_id)
    for _ in range(4):
        await emulator.levers.advance(600)
        await asyncio.sleep(0.02)
    assert await emulator.statuses(endpoint_id) == ["IDLE"]
    await emulator.levers.advance(600)
    await until(lambda: not emulator.details(endpoint_id), LONG_AGO_S)
    said = [line for _, line in emulator.host.logs(session.worker_id).lines]
    assert said == ["stopping: idle for 3000 s"]


async def test_a_worker_that_is_never_ready_fails(emulator: Whole) -> None:
    """RUNPOD_INIT_TIMEOUT can be skipped."""
    endpoint_id = await emulator.endpoint()
    await emulator.run(endpoint_id)
    await emulator.worker(endpoint_id)
    await emulator.levers.advance(420)
    await until(lambda: [w["status"] for w in emulator.details(endpoint_id)] == ["UNHEALTHY"], LONG_AGO_S)


async def test_a_rate_window_opens_again(cloud: Cloud, levers: Levers) -> None:
    """A minute that is skipped refills the budget."""
    await levers.limits(1)
    assert [(await cloud.get("/v2/templates")).status for _ in range(2)] == [200, 429]
    await levers.advance(60)
    assert (await cloud.get("/v2/templates")).status == 200


async def test_a_quiet_log_stream_sends_its_heartbeat(cloud: Cloud, levers: Levers) -> None:
    """The comment of a silent stream comes when its 15 seconds are skipped."""
    made = await cloud.endpoint()
    cloud.host.logs("w1").append("system", "hello")
    url = f"{cloud.ctx.base_url}/v2/serverless/{made['id']}/workers/w1/logs"
    async with cloud.session.get(url, headers={"Authorization": f"Bearer {cloud.ctx.api_key}"}) as answer:
        await answer.content.readuntil(b"\n\n")
        await asyncio.sleep(0.05)
        await levers.advance(15)
        async with asyncio.timeout(LONG_AGO_S):
            assert await answer.content.readuntil(b"\n\n") == b": keep-alive\n\n"


async def test_a_sleep_ends_when_its_time_was_skipped_in_parts() -> None:
    """Half an hour in three steps; a fourth sleeper who wants more sleeps on."""
    clock = Clock()
    short, long = asyncio.create_task(clock.sleep(1800)), asyncio.create_task(clock.sleep(3600))
    await asyncio.sleep(0)
    for _ in range(3):
        clock.advance(600)
        await asyncio.sleep(0)
    await asyncio.wait_for(short, LONG_AGO_S)
    assert not long.done()
    long.cancel()


WHOSE_TIME_IS_REAL = {
    "clock.py": "the clock itself",
    "guard.py": "how long a request took",
    "levers/_strike.py": "the latency of a network",
    "workers/_routes.py": "pauses that keep a worker from spinning",
    "host/_host.py": "processes that have to end; durations",
    "host/_container.py": "processes that have to start and end",
    "host/_images.py": "durations",
    "host/_registry.py": "a real registry",
    "host/_log.py": "a default, replaced by the clock",
}
READS_TIME = re.compile(
    r"time\.(time|monotonic|perf_counter)\b|loop\.time\(|datetime\.now|call_later|call_at|asyncio\.sleep\((?!0\))"
)


def test_nobody_else_reads_the_systems_time() -> None:
    """Whoever reads the time, and not the clock, stands in the table with a reason."""
    reading = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        if READS_TIME.search(path.read_text(encoding="utf-8"))
    }
    assert reading == set(WHOSE_TIME_IS_REAL)
