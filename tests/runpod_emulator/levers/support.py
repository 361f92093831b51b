"""A whole emulator whose worker processes are futures, and whose workers a test speaks for over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from runpod_emulator import Config, control, running
from runpod_emulator.context import Context
from runpod_emulator.model import Json
from runpod_emulator.scaler import Scaler
from runpod_emulator.store import Store
from runpod_emulator.workers import WorkerSession
from tests.runpod_emulator.control.support import endpoint_body
from tests.runpod_emulator.jobs.support import FAST
from tests.runpod_emulator.scaler.support import FakeHost
from tests.support.levers import Levers

KEY = "rpa_WHOLEwholeWHOLEwholeWHOLE0123456789"
TIMING = replace(FAST, take_poll_s=30.0, stop_poll_s=30.0, lost_after_s=30.0, init_timeout_s=420.0)
"""The real waits, which only a clock that is moved gets over in a test."""


class Whole:
    def __init__(self, ctx: Context, host: FakeHost, http: aiohttp.ClientSession, levers: Levers) -> None:
        self.ctx, self.host, self.http, self.levers = ctx, host, http, levers
        assert isinstance(ctx.fleet, Scaler)
        self.scaler = ctx.fleet

    async def call(self, method: str, path: str, body: Any = None, *, key: str = KEY) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key}"}
        async with self.http.request(method, self.ctx.base_url + path, json=body, headers=headers) as answer:
            text = await answer.text()
            return answer.status, await answer.json(content_type=None) if text else None

    async def ok(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = await self.call(method, path, body)
        assert status < 300, answer
        return answer

    async def endpoint(self, **fields: Any) -> str:
        body = endpoint_body(scaling={"type": "QUEUE_DELAY", "queueDelay": 1}, **fields)
        return str((await self.ok("POST", "/v2/serverless", body))["id"])

    async def run(self, endpoint_id: str, **more: Any) -> str:
        """A job whose queue delay is over."""
        job_id = str((await self.ok("POST", f"/v2/{endpoint_id}/run", {"input": 1, **more}))["id"])
        await self.levers.advance(1)
        return job_id

    async def statuses(self, endpoint_id: str) -> list[str]:
        found = await self.ok("GET", f"/v2/serverless/{endpoint_id}/workers")
        return sorted(worker["status"] for worker in found["workers"])

    def details(self, endpoint_id: str) -> list[Json]:
        return self.scaler.worker_details(endpoint_id)

    async def worker(self, endpoint_id: str) -> WorkerSession:
        """The session of the endpoint's one worker, as soon as its process is there."""
        await until(lambda: any(worker["pid"] for worker in self.details(endpoint_id)))
        found = self.scaler.roster.session(next(w["id"] for w in self.details(endpoint_id) if w["pid"]))
        assert found is not None
        return found

    async def poll(self, session: WorkerSession) -> tuple[int, Any]:
        """job-take, as the SDK asks."""
        url = f"{self.ctx.base_url}/v2/{session.endpoint_id}/job-take/{session.worker_id}"
        async with self.http.get(url, headers={"Authorization": session.key}) as answer:
            return answer.status, await answer.json() if answer.status == 200 else None

    async def ready_worker(self, endpoint_id: str) -> WorkerSession:
        """A worker that has done the endpoint's first job and is idle now."""
        session = await self.worker(endpoint_id)
        status, job = await self.poll(session)
        assert status == 200
        url = f"{self.ctx.base_url}/v2/{endpoint_id}/job-done/{session.worker_id}/{job['id']}"
        async with self.http.post(url, headers={"Authorization": session.key}, json={"output": 1}) as answer:
            assert answer.status == 200
        return session


async def until(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not holds():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def whole(state_dir: Path, **config: Any) -> AsyncIterator[Whole]:
    host = FakeHost()

    def assemble(settings: Config, store: Store) -> Context:
        ctx = Context(settings, store, control.Records(store), host, api_key=KEY)
        ctx.fleet = Scaler(ctx)
        return ctx

    settings = Config(state_dir=state_dir, port=0, timing=TIMING, **config)
    async with (
        running(settings, assemble=assemble) as ctx,
        aiohttp.ClientSession() as http,
        Levers(ctx.base_url, KEY) as levers,
    ):
        yield Whole(ctx, host, http, levers)
