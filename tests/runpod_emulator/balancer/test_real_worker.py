"""The worker of images/vllm-baked behind the load balancer; its vLLM is the fake."""

import asyncio
from pathlib import Path

from runpod_emulator.model import ContainerSpec
from tests.runpod_emulator.balancer.support import QUICK, Balanced, balanced
from tests.runpod_emulator.jobs.support import ProcessHost, live
from tests.vllm_worker.fake_vllm import TEXT
from tests.vllm_worker.support import CODE, make_fake_environment, make_model


async def test_the_real_worker_answers_and_streams(tmp_path: Path) -> None:
    """It finds out by itself what it is part of, takes PORT, says 204 until vLLM is there, and ends in order."""
    settings = {
        "MODEL_NAME": str(make_model(tmp_path / "models" / "fake")),
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "fake",
        "PYTHONPATH": ":".join(map(str, CODE)),
    }
    host = WorkerHost(tmp_path, make_fake_environment(tmp_path / "venv"))
    async with live(tmp_path, balanced(env=settings, workers_min=1), timing=QUICK, host=host) as emulator:
        it = Balanced(emulator, tmp_path)
        chat = {"model": "fake", "messages": [{"role": "user", "content": "hello"}]}
        async with asyncio.timeout(40), it.request("POST", "/v1/chat/completions", json=chat) as answer:
            assert answer.status == 200, host.output()
            assert (await answer.json())["choices"][0]["message"]["content"] == "You said: hello"
        (details,) = it.details()
        assert details["times"]["firstPing"] <= details["times"]["firstPoll"]
        async with it.request("POST", "/v1/chat/completions", json={**chat, "stream": True}) as answer:
            assert answer.content_type == "text/event-stream"
            text = await answer.text()
        assert text.endswith("data: [DONE]\n\n")
        assert TEXT.split()[0] in text
        assert (await it.get("/no/such", status=404))["error"]["message"]
    assert host.containers[0].process.returncode == 0


class WorkerHost(ProcessHost):
    """Starts `python -m vllm_worker`, in whose interpreter vLLM is the fake."""

    def __init__(self, directory: Path, python: Path) -> None:
        super().__init__(directory)
        self.python = python

    def command(self, spec: ContainerSpec) -> list[str]:
        return [str(self.python), "-m", "vllm_worker"]
