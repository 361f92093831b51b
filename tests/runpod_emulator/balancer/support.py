"""A live emulator with one load balancer, whose workers are real processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from runpod_emulator import Timing
from runpod_emulator.model import Endpoint, Json
from tests.runpod_emulator.jobs.support import FAST, Live, ProcessHost, endpoint, live

WORKER = Path(__file__).with_name("http_worker.py")
QUICK = replace(FAST, health_interval_s=0.05, scaler_tick_s=0.05)
ID = "abc123def456gh"


def balanced(image: str = "plain", **changes: Any) -> Endpoint:
    return endpoint(
        image, **{"type": "LOAD_BALANCER", "scaling": {"type": "REQUEST_COUNT", "requestCount": 1}, **changes}
    )


class Balanced:
    """The emulator, and calls through its load balancer."""

    def __init__(self, it: Live, directory: Path) -> None:
        self.live, self.home = it, directory / "home"
        self.base = f"{it.ctx.base_url}/lb/{ID}"

    def request(self, method: str, path: str, **arguments: Any) -> "aiohttp.client._RequestContextManager":
        return self.live.http.request(method, f"{self.base}{path}", **arguments)

    async def get(self, path: str, status: int = 200, **arguments: Any) -> Json:
        async with self.request("GET", path, **arguments) as answer:
            body = await answer.text()
            assert answer.status == status, f"{answer.status}: {body}"
            return {"worker": answer.headers.get("X-Runpod-Worker-Id"), **await answer.json()}

    def statuses(self) -> list[str]:
        return sorted(worker.status for worker in self.live.scaler.workers(ID))

    def details(self) -> list[Json]:
        return self.live.scaler.worker_details(ID)

    async def until(self, *statuses: str) -> None:
        async with asyncio.timeout(20):
            while self.statuses() != sorted(statuses):
                await asyncio.sleep(0.02)


@asynccontextmanager
async def balancer(directory: Path, *endpoints: Endpoint, timing: Timing = QUICK) -> AsyncIterator[Balanced]:
    host = ProcessHost(directory, WORKER)
    (directory / "home").mkdir(exist_ok=True)
    async with live(directory, *(endpoints or (balanced(),)), timing=timing, host=host) as it:
        yield Balanced(it, directory)


async def appears(path: Path) -> None:
    async with asyncio.timeout(20):
        while not path.exists():
            await asyncio.sleep(0.02)
