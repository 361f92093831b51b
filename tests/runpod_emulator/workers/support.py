"""A worker played by hand: it speaks the worker plane as the SDK does, one request at a time."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from runpod_emulator import Timing
from runpod_emulator.model import ContainerSpec, Endpoint
from tests.runpod_emulator.jobs.support import Live, endpoint, live
from tests.runpod_emulator.scaler.support import FakeHost

QUICK = Timing(take_poll_s=0.3, stop_poll_s=0.3, stream_wait_s=0.4, scaler_tick_s=0.02, webhook_retry_s=0.05,
               restart_backoff_s=0.05)  # fmt: skip


@dataclass
class HandWorker:
    """Built from what the host was told to start; its URLs come from the environment, as the SDK's do."""

    spec: ContainerSpec
    http: aiohttp.ClientSession

    def url(self, variable: str, job_id: str = "") -> str:
        text = self.spec.env[variable]
        if "GET_JOB" in variable:
            return text.replace("$ID", self.spec.worker_id)
        return text.replace("$RUNPOD_POD_ID", self.spec.worker_id).replace("$ID", job_id)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": self.spec.env["RUNPOD_AI_API_KEY"]}

    async def take(self) -> tuple[int, Any]:
        return await self._get(self.url("RUNPOD_WEBHOOK_GET_JOB") + "&job_in_progress=0")

    async def take_batch(self, size: Any) -> tuple[int, Any]:
        url = self.url("RUNPOD_WEBHOOK_GET_JOB").replace("/job-take/", "/job-take-batch/")
        return await self._get(f"{url}&batch_size={size}&job_in_progress=1")

    async def stops(self) -> tuple[int, Any]:
        return await self._get(self.url("RUNPOD_WEBHOOK_GET_JOB").replace("/job-take/", "/job-stop/"))

    async def ping(self, **query: str) -> int:
        extra = "".join(f"&{name}={value}" for name, value in query.items())
        return (await self._get(self.url("RUNPOD_WEBHOOK_PING") + extra))[0]

    async def done(self, job_id: str, body: Any, *, url: str | None = None) -> tuple[int, Any]:
        return await self._post((url or self.url("RUNPOD_WEBHOOK_POST_OUTPUT", job_id)) + "&isStream=false", body)

    async def piece(self, job_id: str, output: Any) -> tuple[int, Any]:
        return await self._post(self.url("RUNPOD_WEBHOOK_POST_STREAM", job_id) + "&isStream=false", {"output": output})

    async def _get(self, url: str) -> tuple[int, Any]:
        async with self.http.get(url, headers=self.headers) as answer:
            return answer.status, (await answer.json() if answer.status != 204 else None)

    async def _post(self, url: str, body: Any) -> tuple[int, Any]:
        # Labelled as a form although it is JSON, as the SDK does it.
        headers = {**self.headers, "Content-Type": "application/x-www-form-urlencoded", "charset": "utf-8"}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.http.post(url, data=io.BytesIO(data), headers=headers) as answer:
            return answer.status, await answer.json()


@dataclass
class Stage:
    live: Live
    host: FakeHost
    workers: list[HandWorker]

    @property
    def worker(self) -> HandWorker:
        return self.workers[0]


@asynccontextmanager
async def stage(directory: Path, *endpoints: Endpoint, workers: int = 1, **config: Any) -> AsyncIterator[Stage]:
    """A live emulator whose `workers` first workers are played by the test. They have not polled yet."""
    host = FakeHost()
    chosen = endpoints or (endpoint(workers_min=workers, workers_max=workers),)
    config.setdefault("timing", QUICK)
    async with live(directory, *chosen, host=host, **config) as running, aiohttp.ClientSession() as http:
        async with asyncio.timeout(5):
            while len(host.specs) < workers:
                await asyncio.sleep(0.01)
        yield Stage(running, host, [HandWorker(spec, http) for spec in host.specs])
