"""Asking a load balancer's worker for its health, from the start of its process to its end.

`/ping` on PORT_HEALTH, whatever HEALTH_CHECK_PATH says: RunPod was seen to ignore that (runpod-api-live.md §3).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from runpod_emulator.context import Context
from runpod_emulator.workers import HttpPorts, Roster, WorkerSession

PATH = "/ping"


@asynccontextmanager
async def watched(session: WorkerSession, roster: Roster, ctx: Context) -> AsyncIterator[None]:
    """Ask while the block runs. A queue's worker is not asked: it polls and pings by itself."""
    if session.http is None:
        yield
        return
    watch = asyncio.create_task(_ask(session, session.http, roster, ctx), name=f"health of {session.worker_id}")
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def _ask(session: WorkerSession, ports: HttpPorts, roster: Roster, ctx: Context) -> None:
    timing = ctx.config.timing
    url = f"http://127.0.0.1:{ports.health}{PATH}"
    limit = aiohttp.ClientTimeout(total=timing.health_timeout_s)
    async with aiohttp.ClientSession(timeout=limit, connector=aiohttp.TCPConnector(force_close=True)) as http:
        while True:
            roster.health_checked(session, await _status(http, url))
            await ctx.clock.sleep(timing.health_interval_s)


async def _status(http: aiohttp.ClientSession, url: str) -> int | None:
    try:
        async with http.get(url, allow_redirects=False) as answer:
            return answer.status
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None
