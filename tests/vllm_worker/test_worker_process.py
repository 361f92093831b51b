"""The worker as a whole: a real process, RunPod's real SDK, real HTTP, and a vLLM that is a fake."""

import asyncio
import json
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.vllm_worker.fake_vllm import TEXT
from tests.vllm_worker.support import CODE, KEY, JobApi, Worker, alive, gone

Start = Callable[..., Any]


def chat(content: str, stream: bool = False) -> dict[str, Any]:
    body = {"model": "fake", "messages": [{"role": "user", "content": content}], "stream": stream}
    return {"openai_route": "/v1/chat/completions", "openai_input": body}


async def test_a_worker_answers_every_form_of_job_and_ends_cleanly(start: Start, platform: JobApi) -> None:
    """Ready, all forms answered, errors told apart, SIGTERM: exit 0 and nothing left."""
    worker = await start(MAX_NUM_SEQS="8", HF_TOKEN="hf_secretsecret1234")
    ready = await worker.event("ready")
    assert ready["concurrency"] == 8
    assert {"worker", "imports", "weights", "server", "warm_up", "total"} <= set(ready["phases"])

    answer = await platform.run(chat("hello"))
    assert answer["output"][0]["choices"][0]["message"]["content"] == "You said: hello"
    assert (await platform.run({"openai_route": "/v1/models"}))["output"][0]["data"][0]["id"] == "fake"
    assert (await platform.run({"prompt": "p", "sampling_params": {"max_tokens": 3}}))["output"][0]["choices"][0][
        "text"
    ] == "<p>"
    batch = await platform.run({"prompts": ["a", "b", "c"], "temperature": 0, "max_tokens": 4})
    assert batch["output"] == [
        {"results": [{"prompt": "a", "text": "<a>"}, {"prompt": "b", "text": "<b>"}, {"prompt": "c", "text": "<c>"}]}
    ]

    job = await platform.submit(chat("cuts 3", stream=True))
    done = await platform.result(job)
    text = "".join(platform.streams[job])
    assert done["output"] == platform.streams[job]
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    assert "".join(json.loads(e)["choices"][0]["delta"]["content"] for e in events[:-1]) == TEXT + " "

    error = json.loads((await platform.run(chat("error 404 no such model")))["error"])
    assert error == {
        "message": "no such model", "type": "BadRequestError", "param": None, "code": 404, "status": 404,
    }  # fmt: skip
    mistakes: list[Any] = ["text", [], None, {}, {"openai_route": "http://evil/", "openai_input": {}}, {"prompt": 3}]
    for bad in mistakes:
        assert json.loads((await platform.run(bad))["error"])["status"] in (400, 404)

    assert platform.authorization == {KEY}
    assert platform.pings > 0
    started = worker.requests()[0]
    assert "--enforce-eager" in started["started"]
    assert "PYTHONPATH" not in started["environment"]
    assert not [name for name in started["environment"] if name.startswith("RUNPOD_")]
    assert started["environment"]["HF_TOKEN"] == "hf_secretsecret1234"
    log = "\n".join(worker.lines)
    assert "hf_secretsecret1234" not in log + " ".join(started["started"])
    assert KEY not in log
    assert "hello" not in log, "prompts are not logged"

    engine = worker.engine_pid()
    worker.signal(signal.SIGTERM)
    await platform.release()
    assert await worker.finished() == 0
    assert await gone(engine)
    assert worker.events("end")[0]["code"] == 0


@pytest.mark.slow
async def test_a_held_poll_does_not_hold_up_the_end(start: Start, platform: JobApi) -> None:
    """An idle worker leaves within seconds of SIGTERM even if the platform keeps the poll open."""
    worker = await start()
    await worker.event("ready")
    while not platform.takes:
        await asyncio.sleep(0.02)
    began = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert await worker.finished() == 0
    assert time.monotonic() - began < 20
    assert await gone(worker.engine_pid())


@pytest.mark.slow
async def test_running_jobs_are_finished_after_sigterm(start: Start, platform: JobApi) -> None:
    """A job in hand is answered before the worker ends."""
    worker = await start()
    await worker.event("ready")
    job = await platform.submit(chat("wait 1"))
    await worker.seen(lambda entry: entry.get("body", {}).get("messages", [{}])[-1].get("content") == "wait 1")
    worker.signal(signal.SIGTERM)
    assert (await platform.result(job))["output"][0]["object"] == "chat.completion"
    await platform.release()
    assert await worker.finished() == 0


@pytest.mark.slow
async def test_a_job_beyond_the_drain_limit_is_aborted(start: Start, platform: JobApi) -> None:
    """WORKER_DRAIN_TIMEOUT bounds the end; the request in vLLM is aborted and the exit is still 0."""
    worker = await start(WORKER_DRAIN_TIMEOUT="1")
    await worker.event("ready")
    job = await platform.submit(chat("slow", stream=True))
    await platform.first_piece(job)
    began = time.monotonic()
    worker.signal(signal.SIGTERM)
    assert await worker.finished() == 0
    assert 0.9 < time.monotonic() - began < 20
    assert worker.events("aborting")
    assert job not in platform.done


@pytest.mark.parametrize("prompt", ["hang", "slow"])
@pytest.mark.slow
async def test_a_cancelled_job_is_aborted_in_vllm(start: Start, platform: JobApi, prompt: str) -> None:
    """The platform's stop signal closes the request in vLLM within a second, and the next job is answered."""
    worker = await start()
    await worker.event("ready")
    job = await platform.submit(chat(prompt, stream=prompt == "slow"))
    await worker.seen(lambda entry: entry.get("body", {}).get("messages", [{}])[-1].get("content") == prompt)
    if prompt == "slow":
        await platform.first_piece(job)
    asked = time.time()
    await platform.cancel(job)
    aborted = await worker.seen(lambda entry: entry.get("aborted") == prompt)
    assert aborted["at"] - asked < 1
    assert (await platform.run(chat("still there?")))["output"]
    assert job not in platform.done


async def test_when_vllm_dies_the_worker_exits_and_names_the_reason(start: Start, platform: JobApi) -> None:
    """No result is posted for the job in hand, so that the platform can give it to another worker."""
    worker = await start()
    await worker.event("ready")
    engine = worker.engine_pid()
    job = await platform.submit(chat("die"))
    assert await worker.finished() == 1
    end = worker.events("end")[0]
    assert end["code"] == 1
    assert "exit code 3" in end["message"]
    assert "torch.OutOfMemoryError: CUDA out of memory." in end["message"]
    assert "RuntimeError: engine core died of a test" in end["message"]
    assert job not in platform.done
    assert await gone(engine)
    assert not [line for line in worker.lines if line.startswith("Traceback")]


@pytest.mark.slow
async def test_a_sick_engine_ends_the_worker(start: Start, platform: JobApi) -> None:
    """A server that lives on without its engine is ended, and the worker with it."""
    worker = await start()
    await worker.event("ready")
    job = await platform.submit(chat("sick"))
    assert await worker.finished(within=30) == 1
    assert job not in platform.done


@pytest.mark.slow
async def test_a_stream_that_breaks_off_ends_with_an_error_event(start: Start, platform: JobApi) -> None:
    """Half an event is never passed on; a valid error event and a failed job are."""
    worker = await start()
    await worker.event("ready")
    job = await platform.submit(chat("break", stream=True))
    failed = json.loads((await platform.result(job))["error"])
    assert failed["status"] == 502
    events = [event for event in "".join(platform.streams[job]).split("\n\n") if event]
    documents = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    assert documents[0]["choices"]
    assert documents[-1]["error"]["code"] == 502
    assert events[-1] == "data: [DONE]"
    assert (await platform.run(chat("and on")))["output"]


@pytest.mark.slow
async def test_an_engine_that_dies_in_mid_stream_says_so_to_the_caller(start: Start, platform: JobApi) -> None:
    """A stream that had begun cannot be given to another worker: it ends with an error event."""
    worker = await start()
    await worker.event("ready")
    job = await platform.submit(chat("die in the middle", stream=True))
    assert json.loads((await platform.result(job))["error"])["status"] == 502
    assert await worker.finished() == 1


@pytest.mark.slow
async def test_a_killed_worker_takes_vllm_along(start: Start, platform: JobApi) -> None:
    """kill -9 of the worker makes the kernel end vLLM's server."""
    worker = await start()
    await worker.event("ready")
    server = [pid for pid in _children(worker.process.pid) if "api_server" in _command(pid)]
    assert len(server) == 1
    while not (others := [pid for pid in _children(worker.process.pid) if pid not in server]):
        await asyncio.sleep(0.02)  # the SDK's heartbeat is a process of its own; it begins after the worker is ready
    worker.signal(signal.SIGKILL)
    await worker.finished()
    for pid in [*server, *others, worker.engine_pid()]:
        assert await gone(pid)
    # Only the dead worker's own socket folder is left; in a container it goes with the container.
    (argument,) = [word for word in worker.requests()[0]["started"] if word.startswith("--uds=")]
    shutil.rmtree(Path(argument.removeprefix("--uds=")).parent)


async def test_mistakes_in_the_environment_are_all_told_before_vllm_starts(start: Start) -> None:
    """One line per mistake, exit code 2, nothing started."""
    worker = await start(MAX_MODEL_LENGTH="4096", DTYPE="bf17", ENFORCE_EAGER="maybe", MODEL_NAME="/nowhere")
    assert await worker.finished() == 2
    told = [entry["message"] for entry in worker.events("configuration")]
    assert len(told) == 4
    assert any("MAX_MODEL_LENGTH" in line and "MAX_MODEL_LEN?" in line for line in told)
    assert not worker.requests()


async def test_what_is_missing_around_the_worker_is_told_in_one_line(fake_python: Path, tmp_path: Path) -> None:
    """No jobs to take, no dependencies on the path: a line and an exit code, no traceback."""
    alone = await Worker.start(fake_python, tmp_path / "alone", {"MODEL_NAME": "org/model"})
    assert await alone.finished() == 2
    assert [entry["message"].split(":")[0] for entry in alone.events("configuration")] == ["RUNPOD_WEBHOOK_GET_JOB"]
    half = await Worker.start(fake_python, tmp_path / "half", {"PYTHONPATH": str(CODE[0])})
    assert await half.finished() == 1
    assert half.lines == [
        "vllm_worker cannot be imported: No module named 'redaction'; "
        "are its code and its dependencies on PYTHONPATH?"
    ]  # fmt: skip


@pytest.mark.slow
async def test_a_vllm_that_fails_to_start_is_reported_in_one_line(start: Start, tmp_path: Any) -> None:
    """The exit code is 1 and the last line names vLLM's own error."""
    (tmp_path / "home0").mkdir()
    (tmp_path / "home0" / "fake.json").write_text(json.dumps({"fail": "ValueError: max_model_len is too large"}))
    worker = await start()
    assert await worker.finished() == 1
    assert json.loads(worker.lines[-1])["event"] == "end"
    assert "ValueError: max_model_len is too large" in worker.lines[-1]


@pytest.mark.slow
async def test_a_slow_vllm_is_given_up(start: Start, tmp_path: Any) -> None:
    """VLLM_STARTUP_TIMEOUT bounds the start."""
    (tmp_path / "home0").mkdir()
    (tmp_path / "home0" / "fake.json").write_text(json.dumps({"delay": 60}))
    worker = await start(VLLM_STARTUP_TIMEOUT="1.5")
    assert await worker.finished() == 1
    assert "VLLM_STARTUP_TIMEOUT" in worker.lines[-1]


@pytest.mark.slow
async def test_sigterm_during_the_start_ends_both(start: Start, tmp_path: Any) -> None:
    """A worker that is told to end before it is ready leaves nothing behind."""
    (tmp_path / "home0").mkdir()
    (tmp_path / "home0" / "fake.json").write_text(json.dumps({"delay": 60}))
    worker = await start()
    await worker.seen(lambda entry: "started" in entry)
    server = [pid for pid in _children(worker.process.pid) if "api_server" in _command(pid)]
    worker.signal(signal.SIGTERM)
    assert await worker.finished() == 0
    assert not any(alive(pid) for pid in server)


@pytest.mark.slow
async def test_a_port_can_be_asked_for(start: Start, platform: JobApi) -> None:
    """VLLM_PORT binds vLLM to a loopback port instead of the private socket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    worker = await start(VLLM_PORT=str(port))
    await worker.event("ready")
    assert f"--port={port}" in worker.requests()[0]["started"]
    assert (await platform.run(chat("hi")))["output"]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
