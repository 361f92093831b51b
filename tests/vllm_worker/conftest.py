"""Fixtures of the worker's tests."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.vllm_worker.support import JobApi, Worker, make_fake_environment, make_model


@pytest.fixture(scope="session")
def fake_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter whose vLLM is the fake."""
    return make_fake_environment(tmp_path_factory.mktemp("fake-vllm") / "venv")


@pytest.fixture
async def platform() -> AsyncIterator[JobApi]:
    """The platform's side of the job protocol."""
    async with JobApi().serve() as api:
        yield api


@pytest.fixture
async def start(fake_python: Path, platform: JobApi, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Start workers with the fake vLLM; everything they started is ended with the test."""
    workers: list[Worker] = []

    async def start_one(**environment: str) -> Worker:
        model = make_model(tmp_path / "models" / "fake")
        home = tmp_path / f"home{len(workers)}"
        settings = {"MODEL_NAME": str(model), "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "fake", **environment}
        # Without jobs to take it answers HTTP: what RunPod says of jobs is not there then.
        told = {} if "WORKER_MODE" in environment else platform.environment
        worker = await Worker.start(fake_python, home, {**told, **settings})
        workers.append(worker)
        return worker

    yield start_one
    await platform.release()
    for worker in workers:
        await worker.end()
