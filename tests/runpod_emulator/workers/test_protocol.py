"""The worker plane over HTTP, with a worker played by hand where the SDK could not be made to misbehave."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.runpod_emulator.workers.support import HandWorker, Stage, stage


async def submitted(it: Stage, **body: object) -> str:
    answer = await it.live.call("POST", "run", json={"input": {"n": 1}, **body})
    return str(answer["id"])


async def test_a_poll_without_jobs_is_held_and_ends_with_204(tmp_path: Path) -> None:
    """The SDK asks again at once: an answer without a pause would make it spin."""
    async with stage(tmp_path) as it:
        began = time.monotonic()
        assert await it.worker.take() == (204, None)
        assert time.monotonic() - began >= 0.3


async def test_a_held_poll_gets_the_job_the_moment_it_comes(tmp_path: Path) -> None:
    """As an object with `id` and `input`."""
    async with stage(tmp_path) as it:
        poll = asyncio.create_task(it.worker.take())
        await asyncio.sleep(0.05)
        job_id = await submitted(it, s3Config={"bucketName": "b"}, webhook="http://127.0.0.1:9/x")
        assert await poll == (200, {"id": job_id, "input": {"n": 1}, "s3Config": {"bucketName": "b"}})


async def test_a_batch_is_a_list_of_at_most_the_size_asked_for(tmp_path: Path) -> None:
    """And a size that is no number is refused."""
    async with stage(tmp_path) as it:
        ids = [await submitted(it) for _ in range(3)]
        status, jobs = await it.worker.take_batch(2)
        assert (status, [job["id"] for job in jobs]) == (200, ids[:2])
        assert (await it.worker.take_batch(0))[0] == 422
        assert (await it.worker.take_batch("x"))[0] == 422


async def test_two_workers_never_get_the_same_job(tmp_path: Path) -> None:
    """Whoever polls first gets it, the other one waits on."""
    async with stage(tmp_path, workers=2) as it:
        polls = [asyncio.create_task(worker.take()) for worker in it.workers]
        await asyncio.sleep(0.05)
        await submitted(it)
        assert sorted([status for status, _ in await asyncio.gather(*polls)]) == [200, 204]


async def test_polls_end_at_once_when_the_worker_is_stopped(tmp_path: Path) -> None:
    """On SIGTERM the SDK waits for its held polls: they must not hold the stop up."""
    from runpod_emulator import Timing

    async with stage(tmp_path, timing=Timing(scaler_tick_s=0.02)) as it:
        container = it.host.containers[it.worker.spec.worker_id]
        container.deaf = True
        polls = [asyncio.create_task(it.worker.take()), asyncio.create_task(it.worker.stops())]
        await asyncio.sleep(0.1)
        it.live.catalogue.change("abc123def456gh", workers_min=0, workers_max=0)
        it.live.scaler.endpoint_changed("abc123def456gh")
        try:
            async with asyncio.timeout(10):
                assert [status for status, _ in await asyncio.gather(*polls)] == [204, 204]
        finally:
            container.exit(0)


async def test_a_job_goes_back_when_its_worker_hung_up_while_polling(tmp_path: Path) -> None:
    """A closed connection takes no job with it."""
    async with stage(tmp_path) as it:
        poll = asyncio.create_task(it.worker.take())
        await asyncio.sleep(0.05)
        poll.cancel()
        await asyncio.gather(poll, return_exceptions=True)
        await asyncio.sleep(0.05)
        job_id = await submitted(it)
        await asyncio.sleep(0.05)
        assert (await it.live.call("GET", f"status/{job_id}"))["status"] == "IN_QUEUE"
        assert (await it.worker.take())[1]["id"] == job_id


async def test_a_result_labelled_as_a_form_is_json(tmp_path: Path) -> None:
    """COMPLETED with the output as it was sent."""
    async with stage(tmp_path) as it:
        job_id = await submitted(it)
        await it.worker.take()
        assert await it.worker.done(job_id, {"output": {"text": "né 🎈"}}) == (200, {})
        body = await it.live.call("GET", f"status/{job_id}")
        assert (body["status"], body["output"], body["workerId"]) == (
            "COMPLETED", {"text": "né 🎈"}, it.worker.spec.worker_id,
        )  # fmt: skip


async def test_progress_posts_complete_nothing(tmp_path: Path) -> None:
    """`{"status": "IN_PROGRESS"}` is shown as output until the result comes."""
    async with stage(tmp_path) as it:
        job_id = await submitted(it)
        await it.worker.take()
        await it.worker.done(job_id, {"status": "IN_PROGRESS", "output": "half"})
        body = await it.live.call("GET", f"status/{job_id}")
        assert (body["status"], body["output"]) == ("IN_PROGRESS", "half")
        await it.worker.done(job_id, {"output": "whole"})
        assert (await it.live.call("GET", f"status/{job_id}"))["output"] == "whole"


async def test_an_error_of_any_form_fails_the_job(tmp_path: Path) -> None:
    """Text stays text, an object becomes JSON text, half a character is replaced."""
    async with stage(tmp_path) as it:
        for error, shown in [("no", "no"), ({"code": 4}, '{"code": 4}'), ("a\ud83d", "a?")]:
            job_id = await submitted(it)
            await it.worker.take()
            await it.worker.done(job_id, {"error": error})
            body = await it.live.call("GET", f"status/{job_id}")
            assert (body["status"], body["error"]) == ("FAILED", shown)


async def test_a_late_result_is_ignored(tmp_path: Path) -> None:
    """The worker hears 200, so that it does not try again; the job stays cancelled."""
    async with stage(tmp_path) as it:
        job_id = await submitted(it)
        await it.worker.take()
        await it.live.call("POST", f"cancel/{job_id}")
        status, body = await it.worker.done(job_id, {"output": 1})
        assert (status, "ignored" in body) == (200, True)
        assert (await it.live.call("GET", f"status/{job_id}"))["status"] == "CANCELLED"
        assert await it.worker.stops() == (200, {"jobsToStop": [job_id]})
        assert await it.worker.stops() == (204, None)


async def test_a_worker_opens_nothing_but_its_own_routes(tmp_path: Path) -> None:
    """Wrong key, no key, the caller's key, "Bearer" before it, or another worker's URL: 401 without a reason."""
    async with stage(tmp_path, workers=2) as it:
        mine, other = it.workers
        own = mine.spec.env["RUNPOD_AI_API_KEY"]
        url = mine.url("RUNPOD_WEBHOOK_PING")
        keys = ("", "x", "test-key", f"Bearer {own}", "ключ".encode().decode("latin-1"))
        tries = [*((url, key) for key in keys), (other.url("RUNPOD_WEBHOOK_PING"), own)]
        tries.append((url.replace("abc123def456gh", "zzz"), own))
        for address, key in tries:
            async with mine.http.get(address, headers={"Authorization": key}) as answer:
                assert answer.status == 401, (address, key)
        async with mine.http.get(url, headers={"Authorization": own}) as answer:
            assert answer.status == 200


async def test_a_worker_cannot_touch_a_job_of_another(tmp_path: Path) -> None:
    """403 for a job it was never given, and the job is unharmed."""
    async with stage(tmp_path, workers=2) as it:
        job_id = await submitted(it)
        await it.workers[0].take()
        thief: HandWorker = it.workers[1]
        assert (await thief.done(job_id, {"output": "stolen"}))[0] == 403
        assert (await thief.piece(job_id, "stolen"))[0] == 403
        assert (await it.live.call("GET", f"status/{job_id}"))["status"] == "IN_PROGRESS"


async def test_a_body_that_is_no_json_object_is_refused(tmp_path: Path) -> None:
    """400, and the job goes on."""
    async with stage(tmp_path) as it:
        job_id = await submitted(it)
        await it.worker.take()
        for body in (b"{", b"[]", b"\xff", b'{"output": NaN}'):
            assert (await it.worker.done(job_id, body))[0] == 400
        assert (await it.live.call("GET", f"status/{job_id}"))["status"] == "IN_PROGRESS"


async def test_a_job_that_pings_leave_out_is_given_to_somebody_else(tmp_path: Path) -> None:
    """The SDK drops a result it could not post and forgets the job: three pings without it are enough."""
    async with stage(tmp_path) as it:
        kept, forgotten = await submitted(it), await submitted(it)
        await it.worker.take_batch(2)
        for _ in range(3):
            assert await it.worker.ping(job_id=kept) == 200
        assert (await it.live.call("GET", f"status/{forgotten}"))["status"] == "IN_QUEUE"
        assert (await it.live.call("GET", f"status/{kept}"))["status"] == "IN_PROGRESS"


async def test_a_worker_that_does_not_stop_a_job_is_replaced(tmp_path: Path) -> None:
    """A handler that blocks its loop cannot be cancelled; its worker is ended instead."""
    async with stage(tmp_path) as it:
        job_id = await submitted(it)
        await it.worker.take()
        await it.live.call("POST", f"cancel/{job_id}")
        for _ in range(3):
            await it.worker.ping(job_id=job_id)
        await until_gone(it)


async def test_an_unhealthy_ping_ends_the_worker(tmp_path: Path) -> None:
    """A failed fitness check is the worker's last word; it is UNHEALTHY and replaced."""
    async with stage(tmp_path) as it:
        await it.worker.ping(status="unhealthy", check="gpu", reason="no+CUDA+device")
        await until_gone(it)


async def until_gone(it: Stage) -> None:
    """The first worker has ended and another one has been started."""
    async with asyncio.timeout(5):
        while len(it.host.specs) < 2 or it.worker.spec.worker_id in it.host.alive():
            await asyncio.sleep(0.02)
    assert await it.worker.ping() == 401


async def test_stop_pod_means_a_fresh_worker(tmp_path: Path) -> None:
    """The job is COMPLETED, its worker gets no other one and is started anew."""
    async with stage(tmp_path) as it:
        job_id = await submitted(it)
        await it.worker.take()
        await it.worker.done(job_id, {"output": 1, "stopPod": True})
        await until_gone(it)
        assert (await it.live.call("GET", f"status/{job_id}"))["status"] == "COMPLETED"


async def test_the_lever_shows_workers_by_phase(tmp_path: Path) -> None:
    """With the caller's key only."""
    async with stage(tmp_path) as it:
        await it.worker.take()
        url = f"{it.live.ctx.base_url}/_emulator/endpoints/abc123def456gh/workers"
        async with it.live.http.get(url) as answer:
            (worker,) = (await answer.json())["workers"]
        assert worker["times"]["firstPoll"] >= worker["times"]["started"] >= worker["times"]["queued"]
        async with it.worker.http.get(url) as answer:
            assert answer.status == 401
        async with it.live.http.get(url.replace("abc123def456gh", "nobody")) as answer:
            assert answer.status == 404


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_the_throttle_lever_answers(tmp_path: Path, method: str) -> None:
    """POST takes the capacity away, DELETE gives it back."""
    async with stage(tmp_path) as it:
        url = f"{it.live.ctx.base_url}/_emulator/endpoints/abc123def456gh/throttle"
        async with it.live.http.request(method, url) as answer:
            assert await answer.json() == {"throttled": method == "POST"}
