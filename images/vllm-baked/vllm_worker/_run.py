"""The whole life of a worker: read the environment, start vLLM, prove that it answers, take jobs, end cleanly."""

import asyncio
import os
import shlex
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redaction import redact, register_secret
from vllm_options import Plan, Schema, UnknownVersion, latest_version, options, read_environment
from vllm_worker import _caches as start_caches
from vllm_worker._backoff import Starts, configuration_key
from vllm_worker._client import Address, open_session
from vllm_worker._device import Machine, find_machine, launch_for
from vllm_worker._engine import Engine, own_children
from vllm_worker._errors import EngineError
from vllm_worker._handler import Handler
from vllm_worker._log import event
from vllm_worker._mode import Mode, mode_mistakes, mode_of
from vllm_worker._ready import Stopped, wait_healthy, warm_up
from vllm_worker._seed import cache_root, seed_model_infos
from vllm_worker._serve import Supervisor, serve
from vllm_worker._stop import StopRequest
from vllm_worker._usage import Desk, gpu_count

EXIT_OK = 0
EXIT_ENGINE = 1
EXIT_CONFIGURATION = 2


def run(environ: Mapping[str, str]) -> int:
    """Be a worker until the end; returns the exit code.

    0 after SIGTERM, 1 when vLLM does not start or dies, 2 when the environment asks for something impossible.
    """
    age_s = _process_age_s()
    stop = StopRequest()
    stop.install()
    for name in ("RUNPOD_AI_API_KEY", "RUNPOD_API_KEY"):
        register_secret(environ.get(name))
    try:
        machine = find_machine()
        plan = read_environment(environ, _schema(machine))
        for secret in plan.secrets:
            register_secret(secret)
        mistakes = [str(problem) for problem in plan.problems] + _folder_mistakes(plan.model)
        mode = mode_of(plan.settings, environ)
        mistakes += mode_mistakes(mode, plan.settings, environ)
        if mistakes:
            for mistake in mistakes:
                event("configuration", mistake)
            event("end", f"not started: {len(mistakes)} mistakes in the environment" if len(mistakes) > 1 else
                  "not started: a mistake in the environment", code=EXIT_CONFIGURATION)  # fmt: skip
            return EXIT_CONFIGURATION
        for note in plan.notes:
            event("note", note)
        _work(plan, machine, stop, age_s, mode or "queue")
    except EngineError as error:
        event("end", str(error), code=EXIT_ENGINE, **error.facts)
        return EXIT_ENGINE
    except Exception as error:  # noqa: BLE001 - the outermost edge
        text = f"{type(error).__name__}: {error}; this is a bug, please report it"
        event("end", text, code=EXIT_ENGINE, traceback=traceback.format_exc())
        return EXIT_ENGINE
    event("end", "ended as asked", code=EXIT_OK)
    return EXIT_OK


def _schema(machine: Machine) -> Schema:
    try:
        return options(machine.vllm_version)
    except UnknownVersion as error:
        event("note", f"{str(error).splitlines()[0]}; the environment is read as for vLLM {latest_version()}")
        return options(latest_version())


def _folder_mistakes(model: str) -> list[str]:
    """What can be seen to be wrong with a model folder before vLLM spends a minute on it."""
    if not model.startswith(("/", "./", "../")):
        return []
    folder = Path(model)
    if folder.is_file() and folder.suffix == ".gguf":
        return []
    if not folder.is_dir():
        return [f"MODEL_NAME: {model} is not a folder; bake the weights there, or give a Hugging Face id"]
    if not any((folder / name).is_file() for name in ("config.json", "params.json")):
        return [f"MODEL_NAME: {model} has no config.json; it is not a model folder"]
    return []


def _work(plan: Plan, machine: Machine, stop: StopRequest, age_s: float, mode: Mode) -> None:
    starts = Starts(
        Path(plan.environment.get("HOME") or "/tmp") / ".cache" / "vllm-worker",  # noqa: S108 - without a home folder
        configuration_key(plan, machine.vllm_version),
        enabled=plan.settings.worker_backoff,
    )
    starts.refuse_if_resting()
    address = Address.choose(plan.settings.vllm_port)
    launch = launch_for(plan, machine, address.arguments)
    for note in launch.notes:
        event("note", note)
    event("command", f"starting {redact(shlex.join(launch.command))}", vllm=machine.vllm_version)
    caches = start_caches.prepare(
        vllm_version=machine.vllm_version,
        cpu=machine.cpu,
        model=plan.model,
        command=launch.command,
        environment=launch.environment,
        harvest=plan.settings.worker_cache_harvest,
    )
    environment = {**caches.environment(), **launch.environment}
    try:
        seed_model_infos(machine.vllm_version, plan.model, cache_root(environment))
    except OSError as error:
        event("note", f"vLLM's cache cannot be written ({error}); its start takes some seconds more")
    own_children()
    starts.begin()
    spawned_at = time.monotonic()
    try:
        engine = Engine(launch.command, environment)
    except OSError as error:
        raise EngineError(f"{launch.command[0]} cannot be started: {error.strerror}") from error
    try:
        desk = Desk(plan.settings, plan.served_names[0] if plan.served_names else plan.model, gpu_count(os.environ))
        life = _Life(plan, engine, address, stop, caches, starts, age_s, spawned_at, desk)
        if mode == "queue":
            _serve_queue(life)
        else:
            from vllm_worker._front import Front  # vLLM is loading already
            from vllm_worker._serve_http import serve_http

            needs_key = mode == "pod" and not plan.settings.worker_allow_no_key
            front = Front(address, plan.settings, needs_key, desk)
            drain_s = plan.settings.worker_drain_timeout
            asyncio.run(serve_http(front, engine, address, stop, drain_s, lambda: _become_ready(life, mode=mode)))
    except Stopped:
        starts.withdrawn()
    except Exception as error:
        starts.failed(error)
        raise
    finally:
        engine.stop()
        address.remove()


@dataclass(frozen=True)
class _Life:
    """What the modes share of one start."""

    plan: Plan
    engine: Engine
    address: Address
    stop: StopRequest
    caches: start_caches.StartCaches
    starts: Starts
    age_s: float
    spawned_at: float
    desk: Desk


def _serve_queue(life: _Life) -> None:
    # It takes seconds to import, and vLLM is busy anyway.
    start = _runpod_start()
    imported_s = time.monotonic() - life.spawned_at
    settings = life.plan.settings
    facts = {"runpod_import": round(imported_s, 3), "concurrency": settings.max_concurrency}
    asyncio.run(_become_ready(life, mode="queue", **facts))
    interval_s = settings.worker_metrics_interval
    handler = Handler(life.engine, life.address, settings.request_timeout, life.desk, interval_s)
    supervisor = Supervisor(life.engine, handler, life.stop, settings.max_concurrency, settings.worker_drain_timeout)
    serve(start, supervisor, handler)


async def _become_ready(life: _Life, **facts: Any) -> None:
    phases = await _make_ready(life.plan, life.engine, life.address, life.stop)
    life.starts.succeeded()
    start_caches.finish(life.caches)
    total_s = round(life.age_s + life.caches.seconds + time.monotonic() - life.spawned_at, 3)
    phases = {"worker": round(life.age_s, 3), "caches": life.caches.seconds, **phases, "total": total_s}
    life.desk.metrics.started(phases)
    event(
        "ready",
        f"ready after {total_s:.1f} s",
        phases=phases,
        caches=life.caches.outcome,
        models=list(life.plan.served_names),
        **facts,
    )


async def _make_ready(plan: Plan, engine: Engine, address: Address, stop: StopRequest) -> dict[str, float]:
    settings = plan.settings
    async with open_session(address, settings.request_timeout) as session:
        healthy_at = await wait_healthy(session, engine, address, settings.vllm_startup_timeout, lambda: stop.requested)
        phases = engine.phases(healthy_at)
        if settings.worker_warmup:
            began = time.monotonic()
            await warm_up(session, engine, address, plan.served_names[0] if plan.served_names else plan.model)
            phases["warm_up"] = round(time.monotonic() - began, 3)
        return phases


def _runpod_start() -> Callable[[dict[str, Any]], None]:
    # At its default level, DEBUG, the SDK logs every prompt and every answer.
    if "RUNPOD_DEBUG_LEVEL" not in os.environ:
        os.environ.setdefault("RUNPOD_LOG_LEVEL", "INFO")
    try:
        import runpod
    except ImportError as error:
        raise EngineError(f"RunPod's SDK cannot be imported ({error}); is its folder on PYTHONPATH?") from error
    start: Callable[[dict[str, Any]], None] = runpod.serverless.start
    return start


def _process_age_s() -> float:
    """Seconds since this process was started: the interpreter and the imports so far."""
    fields = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
    uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.0, uptime_s - int(fields[19]) / os.sysconf("SC_CLK_TCK"))
