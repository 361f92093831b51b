"""Worker logs as Server-Sent Events: backfill, resume, sources, live lines, shutdown."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from runpod_emulator.config import Timing
from tests.runpod_emulator.control import support
from tests.runpod_emulator.control.support import KEY, Cloud, worker


class Stream:
    """Reads events one by one, comments left out."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.comments = 0

    async def event(self) -> tuple[str, dict[str, Any]]:
        fields: dict[str, str] = {}
        while True:
            raw = await asyncio.wait_for(self.response.content.readline(), 5)
            assert raw, "the stream ended"
            line = raw.decode().rstrip("\n")
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                return fields["id"], json.loads(fields["data"])

    async def texts(self, count: int) -> list[str]:
        return [(await self.event())[1]["line"] for _ in range(count)]


async def _logging_worker(cloud: Cloud, lines: int) -> str:
    made = await cloud.endpoint()
    cloud.fleet.shown[made["id"]] = [worker("w1")]
    log = cloud.host.logs("w1")
    for number in range(lines):
        log.append("system" if number % 2 else "container", f"line {number}")
    return f"/v2/serverless/{made['id']}/workers/w1/logs"


@asynccontextmanager
async def _open(cloud: Cloud, path: str, **headers: str) -> AsyncIterator[Stream]:
    headers = {"Authorization": f"Bearer {KEY}", **headers}
    async with cloud.session.get(cloud.ctx.base_url + path, headers=headers) as response:
        assert response.status == 200
        yield Stream(response)


async def test_the_past_then_the_present(cloud: Cloud) -> None:
    """`tail` lines of the past in the published form, then every new line as it comes."""
    path = await _logging_worker(cloud, 6)
    async with _open(cloud, path + "?tail=2") as stream:
        assert stream.response.headers["Content-Type"] == "text/event-stream"
        assert stream.response.headers["Cache-Control"] == "no-cache"
        assert stream.response.headers["X-Accel-Buffering"] == "no"
        assert "RateLimit" in stream.response.headers
        identity, data = await stream.event()
        assert identity == "2026-06-01T12:00:04Z/000000000005"
        assert data == {"ts": "2026-06-01T12:00:04Z", "source": "container", "line": "line 4"}
        assert await stream.texts(1) == ["line 5"]
        cloud.host.logs("w1").append("container", "new ✓")
        await cloud.host.logs("w1").wake()
        assert await stream.texts(1) == ["new ✓"]


@pytest.mark.parametrize(
    ("query", "headers", "expected"),
    [
        ("", {}, ["line 0", "line 1", "line 2", "line 3", "line 4", "line 5"]),
        ("?tail=1", {}, ["line 5"]),
        ("?source=system&tail=2", {}, ["line 3", "line 5"]),
        ("?since=2026-06-01T12:00:04Z&tail=1", {}, ["line 4", "line 5"]),
        ("?since=2026-06-01T12:00:00Z", {"Last-Event-ID": "2026-06-01T12:00:03Z/000000000004"}, ["line 4", "line 5"]),
        ("", {"Last-Event-ID": "2026-06-01T12:00:05Z"}, ["line 5"]),
    ],
)
async def test_where_a_stream_begins(cloud: Cloud, query: str, headers: dict[str, str], expected: list[str]) -> None:
    """Last-Event-ID before since before tail; a source keeps to its own lines."""
    path = await _logging_worker(cloud, 6)
    async with _open(cloud, path + query, **headers) as stream:
        assert await stream.texts(len(expected)) == expected


async def test_tail_zero_shows_only_what_is_new(cloud: Cloud) -> None:
    """No backfill, and nothing of the other source."""
    path = await _logging_worker(cloud, 3)
    async with _open(cloud, path + "?tail=0&source=container") as stream:
        log = cloud.host.logs("w1")
        log.append("system", "not this")
        log.append("container", "this")
        await asyncio.sleep(0.05)
        await log.wake()
        assert await stream.texts(1) == ["this"]


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?tail=5001", {}),
        ("?tail=-1", {}),
        ("?tail=all", {}),
        ("?since=yesterday", {}),
        ("?since=2026-06-01", {}),
        ("?source=kernel", {}),
        ("", {"Last-Event-ID": "42"}),
    ],
)
async def test_a_wrong_parameter_is_422(cloud: Cloud, query: str, headers: dict[str, str]) -> None:
    """Refused as problem+json before the stream begins."""
    path = await _logging_worker(cloud, 1)
    assert (await cloud.get(path + query, headers=headers)).status == 422


async def test_a_worker_that_never_was_is_404_and_one_that_went_is_not(cloud: Cloud) -> None:
    """The log of a worker that has gone stays readable as long as the host keeps it."""
    path = await _logging_worker(cloud, 2)
    for name in ("w9", "%2e%2e%2fw1", "..%2f..%2fetc", "%00", "w" * 65):
        assert (await cloud.get(path.replace("/w1/", f"/{name}/"))).status == 404
    assert set(cloud.host.known_logs) == {"w1", "w9"}, "a name that could be a path never reaches the host"
    cloud.fleet.shown.clear()
    async with _open(cloud, path) as stream:
        assert await stream.texts(2) == ["line 0", "line 1"]


async def test_a_silent_stream_is_kept_alive_and_a_shutdown_does_not_wait_for_it(tmp_path: Path) -> None:
    """Comments while nothing happens; the emulator stops at once although the stream never ends by itself."""
    async with aiohttp.ClientSession() as session:
        timing = replace(Timing(), log_heartbeat_s=0.02)
        async with support.cloud(tmp_path, timing=timing) as cloud:
            path = await _logging_worker(cloud, 1)
            headers = {"Authorization": f"Bearer {KEY}"}
            response = await session.get(cloud.ctx.base_url + path, headers=headers)
            stream = Stream(response)
            await stream.event()
            await asyncio.sleep(0.1)
            log = cloud.host.logs("w1")
            log.append("container", "after silence")
            await log.wake()
            await stream.event()
            assert stream.comments >= 2
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 1.5
        response.close()
