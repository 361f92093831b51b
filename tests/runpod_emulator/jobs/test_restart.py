"""kill -9 of the emulator: what was accepted is still there in its next life."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from runpod_emulator.model import ContainerSpec
from tests.runpod_emulator.workers.support import HandWorker

ROOT = Path(__file__).parents[3]
CALLER = {"Authorization": "Bearer test-key"}


@asynccontextmanager
async def life(directory: Path) -> AsyncIterator[tuple[str, HandWorker]]:
    """One life of the emulator, ended with SIGKILL; its URL and the worker that it started."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.runpod_emulator.jobs.emulator_process", str(directory),
        cwd=ROOT, env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            started = json.loads(await process.stdout.readline())
        spec = ContainerSpec(started["id"], "abc123def456gh", "plain", started["env"])
        async with aiohttp.ClientSession() as http:
            url = started["env"]["RUNPOD_WEBHOOK_PING"].split("/ping/")[0]
            yield url, HandWorker(spec, http)
    finally:
        process.kill()
        await process.wait()


async def test_jobs_survive_kill_9_of_the_emulator(tmp_path: Path) -> None:
    """Queued ones stay queued, running ones are queued again in front, finished ones keep their result."""
    async with aiohttp.ClientSession(headers=CALLER) as caller:

        async def run(url: str) -> str:
            async with caller.post(f"{url}/run", json={"input": {"n": 1}}) as answer:
                return str((await answer.json())["id"])

        async def status(url: str, job_id: str) -> str:
            async with caller.get(f"{url}/status/{job_id}") as answer:
                return str((await answer.json())["status"])

        async with life(tmp_path) as (url, worker):
            done, running, queued = [await run(url) for _ in range(3)]
            await worker.take()
            await worker.done(done, {"output": "kept"})
            await worker.take()
            assert await status(url, running) == "IN_PROGRESS"
        async with life(tmp_path) as (url, other):
            assert [await status(url, job_id) for job_id in (done, running, queued)] == [
                "COMPLETED",
                "IN_QUEUE",
                "IN_QUEUE",
            ]
            assert other.spec.worker_id != worker.spec.worker_id
            assert [(await other.take())[1]["id"] for _ in range(2)] == [running, queued]
            await other.done(running, {"output": 1})
            assert await status(url, running) == "COMPLETED"
