"""One worker process of the start-up cache benchmark, in an image's root that is a folder, until it is ready."""

import json
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("images/vllm-baked/vllm_worker", "src/vllm_options", "src/redaction")


class StartFailure(Exception):
    """A worker that did not become ready."""


@dataclass(frozen=True)
class Start:
    """What a worker said of its start."""

    ready: Mapping[str, Any]
    caches: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    cpu_seconds: float = 0.0
    """Of the worker, of vLLM and of the compilers it started: it says more than the clock on a busy machine."""

    def phase(self, name: str) -> float:
        """Seconds of one phase."""
        return float(self.ready["phases"].get(name, 0.0))


def image_root(folder: Path, model: Path, name: str) -> Path:
    """The folders of a baked image as far as a worker looks at them: its code and the model."""
    code = folder / "opt/vllm-worker/code"
    code.mkdir(parents=True)
    for package in PACKAGES:
        (code / Path(package).name).symlink_to(ROOT / package)
    (folder / "models").mkdir()
    (folder / "models" / name).symlink_to(model)
    return folder


def start(
    python: Path, root: Path, home: Path, deps: Path | None, environment: Mapping[str, str], limit: float
) -> Start:
    """Start a worker in an image's root with an empty cache folder, and end it when it is ready.

    It never sees a job: the address of its platform leads nowhere.
    """
    shutil.rmtree(home / ".cache", ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    paths = [str(root / "opt/vllm-worker/code"), *([str(deps)] if deps else [])]
    whole = {
        "PATH": os.defpath, "HOME": str(home), "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_STARTUP_TIMEOUT": f"{limit:g}",
        "RUNPOD_WEBHOOK_GET_JOB": "http://127.0.0.1:9/v2/ep/job-take/$ID", "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
        "RUNPOD_SKIP_GPU_CHECK": "true", **environment,
    }  # fmt: skip
    before = _children_cpu_s()
    with _running([str(python), "-m", "vllm_worker"], whole, home) as process:
        timer = threading.Timer(limit, process.kill)
        timer.start()
        try:
            found = _follow(process)
        finally:
            timer.cancel()
    return replace(found, cpu_seconds=_children_cpu_s() - before)


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _follow(process: "subprocess.Popen[str]") -> Start:
    caches: list[Mapping[str, Any]] = []
    notes: list[str] = []
    tail: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        tail = [*tail[-5:], line.strip()[:300]]
        if not line.startswith('{"event"'):
            continue
        said = json.loads(line)
        if said["event"] == "caches":
            caches.append(said)
        elif said["event"] == "note":
            notes.append(said["message"])
        elif said["event"] == "ready":
            return Start(said, tuple(caches), tuple(notes))
    raise StartFailure("the worker did not become ready; its last lines: " + " | ".join(tail))


@contextmanager
def _running(command: list[str], environment: Mapping[str, str], home: Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        command, env=dict(environment), cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 20
        reader = threading.Thread(target=process.stdout.read if process.stdout else lambda: None, daemon=True)
        reader.start()
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join(timeout=5)
        if process.stdout is not None and not reader.is_alive():
            process.stdout.close()
