"""The official clients on one side, the official SDK's worker on the other, the emulator between them.

One emulator with two real workers serves all tests of this file: starting a worker costs seconds.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import openai
import pytest
import pytest_asyncio
import runpod

from tests.runpod_emulator.jobs.support import Live, endpoint, live

T = TypeVar("T")
PLAIN, STREAM = "plain000000000", "stream00000000"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cloud(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Live]:
    directory = tmp_path_factory.mktemp("cloud")
    always = {"workers_min": 1}
    async with live(directory, endpoint("plain", id=PLAIN, **always), endpoint("stream", id=STREAM, **always)) as it:
        async with asyncio.timeout(60):
            while not all(w.status == "IDLE" for name in (PLAIN, STREAM) for w in it.scaler.workers(name)):
                await asyncio.sleep(0.05)
        yield it


def client(cloud: Live, name: str = PLAIN) -> Any:
    runpod.endpoint_url_base = f"{cloud.ctx.base_url}/v2"
    return runpod.Endpoint(name, api_key="test-key")


async def in_thread(call: Callable[[], T]) -> T:
    """The SDK's client blocks; the emulator lives in this thread."""
    return await asyncio.to_thread(call)


async def until(condition: Callable[[], bool], within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


async def test_run_sync_returns_what_the_handler_returned(cloud: Live) -> None:
    """Text of any script comes back unchanged."""
    output = await in_thread(lambda: client(cloud).run_sync({"input": {"text": "Bär 🐻"}}, timeout=20))
    assert output["said"] == "Bär 🐻"


async def test_run_returns_at_once_and_status_tells_the_rest(cloud: Live) -> None:
    """A job goes from the queue to COMPLETED, with its times in milliseconds and its worker's id."""
    job = await in_thread(lambda: client(cloud).run({"input": {"text": "later"}}))
    body = await finished(cloud, PLAIN, job.job_id)
    assert job.job_id.endswith("-u1")
    assert body["status"] == "COMPLETED"
    assert body["workerId"] == cloud.scaler.workers(PLAIN)[0].id
    assert isinstance(body["delayTime"], int)
    assert isinstance(body["executionTime"], int)
    assert await in_thread(job.output) == body["output"]


async def test_the_async_client_works_as_well(cloud: Live) -> None:
    """`runpod.AsyncioEndpoint` runs a job and waits for its output."""
    runpod.endpoint_url_base = f"{cloud.ctx.base_url}/v2"
    job = await runpod.AsyncioEndpoint(PLAIN, cloud.http, api_key="test-key").run({"text": "async"})
    assert (await job.output(timeout=15))["said"] == "async"


async def test_stream_yields_every_piece_once_and_in_order(cloud: Live) -> None:
    """`Job.stream()` gives what the generator yielded, and ends."""
    job = await in_thread(lambda: client(cloud, STREAM).run({"input": {"count": 20}}))
    pieces = await in_thread(lambda: list(job.stream()))
    assert pieces == [{"number": number} for number in range(20)]
    assert (await finished(cloud, STREAM, job.job_id))["output"] == pieces


async def test_an_exception_in_the_handler_is_a_failed_job(cloud: Live) -> None:
    """FAILED, with the SDK's report of the exception as `error`."""
    job = await in_thread(lambda: client(cloud).run({"input": {"do": "raise"}}))
    body = await finished(cloud, PLAIN, job.job_id)
    assert body["status"] == "FAILED"
    assert "the handler cannot use this" in body["error"]


async def test_a_returned_error_is_a_failed_job(cloud: Live) -> None:
    """A handler that returns `error` fails its job, too."""
    job = await in_thread(lambda: client(cloud).run({"input": {"do": "error"}}))
    body = await finished(cloud, PLAIN, job.job_id)
    assert (body["status"], "no such model" in body["error"]) == ("FAILED", True)


async def test_progress_is_visible_while_the_job_runs(cloud: Live) -> None:
    """`progress_update` shows as `output` of a job in progress and completes nothing."""
    job = await in_thread(lambda: client(cloud).run({"input": {"do": "progress", "seconds": 0.5}}))
    seen: list[Any] = []
    async with asyncio.timeout(15):
        while (body := await status(cloud, PLAIN, job.job_id))["status"] != "COMPLETED":
            seen.append((body["status"], body.get("output")))
            await asyncio.sleep(0.02)
    assert ("IN_PROGRESS", {"percent": 50}) in seen


async def test_cancel_reaches_the_handler(cloud: Live, tmp_path: Path) -> None:
    """The worker's task is cancelled through job-stop, and the worker stays useful."""
    flag = tmp_path / "flag"
    order = {"do": "sleep", "seconds": 600, "flag": str(flag)}
    job = await in_thread(lambda: client(cloud).run({"input": order}))
    await until(flag.exists)
    assert (await in_thread(job.cancel))["status"] == "CANCELLED"
    await until(lambda: flag.read_text() == "stopped")
    assert (await status(cloud, PLAIN, job.job_id))["status"] == "CANCELLED"
    assert (await in_thread(lambda: client(cloud).run_sync({"text": "next"}, timeout=20)))["said"] == "next"


async def held(cloud: Live, directory: Path, count: int) -> list[Any]:
    """`count` jobs that run until `directory/go` exists; returns when the worker's four places are taken."""
    flags = [directory / str(number) for number in range(count)]
    orders = [{"do": "hold", "flag": str(flag), "until": str(directory / "go")} for flag in flags]
    jobs = [await in_thread(partial(client(cloud).run, {"input": order})) for order in orders]
    await until(lambda: sum(flag.exists() for flag in flags) == 4)
    return jobs


async def test_a_worker_works_on_several_jobs_at_once(cloud: Live, tmp_path: Path) -> None:
    """With a concurrency of four, four jobs run side by side in one worker (job-take-batch)."""
    jobs = await held(cloud, tmp_path, 4)
    health = await in_thread(client(cloud).health)
    assert health["jobs"]["inProgress"] == 4
    assert health["workers"] == {
        "idle": 0, "initializing": 0, "ready": 1, "running": 1, "throttled": 0, "unhealthy": 0
    }  # fmt: skip
    (tmp_path / "go").touch()
    for job in jobs:
        assert (await finished(cloud, PLAIN, job.job_id))["status"] == "COMPLETED"


async def test_purge_takes_queued_jobs_out_and_leaves_running_ones(cloud: Live, tmp_path: Path) -> None:
    """`purge_queue` says how many it removed."""
    jobs = await held(cloud, tmp_path, 6)
    assert await in_thread(client(cloud).purge_queue) == {"removed": 2, "status": "completed"}
    (tmp_path / "go").touch()
    ends = [(await finished(cloud, PLAIN, job.job_id))["status"] for job in jobs]
    assert sorted(ends) == ["CANCELLED"] * 2 + ["COMPLETED"] * 4


async def test_the_openai_client_lists_models_and_chats(cloud: Live) -> None:
    """GET and POST below /openai/v1 become jobs, and their JSON comes back as it is."""
    async with chat(cloud) as it:
        assert [model.id async for model in it.models.list()] == ["tiny"]
        answer = await it.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hello"}])
    assert answer.choices[0].message.content == "HELLO"


async def test_the_openai_client_streams(cloud: Live) -> None:
    """Server-sent events arrive one by one while the worker is still speaking."""
    async with chat(cloud) as it:
        stream = await it.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        words = [chunk.choices[0].delta.content async for chunk in stream]
    assert words == ["Bon", "jour", " né", "e 日本", " 🎈"]


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_workers_error_has_its_status_for_the_openai_client(cloud: Live, streaming: bool) -> None:
    """The SDK turns the worker's error into the text of a dict; the client still gets a 404 with its message."""
    async with chat(cloud) as it:
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            await it.chat.completions.create(
                model="unknown", messages=[{"role": "user", "content": "hello"}], stream=streaming
            )


async def test_hanging_up_cancels_the_job(cloud: Live) -> None:
    """A client that stops reading a stream ends the worker's work on it."""
    async with chat(cloud) as it:
        stream = await it.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "for ever"}], stream=True
        )
        async for _ in stream:
            break
        await stream.close()
    await until(lambda: cloud.scaler.book.counts(STREAM).in_progress == 0)
    await until(lambda: not cloud.scaler.roster.session(cloud.scaler.workers(STREAM)[0].id).stops)  # type: ignore[union-attr]


def chat(cloud: Live) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{cloud.ctx.base_url}/v2/{STREAM}/openai/v1", api_key="test-key", max_retries=0)


async def status(cloud: Live, name: str, job_id: str) -> Any:
    async with cloud.http.get(cloud.url(f"status/{job_id}", name)) as answer:
        assert answer.status == 200
        return await answer.json()


async def finished(cloud: Live, name: str, job_id: str) -> Any:
    async with asyncio.timeout(20):
        while (body := await status(cloud, name, job_id))["status"] in ("IN_QUEUE", "IN_PROGRESS"):
            await asyncio.sleep(0.05)
    return body
