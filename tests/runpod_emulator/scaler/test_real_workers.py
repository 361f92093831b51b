"""Real worker processes with the official SDK: killed, refreshed, crashing, stopped."""

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.runpod_emulator.jobs.support import FAST, Live, endpoint, live

pytestmark = pytest.mark.slow


async def submitted(it: Live, **order: object) -> str:
    return str((await it.call("POST", "run", json={"input": order}))["id"])


async def test_a_killed_workers_job_is_done_by_another(tmp_path: Path) -> None:
    """SIGKILL in the middle of a job: noticed at once, retried, COMPLETED by the next worker."""
    async with live(tmp_path, endpoint()) as it:
        job_id = await submitted(it, do="die-once", flag=str(tmp_path / "flag"))
        body = await it.until(job_id, "COMPLETED", "FAILED", within_s=60)
        assert body["status"] == "COMPLETED"
        assert len(it.host.containers) == 2
        assert body["output"]["pid"] == it.host.containers[1].pid
        assert it.host.containers[0].process.returncode == -signal.SIGKILL
        assert (await it.call("GET", "health"))["jobs"]["retried"] == 1


async def test_a_frozen_worker_is_noticed_by_its_missing_pings(tmp_path: Path) -> None:
    """SIGSTOP of the whole group: the polls are still open, but nobody pings."""
    timing = replace(FAST, lost_after_s=4.0, stop_grace_s=0.5)
    async with live(tmp_path, endpoint(workers_min=1), timing=timing) as it:
        await ready(it)
        frozen = it.host.containers[0]
        os.killpg(frozen.pid, signal.SIGSTOP)
        job_id = await submitted(it, text="who does it?")
        async with asyncio.timeout(40):
            while len(it.host.containers) < 2:
                await asyncio.sleep(0.1)
        with contextlib.suppress(ProcessLookupError):  # it may have been killed by now
            os.killpg(frozen.pid, signal.SIGCONT)
        body = await it.until(job_id, "COMPLETED", within_s=60)
        assert body["output"]["pid"] == it.host.containers[1].pid


async def test_refresh_worker_gives_every_job_a_fresh_process(tmp_path: Path) -> None:
    """`refresh_worker` in a result ends the process after it."""
    async with live(tmp_path, endpoint()) as it:
        pids = []
        for _ in range(2):
            body = await it.until(await submitted(it, do="refresh"), "COMPLETED", within_s=60)
            pids.append(body["output"]["pid"])
        assert len(set(pids)) == 2


async def test_stopping_the_emulator_is_quick_and_leaves_no_process(tmp_path: Path) -> None:
    """SIGTERM, released polls, an orderly exit: well below the grace time."""
    timing = replace(FAST, take_poll_s=40.0, stop_poll_s=40.0, stop_grace_s=30.0)
    async with live(tmp_path, endpoint(workers_min=1), timing=timing) as it:
        await ready(it)
        containers = it.host.containers
        began = time.monotonic()
    assert time.monotonic() - began < 20
    assert [container.process.returncode for container in containers] == [0]
    with pytest.raises(ProcessLookupError):
        os.killpg(containers[0].pid, 0)


async def test_a_crashing_program_is_unhealthy_and_tried_ever_more_rarely(tmp_path: Path) -> None:
    """Its exit code is the reason shown."""
    async with live(tmp_path, endpoint("crash", workers_min=1)) as it:
        async with asyncio.timeout(40):
            while len(it.host.containers) < 2 or it.scaler.workers("abc123def456gh")[0].status != "UNHEALTHY":
                await asyncio.sleep(0.02)
        assert "exited with code 3" in it.scaler.worker_details("abc123def456gh")[0]["reason"]


async def test_a_worker_that_never_polls_is_replaced(tmp_path: Path) -> None:
    """RUNPOD_INIT_TIMEOUT counts from the start of the process."""
    async with live(tmp_path, endpoint("never-ready", workers_min=1, env={"RUNPOD_INIT_TIMEOUT": "1"})) as it:
        async with asyncio.timeout(40):
            while len(it.host.containers) < 2:
                await asyncio.sleep(0.02)
        assert it.host.containers[0].process.returncode is not None


async def ready(it: Live) -> None:
    async with asyncio.timeout(60):
        while [worker.status for worker in it.scaler.workers("abc123def456gh")] != ["IDLE"]:
            await asyncio.sleep(0.05)
