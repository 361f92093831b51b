"""Limits, usage and figures of a whole worker: a real process, jobs through RunPod's SDK or real HTTP, a fake vLLM."""

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from tests.vllm_worker.fake_vllm import TEXT
from tests.vllm_worker.support import JobApi, Worker
from tests.vllm_worker.test_front import status
from tests.vllm_worker.test_usage import samples

Start = Callable[..., Any]
KEY = "caller-key-8c1f20"


def chat(content: str, **more: Any) -> dict[str, Any]:
    return {"model": "fake", "messages": [{"role": "user", "content": content}], **more}


async def usage(worker: Worker, count: int) -> list[dict[str, Any]]:
    """Wait for that many usage lines."""
    async with asyncio.timeout(10):
        while len(found := worker.events("usage")) < count:
            await asyncio.sleep(0.02)
    assert len(found) == count
    return found


async def test_requests_over_http_are_limited_and_accounted_for(start: Start, tmp_path: Path) -> None:
    """What passes reaches vLLM byte for byte; what does not gets an error in OpenAI's form; /metrics tells of both."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    (tmp_path / "home0").mkdir()
    (tmp_path / "home0" / "fake.json").write_text(json.dumps({"delay": 0.6}))
    worker = await start(
        WORKER_MODE="pod", PORT=str(port), WORKER_API_KEY=KEY, WORKER_MAX_TOKENS="64", WORKER_ALLOWED_MODELS="fake",
        WORKER_TAG_RATE="3", RUNPOD_GPU_COUNT="2",
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
        async with asyncio.timeout(20):
            while await status(http, f"{url}/ping") != 204:
                await asyncio.sleep(0.02)
        async with http.get(f"{url}/metrics") as answer:
            early = samples(await answer.text())
        assert early["vllm_worker_gpus"] == 2
        assert not [name for name in early if name.startswith("vllm:")], "it is still being loaded"
        await worker.event("ready")

        async def ask(body: Any, feature: str = "chat") -> tuple[int, Any, Any]:
            data = body if isinstance(body, str) else json.dumps(body)
            headers = {"Content-Type": "application/json", "X-Feature": feature, "X-User": f"{feature}-user"}
            async with http.post(f"{url}/v1/chat/completions", data=data, headers=headers) as answer:
                text = (await answer.read()).decode()
                return answer.status, json.loads(text) if text.startswith("{") else text, answer.headers

        odd = '{ "messages": [{"content":"gr\\u00fc\\u00dfe"}],\n "max_tokens":64 , "x": 1.50e1, "x": null }'
        assert (await ask(odd))[0] == 200
        assert worker.requests()[-1]["raw"] == odd
        _, text, _ = await ask(chat("cuts 3", stream=True, max_tokens=9, stream_options={"include_usage": True}))
        events = [json.loads(one.removeprefix("data: ")) for one in text.split("\n\n")[:-2]]
        assert "".join(one["choices"][0]["delta"]["content"] for one in events[:-1]) == TEXT + " "
        await ask(chat("cuts 3", stream=True, max_tokens=9))

        code, document, headers = await ask(chat("a fourth", max_tokens=9))
        assert (code, document["error"]["type"]) == (429, "RateLimitError")
        assert 1 <= int(headers["Retry-After"]) <= 60
        for body, expected, word in (
            (chat("much", max_tokens=65), 400, "WORKER_MAX_TOKENS"),
            (chat("endless"), 400, "max_completion_tokens"),
            (chat("other", max_tokens=1) | {"model": "other"}, 403, "WORKER_ALLOWED_MODELS"),
            ("{", 400, "JSON"),
        ):
            code, document, _ = await ask(body, "probe")
            assert code == expected
            assert word in document["error"]["message"]
        assert (await ask(chat("x", max_tokens=1), "x" * 65))[0] == 400
        assert (await ask(chat("error 400 too long", max_tokens=1), "probe"))[0] == 400

        endless = chat("slow", stream=True, max_tokens=9)
        async with http.post(f"{url}/v1/chat/completions", json=endless, headers={"X-Feature": "leaver"}):
            await asyncio.sleep(0.1)  # it would go on for ever
        *lines, left = await usage(worker, 5)
        assert (left["feature"], left["outcome"], left["estimated"]) == ("leaver", "cancelled", True)
        assert left["output_tokens"] >= 1
        assert left["gpu_seconds"] >= 0.2, "0.1 s of two GPUs"
        assert [(one["input_tokens"], one["output_tokens"]) for one in lines] == [
            (5, 7), (5, 7), (None, len(TEXT.split())), (0, 0),
        ]  # fmt: skip
        assert [one.get("estimated") for one in lines] == [None, None, True, None]
        assert {(one["inference.backend"], one["model"]) for one in lines} == {("vllm", "fake")}
        assert (lines[0]["feature"], lines[0]["user"], lines[3]["outcome"]) == ("chat", "chat-user", "rejected")
        async with http.get(f"{url}/metrics", headers={"Accept": "application/openmetrics-text"}) as answer:
            found = samples(await answer.text())
        assert {"path": "/metrics", "accept": "text/plain"} in worker.requests()
    assert found["vllm:num_requests_running"] == 0
    assert found['vllm_worker_requests_total{outcome="ok"}'] == 3
    assert found['vllm_worker_requests_total{outcome="rejected"}'] == 1
    assert found['vllm_worker_requests_total{outcome="refused"}'] == 6
    assert found['vllm_worker_requests_total{outcome="cancelled"}'] == 1
    assert found["vllm_worker_requests_in_flight"] == 0
    assert found["vllm_worker_gpus"] == 2
    assert found['vllm_worker_tokens_total{feature="chat",kind="output"}'] == 14 + len(TEXT.split())
    assert found['vllm_worker_start_seconds{phase="total"}'] > 0
    charged = sum(one["gpu_seconds"] for one in lines if one["feature"] == "chat")
    assert abs(found['vllm_worker_gpu_seconds_total{feature="chat"}'] - charged) < 1e-5
    asked = [entry["body"]["messages"][-1]["content"] for entry in worker.requests() if "body" in entry]
    assert not {"a fourth", "much", "endless", "other", "x"} & set(asked)
    log = "\n".join(worker.lines)
    assert KEY not in log
    assert "cuts 3" not in log, "prompts are not logged"


async def test_jobs_are_limited_and_accounted_for(start: Start, platform: JobApi) -> None:
    """The same for every form of job, with tags beside the input's other keys; {"metrics": true} tells the figures."""
    worker = await start(WORKER_MAX_TOKENS="600", WORKER_METRICS_INTERVAL="0.2", RUNPOD_GPU_COUNT="2")
    await worker.event("ready")
    tags = {"feature": "search", "user": "ann"}
    body = chat("hello", max_tokens=5)
    stream = {"max_tokens": 5, "stream_options": {"include_usage": True}}
    answers = await asyncio.gather(
        platform.run({"openai_route": "/v1/chat/completions", "openai_input": body, "tags": tags}),
        platform.run({"route": "/v1/chat/completions", "body": body, "tags": tags}),
        platform.run({"prompt": "p", "sampling_params": {"max_tokens": 3}, "tags": tags}),
        platform.run({"prompts": ["a", "b"], "tags": {"feature": "bulk"}}),
        platform.run({"messages": body["messages"], "sampling_params": stream, "stream": True}),
    )
    assert "".join(answers[-1]["output"]).endswith("data: [DONE]\n\n")
    refusals = [
        ({"prompts": ["a", "b", "c"]}, 400, "256 tokens x 3 prompts"),
        ({"messages": []}, 400, "say how long the answer may be"),
        ({"prompt": "p", "sampling_params": {"max_tokens": 601}}, 400, "WORKER_MAX_TOKENS"),
        ({"prompt": "p", "tags": {"team": "x"}}, 400, "`tags`"),
    ]
    refused = await asyncio.gather(*(platform.run(job_input) for job_input, _, _ in refusals))
    for answer, (_, expected, word) in zip(refused, refusals, strict=True):
        error = json.loads(answer["error"])
        assert error["status"] == expected
        assert word in error["message"]
    lines = await usage(worker, 5)
    assert sorted((one["feature"] or "", one["input_tokens"], one["output_tokens"]) for one in lines) == [
        ("", 5, 7), ("bulk", 10, 14), ("search", 5, 7), ("search", 5, 7), ("search", 5, 7),
    ]  # fmt: skip
    job = await platform.submit({"route": "/v1/chat/completions", "body": chat("slow", max_tokens=5, stream=True)})
    await platform.first_piece(job)
    await platform.cancel(job)
    assert (await usage(worker, 6))[-1]["outcome"] == "cancelled"
    (figures,) = (await platform.run({"metrics": True, "tags": tags}))["output"]
    assert figures["requests"] == {"ok": 5, "refused": 4, "rejected": 0, "failed": 0, "cancelled": 1}
    assert (figures["in_flight"], figures["gpus"], figures["features"]["search"]["output_tokens"]) == (0, 2, 21)
    assert figures["start_seconds"]["total"] > 0
    async with asyncio.timeout(5):
        while not (told := worker.events("metrics")) or told[-1]["requests"]["cancelled"] < 1:
            await asyncio.sleep(0.02)
    assert {key: told[-1][key] for key in figures} == figures
    await asyncio.sleep(0.4)
    assert len(worker.events("metrics")) == len(told), "nothing has changed since"
