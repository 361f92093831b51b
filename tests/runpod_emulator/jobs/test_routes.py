"""The job plane over HTTP, with a worker played by hand: statuses, limits, ranges, waits, webhooks."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.runpod_emulator.jobs.support import endpoint
from tests.runpod_emulator.workers.support import QUICK, Stage, stage

INPUT = {"input": {"n": 1}}
DAY_MS = 24 * 3_600_000


async def worked(it: Stage, body: Any) -> str:
    """Take the next job and post its result."""
    _, job = await it.worker.take()
    await it.worker.done(job["id"], body)
    return str(job["id"])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"input": NaN}', "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"{}", "no `input`"),
        (b'{"input": null}', "no `input`"),
        (b'{"input": 1, "policy": 5}', "`policy` must be"),
        (b'{"input": 1, "policy": {"executionTimeout": 4999}}', "`policy.executionTimeout`"),
        (b'{"input": 1, "policy": {"executionTimeout": "5000"}}', "`policy.executionTimeout`"),
        (b'{"input": 1, "policy": {"ttl": 9999}}', "`policy.ttl`"),
        (json.dumps({"input": 1, "policy": {"ttl": 7 * DAY_MS + 1}}).encode(), "`policy.ttl`"),
        (b'{"input": 1, "policy": {"lowPriority": 1}}', "`policy.lowPriority`"),
        (b'{"input": 1, "webhook": 5}', "`webhook` must be"),
        (b'{"input": 1, "webhook": "ftp://127.0.0.1/"}', "`webhook` must be"),
        (b'{"input": 1, "webhook": "http://[1/"}', "`webhook` must be"),
        (b'{"input": 1, "webhook": "http://169.254.169.254/latest"}', "only to this machine"),
        (b'{"input": 1, "s3Config": "x"}', "`s3Config` must be"),
    ],
)
async def test_a_bad_body_is_refused_with_its_member(quiet: Stage, body: bytes, words: str) -> None:
    """400 with one line, and nothing is queued."""
    answer = await quiet.live.call("POST", "run", status=400, data=body)
    assert words in answer["error"]
    assert quiet.live.scaler.book.counts("abc123def456gh").in_queue == 0


@pytest.fixture
async def quiet(tmp_path: Path) -> AsyncIterator[Stage]:
    """An emulator without workers."""
    async with stage(tmp_path, endpoint(workers_max=0), workers=0) as it:
        yield it


async def test_the_documented_ranges_are_accepted(quiet: Stage) -> None:
    """Both ends of executionTimeout and ttl, and any JSON value as input."""
    for policy in ({"executionTimeout": 5000, "ttl": 10_000}, {"executionTimeout": 7 * DAY_MS, "ttl": 7 * DAY_MS}):
        await quiet.live.call("POST", "run", json={"input": {}, "policy": policy})
    values: list[Any] = [0, "", [], False, "é"]
    for value in values:
        await quiet.live.call("POST", "run", json={"input": value})


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", "Bearer", "Basic dGVzdC1rZXk="])
async def test_without_the_key_there_is_401(quiet: Stage, authorization: str) -> None:
    """On every route, before anything else is looked at."""
    for method, path in [
        ("POST", "run"),
        ("GET", "status/x"),
        ("GET", "health"),
        ("POST", "openai/v1/chat/completions"),
    ]:
        await quiet.live.call(method, path, status=401, headers={"Authorization": authorization}, data=b"{")


async def test_the_bare_key_is_a_key(quiet: Stage) -> None:
    """The documents show both forms."""
    await quiet.live.call("GET", "health", headers={"Authorization": "test-key"})


async def test_what_does_not_exist_is_404(quiet: Stage) -> None:
    """Unknown endpoint, unknown job, another endpoint's job."""
    async with quiet.live.http.post(quiet.live.url("run", "nobody"), json=INPUT) as answer:
        assert (answer.status, "not found" in (await answer.json())["error"]) == (404, True)
    for method, path in [("GET", "status/x"), ("GET", "stream/x"), ("POST", "cancel/x"), ("POST", "retry/x")]:
        assert "not found" in (await quiet.live.call(method, path, status=404))["error"]
    job = await quiet.live.call("POST", "run", json=INPUT)
    quiet.live.catalogue.by_id["other"] = endpoint(id="other", workers_max=0)
    async with quiet.live.http.get(quiet.live.url(f"status/{job['id']}", "other")) as answer:
        assert answer.status == 404


async def test_a_load_balancer_endpoint_has_no_queue(tmp_path: Path) -> None:
    """The words observed live."""
    balanced = endpoint(type="LOAD_BALANCER", scaling={"type": "REQUEST_COUNT", "requestCount": 1})
    async with stage(tmp_path, balanced, workers=0) as it:
        assert await it.live.call("POST", "run", status=400, json=INPUT) == {"error": "not allowed for QB API"}


@pytest.mark.parametrize(("path", "megabytes"), [("run", 10), ("runsync?wait=1000", 20)])
async def test_a_body_above_the_limit_is_413(quiet: Stage, path: str, megabytes: int) -> None:
    """10 MB for /run, 20 MB for /runsync; with and without a Content-Length."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(megabytes + 1):
            yield b" " * 1024 * 1024

    for data in (io.BytesIO(b" " * (megabytes * 1024 * 1024 + 1)), chunks()):
        answer = await quiet.live.call("POST", path, status=413, data=data)
        assert f"{megabytes} MB" in answer["error"]
    below = json.dumps({"input": "x" * (megabytes * 1024 * 1024 - 100)}).encode()
    await quiet.live.call("POST", path, data=io.BytesIO(below))


async def test_runsync_answers_with_the_result_or_after_the_wait_without(tmp_path: Path) -> None:
    """Its id begins with sync-; what is not done in time is polled by /status."""
    async with stage(tmp_path) as it:
        call = asyncio.create_task(it.live.call("POST", "runsync", json=INPUT))
        job_id = await worked(it, {"output": {"a": 1}})
        body = await call
        assert (body["id"], body["status"], body["output"]) == (job_id, "COMPLETED", {"a": 1})
        assert job_id.startswith("sync-")
        began = time.monotonic()
        body = await it.live.call("POST", "runsync?wait=1000", json=INPUT)
        assert body["status"] == "IN_QUEUE"
        assert 1.0 <= time.monotonic() - began < 20.0


@pytest.mark.parametrize("wait", ["999", "300001", "x", "-1", "1e3", ""])
async def test_a_wait_out_of_range_is_refused(quiet: Stage, wait: str) -> None:
    """1000 to 300000 milliseconds."""
    assert "`wait`" in (await quiet.live.call("POST", f"runsync?wait={wait}", status=400, json=INPUT))["error"]


async def test_an_empty_stream_answer_is_held(tmp_path: Path) -> None:
    """Until the first piece, or the time is over; `?wait=` shortens it."""
    async with stage(tmp_path) as it:
        job_id = (await it.live.call("POST", "run", json=INPUT))["id"]
        began = time.monotonic()
        assert await it.live.call("GET", f"stream/{job_id}") == {"status": "IN_QUEUE", "stream": []}
        assert time.monotonic() - began >= 0.4
        took = []
        for _ in range(5):  # one of them is quick on a busy machine too
            began = time.monotonic()
            await it.live.call("GET", f"stream/{job_id}?wait=0")
            took.append(time.monotonic() - began)
        assert min(took) < 0.3
        await it.worker.take()
        reader = asyncio.create_task(it.live.call("GET", f"stream/{job_id}?wait=5000"))
        await asyncio.sleep(0.05)
        await it.worker.piece(job_id, {"a": 1})
        assert await reader == {"status": "IN_PROGRESS", "stream": [{"output": {"a": 1}}]}
        await it.worker.piece(job_id, "x" * (1024 * 1024 + 5))
        await it.worker.done(job_id, {"output": []})
        last = await it.live.call("GET", f"stream/{job_id}")
        assert [len(piece["output"]) for piece in last["stream"]] == [1024 * 1024, 5]
        assert await it.live.call("GET", f"stream/{job_id}") == {"status": "COMPLETED", "stream": []}


async def test_retry_takes_a_failed_job_back(tmp_path: Path) -> None:
    """Same id, IN_QUEUE; anything else than FAILED or TIMED_OUT is refused."""
    async with stage(tmp_path) as it:
        job_id = (await it.live.call("POST", "run", json=INPUT))["id"]
        assert "IN_QUEUE" in (await it.live.call("POST", f"retry/{job_id}", status=400))["error"]
        await worked(it, {"error": "no"})
        assert await it.live.call("POST", f"retry/{job_id}") == {"id": job_id, "status": "IN_QUEUE"}
        await worked(it, {"output": 1})
        assert (await it.live.call("GET", f"status/{job_id}"))["status"] == "COMPLETED"
        health = await it.live.call("GET", "health")
        assert health["jobs"] == {"completed": 1, "failed": 1, "inProgress": 0, "inQueue": 0, "retried": 1}


async def test_health_has_six_worker_keys(tmp_path: Path) -> None:
    """As seen live, whatever there is."""
    async with stage(tmp_path) as it:
        health = await it.live.call("GET", "health")
        assert health["workers"] == {
            "idle": 0, "initializing": 1, "ready": 0, "running": 0, "throttled": 0, "unhealthy": 0
        }  # fmt: skip


async def test_the_rate_limits_answer_429_when_they_are_on(tmp_path: Path) -> None:
    """purge-queue: two calls in ten seconds, then a plain refusal."""
    async with stage(tmp_path, endpoint(workers_max=0), workers=0, enforce_rate_limits=True) as it:
        for _ in range(2):
            await it.live.call("POST", "purge-queue")
        assert "purge-queue" in (await it.live.call("POST", "purge-queue", status=429))["error"]


@asynccontextmanager
async def listener(*statuses: int) -> AsyncIterator[tuple[str, list[Any]]]:
    """A webhook's far end: answers with the statuses in turn, remembers what it got."""
    got: list[Any] = []

    async def receive(request: web.Request) -> web.Response:
        got.append(await request.json())
        return web.Response(status=statuses[min(len(got), len(statuses)) - 1])

    app = web.Application()
    app.router.add_post("/hook", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", got
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(("statuses", "calls"), [((200,), 1), ((500, 204, 200), 3), ((500,), 3)])
async def test_a_webhook_gets_the_finished_job(tmp_path: Path, statuses: tuple[int, ...], calls: int) -> None:
    """200 is expected; anything else is tried twice more and then left."""
    async with stage(tmp_path) as it, listener(*statuses) as (url, got):
        job_id = (await it.live.call("POST", "run", json={**INPUT, "webhook": url}))["id"]
        await worked(it, {"output": "x"})
        await asyncio.sleep(0.4)
        assert len(got) == calls
        status = await it.live.call("GET", f"status/{job_id}")
        assert got == [status] * calls


async def test_an_undelivered_webhook_is_tried_again_after_a_restart(tmp_path: Path) -> None:
    """The tries that are left survive the emulator."""
    slow = replace(QUICK, webhook_retry_s=600.0)
    async with listener(500, 200) as (url, got):
        async with stage(tmp_path, timing=slow) as it:
            await it.live.call("POST", "run", json={**INPUT, "webhook": url})
            await worked(it, {"output": "x"})
            await asyncio.sleep(0.2)
            assert len(got) == 1
        async with stage(tmp_path, timing=slow):
            await asyncio.sleep(0.2)
        assert len(got) == 2


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
async def test_any_method_below_openai_becomes_a_job(tmp_path: Path, method: str) -> None:
    """The route without the query; the body, when there is one, as `openai_input`."""
    async with stage(tmp_path) as it:
        body: dict[str, Any] = {} if method == "GET" else {"json": {"model": "m"}}
        call = asyncio.create_task(it.live.call(method, "openai/v1/some/thing?x=1", **body))
        _, job = await it.worker.take()
        wanted = {"openai_route": "/v1/some/thing"} | ({"openai_input": {"model": "m"}} if body else {})
        assert job["input"] == wanted
        await it.worker.done(job["id"], {"output": [{"ok": True}]})
        assert await call == {"ok": True}


async def test_a_stream_is_passed_on_byte_for_byte_and_at_once(tmp_path: Path) -> None:
    """Each piece is there before the next one is sent, whatever byte it was cut at."""
    text = 'data: {"delta": "né 日本 🎈"}\n\n: ping\r\n\r\ndata: [DONE]\n\n'.encode()
    async with stage(tmp_path) as it:
        opening = asyncio.create_task(it.live.http.post(it.live.url("openai/v1/x"), json={"stream": True}))
        _, job = await it.worker.take()
        got = bytearray()
        for end in range(1, len(text) + 1):
            await it.worker.piece(job["id"], text[end - 1 : end].decode("utf-8", "surrogateescape"))
            answer = await opening  # the headers come with the first piece
            async with asyncio.timeout(5):
                while len(got) < end:
                    got += await answer.content.readany()
        await it.worker.done(job["id"], {"output": []})
        got += await answer.content.read()
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert bytes(got) == text


async def test_a_stream_begins_although_no_worker_is_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a moment the headers go out, so that no client waits for them during a cold start."""
    monkeypatch.setattr("runpod_emulator.jobs._openai.START_AFTER_S", 0.1)
    body = {"stream": True}
    async with stage(tmp_path) as it, it.live.http.post(it.live.url("openai/v1/x"), json=body) as answer:
        assert answer.status == 200
        _, job = await it.worker.take()
        await it.worker.done(job["id"], {"error": "too late for a status"})
        assert "too late for a status" in await answer.text()


async def test_a_failure_before_the_first_piece_has_a_status_later_an_event(tmp_path: Path) -> None:
    """And a worker that said so itself is not repeated."""
    async with stage(tmp_path) as it:

        async def stream(pieces: list[str]) -> tuple[int, str]:
            async def read() -> tuple[int, str]:
                async with it.live.http.post(it.live.url("openai/v1/x"), json={"stream": True}) as answer:
                    return answer.status, await answer.text()

            reader = asyncio.create_task(read())
            _, job = await it.worker.take()
            for piece in pieces:
                await it.worker.piece(job["id"], piece)
            await it.worker.done(job["id"], {"error": '{"message": "gone", "status": 503}'})
            return await reader

        status, text = await stream([])
        assert (status, json.loads(text)["error"]["message"]) == (503, "gone")
        status, text = await stream(["data: 1\n\n"])
        assert status == 200
        assert text.startswith('data: 1\n\ndata: {"error": {"message": "gone"')
        assert text.endswith("data: [DONE]\n\n")
        own = 'data: {"error": "mine"}\n\ndata: [DONE]\n\n'
        assert await stream([own]) == (200, own)


async def test_a_client_that_goes_away_before_a_worker_came_cancels_its_job(tmp_path: Path) -> None:
    """Nobody works for a caller who is not there any more."""
    async with stage(tmp_path, endpoint(workers_max=0), workers=0) as it:
        call = asyncio.create_task(it.live.call("POST", "openai/v1/chat/completions", json={"stream": True}))
        await asyncio.sleep(0.1)
        assert it.live.scaler.book.counts("abc123def456gh").in_queue == 1
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        async with asyncio.timeout(10):
            while it.live.scaler.book.counts("abc123def456gh").in_queue:
                await asyncio.sleep(0.05)


async def test_a_refusal_below_openai_has_openais_form(quiet: Stage) -> None:
    """So that an OpenAI client can show the message."""
    answer = await quiet.live.call("POST", "openai/v1/chat/completions", status=400, data=b"{")
    assert "not JSON" in answer["error"]["message"]
