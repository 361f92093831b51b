"""Real vLLM with a real model, on the CPU, behind the worker."""

import asyncio
import json
import re
import signal
import tarfile
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.vllm_worker.support import ROOT, JobApi, Worker
from vllm_worker._caches_archive import read_key_document

PYTHON = ROOT / ".local" / "envs" / "vllm" / "bin" / "python"
DEPS = ROOT / ".local" / "worker-deps"
MODEL = ROOT / ".local" / "models" / "smollm2-135m-instruct"

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(420),
    pytest.mark.skipif(not PYTHON.exists(), reason="no vLLM environment in .local/envs/vllm"),
    pytest.mark.skipif(not DEPS.exists(), reason="no worker dependencies in .local/worker-deps"),
    pytest.mark.skipif(not (MODEL / "config.json").exists(), reason="no model in .local/models"),
]


async def running(worker: Worker) -> float:
    """How many requests vLLM's engine is working on, by its own metrics."""
    found = re.search(r"--uds=(\S+)", worker.events("command")[0]["message"])
    assert found is not None
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=found[1])) as session,
        session.get("http://vllm.internal/metrics") as response,
    ):
        lines = (await response.text()).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("vllm:num_requests_running{"))


async def test_real_vllm_answers_through_the_worker(platform: JobApi, tmp_path: Path) -> None:
    """Chat, stream, batch, error and cancellation against real vLLM, with the worker's real dependency folder."""
    environment = {
        **platform.environment,
        "MODEL_NAME": str(MODEL),
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "MAX_MODEL_LEN": "2048",
        "MAX_NUM_SEQS": "8",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "WORKER_CACHE_HARVEST": str(tmp_path / "caches"),
    }
    worker = await Worker.start(PYTHON, tmp_path / "home", environment, DEPS)
    try:
        ready = await worker.event("ready", within=300)
        print(json.dumps(ready))  # noqa: T201 - the figures of this machine
        assert {"imports", "engine_process", "weights", "engine_init", "server", "warm_up"} <= set(ready["phases"])
        # vLLM in a process of its own would have to be imported once more only to look at the model's class.
        assert ready["phases"]["configuration"] < max(3, ready["phases"]["imports"] / 2), ready["phases"]
        (archive,) = (tmp_path / "caches").iterdir()
        with tarfile.open(archive) as stream:
            key, files = read_key_document(stream.extractfile("key.json").read())  # type: ignore[union-attr]
        assert key["gpu"]["name"].startswith("CPU ")
        # Run eagerly on a CPU, vLLM keeps nothing else; benchmarks/caches.py lets it compile.
        assert [file.path.rpartition("/")[0] for file in files] == ["vllm/modelinfos"]
        question = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0}
        chat: dict[str, Any] = {"openai_route": "/v1/chat/completions", "openai_input": {**question, "max_tokens": 32}}
        answer = (await platform.result(await platform.submit(chat), 60))["output"][0]
        assert answer["choices"][0]["message"]["content"] == "The capital of France is Paris."
        assert answer["model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"

        chat["openai_input"]["stream"] = True
        job = await platform.submit(chat)
        await platform.result(job, 60)
        events = [event.removeprefix("data: ") for event in "".join(platform.streams[job]).split("\n\n") if event]
        assert events[-1] == "[DONE]"
        pieces = [json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events[:-1]]
        assert "".join(pieces) == "The capital of France is Paris."

        batch = await platform.run({"prompts": ["1, 2, 3,", "The sky is"], "temperature": 0, "max_tokens": 4})
        results = batch["output"][0]["results"]
        assert [entry["prompt"] for entry in results] == ["1, 2, 3,", "The sky is"]
        assert all(entry["text"] for entry in results)

        long = {"openai_route": "/v1/completions", "openai_input": {"prompt": "word " * 4000}}
        error = json.loads((await platform.run(long))["error"])
        assert error["status"] == 400
        assert "2048" in error["message"]
        unknown = {"openai_route": "/v1/chat/completions", "openai_input": {**question, "model": "gpt-none"}}
        assert json.loads((await platform.run(unknown))["error"])["status"] == 404

        endless = {"prompt": "Once", "sampling_params": {"max_tokens": 1900, "ignore_eos": True}, "stream": True}
        job = await platform.submit(endless)
        await platform.first_piece(job)
        assert await running(worker) == 1
        await platform.cancel(job)
        async with asyncio.timeout(10):  # the answer itself would take far longer
            while await running(worker):
                await asyncio.sleep(0.02)
        assert (await platform.result(await platform.submit(chat), 60))["output"]
        assert job not in platform.done

        worker.signal(signal.SIGTERM)
        await platform.release()
        assert await worker.finished(within=60) == 0
    finally:
        await worker.end()
    # vLLM may print one of its own while it is stopped (its lines bear its process in brackets); the worker never does.
    assert not [line for line in worker.lines if "Traceback" in line and not line.startswith("(")]
