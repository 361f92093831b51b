"""The load-balancer and Pod modes: a real worker process, real HTTP, and a vLLM that is a fake."""

import asyncio
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.vllm_worker.fake_vllm import TEXT
from tests.vllm_worker.support import Worker, gone
from vllm_worker._inputs import ROUTES

Start = Callable[..., Any]


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def chat(content: str, stream: bool = False) -> dict[str, Any]:
    return {"model": "fake", "messages": [{"role": "user", "content": content}], "stream": stream}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as session:
        yield session


async def status(http: aiohttp.ClientSession, url: str) -> int | None:
    try:
        async with http.get(url) as response:
            return response.status
    except aiohttp.ClientError:
        return None


async def ready(http: aiohttp.ClientSession, url: str, worker: Worker) -> list[int | None]:
    """Ask for the health until it is 200; returns what was answered before."""
    seen: list[int | None] = []
    async with asyncio.timeout(30):
        while (now := await status(http, f"{url}/ping")) != 200:
            assert worker.process.returncode is None, worker.lines
            if not seen or seen[-1] != now:
                seen.append(now)
            await asyncio.sleep(0.02)
    return seen


def slow_start(tmp_path: Path, seconds: float) -> None:
    (tmp_path / "home0").mkdir()
    (tmp_path / "home0" / "fake.json").write_text(json.dumps({"delay": seconds}))


async def test_a_load_balancer_worker_from_its_start_to_its_end(
    start: Start, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """204 while loading, then 200; answers, errors and streams as vLLM gave them; 503 and exit 0 at the end."""
    slow_start(tmp_path, 0.5)
    port, health = free_port(), free_port()
    worker = await start(
        WORKER_MODE="load_balancer", PORT=str(port), PORT_HEALTH=str(health), HEALTH_CHECK_PATH="/healthy"
    )
    url = f"http://127.0.0.1:{port}"
    assert 204 in await ready(http, url, worker)
    assert await status(http, f"http://127.0.0.1:{health}/ping") == 200
    assert await status(http, f"{url}/healthy") == 200

    async with http.post(f"{url}/v1/chat/completions", json=chat("hello")) as answer:
        assert answer.status == 200
        assert (await answer.json())["choices"][0]["message"]["content"] == "You said: hello"
    async with http.post(f"{url}/v1/chat/completions", json=chat("error 404 no such model")) as answer:
        assert answer.status == 404
        assert (await answer.json())["error"]["message"] == "no such model"
    async with http.post(f"{url}/v1/chat/completions", json=chat("cuts 3", stream=True)) as answer:
        assert answer.content_type == "text/event-stream"
        text = (await answer.read()).decode()
    events = [json.loads(line.removeprefix("data: ")) for line in text.split("\n\n") if line and "[DONE]" not in line]
    assert "".join(event["choices"][0]["delta"]["content"] for event in events) == TEXT + " "
    assert text.endswith("data: [DONE]\n\n")

    waiting = asyncio.create_task(http.post(f"{url}/v1/chat/completions", json=chat("wait 1")))
    while not any(request.get("body", {}).get("messages", [{}])[-1].get("content") == "wait 1"
                  for request in worker.requests()):  # fmt: skip
        await asyncio.sleep(0.02)
    worker.signal(signal.SIGTERM)
    async with asyncio.timeout(5):
        while await status(http, f"{url}/ping") != 503:
            await asyncio.sleep(0.02)
    async with http.post(f"{url}/v1/chat/completions", json=chat("too late")) as refused:
        assert refused.status == 503
        assert "about to end" in (await refused.json())["error"]["message"]
    assert (await waiting).status == 200
    engine = worker.engine_pid()
    assert await worker.finished() == 0
    assert await gone(engine)


async def test_only_vllms_own_routes_are_served(start: Start, http: aiohttp.ClientSession) -> None:
    """Administrative routes, other hosts and odd paths are refused before vLLM hears of them."""
    port = free_port()
    worker = await start(WORKER_MODE="load_balancer", PORT=str(port), WORKER_MAX_BODY_BYTES="2000")
    url = f"http://127.0.0.1:{port}"
    await ready(http, url, worker)
    before = len(worker.requests())
    strange = ("/sleep", "/v1/../sleep", "/v1/models/../../sleep", "//evil.example/v1/models", "/http://evil.example/")
    for path in ("/v1/load_lora_adapter", "/v1/chat/completions/", *strange):
        async with http.post(f"{url}{path}", json={}) as answer:
            assert answer.status in (404, 405), path
            assert (await answer.json())["error"]["code"] == answer.status
    async with http.get(f"{url}/v1/chat/completions") as answer:
        assert answer.status == 405
    async with http.post(f"{url}/v1/completions", data=b"x" * 3000) as answer:
        assert answer.status == 413
        assert "2000 bytes (WORKER_MAX_BODY_BYTES)" in (await answer.json())["error"]["message"]
    assert len(worker.requests()) == before
    async with http.get(f"{url}/v1/models") as answer:
        assert (await answer.json())["data"][0]["id"] == "fake"
    assert "/v1/chat/completions" in ROUTES


async def test_a_caller_who_leaves_ends_the_request_in_vllm(start: Start, http: aiohttp.ClientSession) -> None:
    """Within a second, both while vLLM thinks and in the middle of a stream."""
    port = free_port()
    worker = await start(WORKER_MODE="load_balancer", PORT=str(port))
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    await ready(http, f"http://127.0.0.1:{port}", worker)
    hanging = asyncio.create_task(http.post(url, json=chat("hang")))
    answer = await http.post(url, json=chat("slow", stream=True))
    await answer.content.readany()
    while not any(request.get("body", {}).get("messages", [{}])[-1].get("content") == "hang"
                  for request in worker.requests()):  # fmt: skip
        await asyncio.sleep(0.02)
    answer.close()
    hanging.cancel()
    async with asyncio.timeout(2):
        while {request.get("aborted") for request in worker.requests()} < {None, "hang", "slow"}:
            await asyncio.sleep(0.02)


async def test_a_pod_needs_its_key(start: Start, http: aiohttp.ClientSession) -> None:
    """401 without it, /ping stays open, both headers are taken, and the key is in no log and not in vLLM's hands."""
    port, key = free_port(), "pod-key-of-this-test"
    worker = await start(WORKER_MODE="pod", PORT=str(port), WORKER_API_KEY=key)
    url = f"http://127.0.0.1:{port}"
    await ready(http, url, worker)
    for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": key}, {"X-Api-Key": f"{key}x"}):
        async with http.get(f"{url}/v1/models", headers=wrong) as answer:
            assert answer.status == 401
            assert "WORKER_API_KEY" in (await answer.json())["error"]["message"]
        assert (await http.get(f"{url}/metrics", headers=wrong)).status == 401
    for right in ({"Authorization": f"Bearer {key}"}, {"X-Api-Key": key}):
        assert (await http.get(f"{url}/v1/models", headers=right)).status == 200
    assert key not in "\n".join(worker.lines)
    assert "WORKER_API_KEY" not in worker.requests()[0]["environment"]


async def test_a_pod_without_a_key_is_refused_before_vllm_starts(start: Start) -> None:
    """A port that is open to everybody has to be asked for."""
    worker = await start(WORKER_MODE="pod")
    assert await worker.finished() == 2
    assert "WORKER_ALLOW_NO_KEY=true" in worker.events("configuration")[0]["message"]
    assert not worker.requests()


async def test_when_vllm_dies_the_stream_says_so_and_the_worker_ends(start: Start, http: aiohttp.ClientSession) -> None:
    """A valid error event, exit code 1, and vLLM's own last words."""
    port = free_port()
    worker = await start(WORKER_MODE="load_balancer", PORT=str(port))
    url = f"http://127.0.0.1:{port}"
    await ready(http, url, worker)
    async with http.post(f"{url}/v1/chat/completions", json=chat("die in the middle", stream=True)) as answer:
        events = (await answer.read()).decode().strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert "connection to vLLM broke" in json.loads(events[-2].removeprefix("data: "))["error"]["message"]
    assert await worker.finished() == 1
    assert "CUDA out of memory" in worker.events("end")[0]["message"]


async def test_a_port_in_use_is_named(start: Start) -> None:
    """One line with the variable."""
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        worker = await start(WORKER_MODE="load_balancer", PORT=str(taken.getsockname()[1]))
        assert await worker.finished() == 1
    assert worker.events("end")[0]["message"].startswith("PORT: port ")
