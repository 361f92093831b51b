"""Levers against a worker that is a real process with the official SDK."""

import asyncio
from pathlib import Path

from tests.runpod_emulator.jobs.support import endpoint, live
from tests.support.levers import Levers


async def test_a_real_worker_outlives_skipped_hours_and_crashes_when_asked(tmp_path: Path) -> None:
    """It works on after hours through which it could not ping; its crash ends the process, with the asked code."""
    one = endpoint(idle_timeout_s=1_000_000)
    async with live(tmp_path, one) as emulator, Levers(emulator.ctx.base_url, "test-key") as levers:
        await levers.workers("*", crash_after_s=80_000, exit_code=3)
        for _ in range(2):
            job = await emulator.call("POST", "run", json={"input": {"n": 1}})
            assert (await emulator.until(job["id"], "COMPLETED", "FAILED"))["status"] == "COMPLETED"
            await levers.advance(36_000)
        (container,) = emulator.host.containers
        assert container.process.returncode is None
        await levers.advance(10_000)
        async with asyncio.timeout(20):
            while emulator.scaler.worker_details(one.id)[0]["reason"] != "the worker exited with code 3":
                await asyncio.sleep(0.02)
        assert container.process.returncode is not None
