"""The emulator as a background process: start, find, stop.

It is found by asking the address in the stack file, not by a pid file; it is stopped by the pid that it reports.
"""

import contextlib
import fcntl
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redaction import redact
from vllm_runpod.errors import EmulatorFailed, SetupMissing
from vllm_runpod.project import Project

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 40.0
"""Longer than the emulator gives its workers (SIGTERM, then SIGKILL)."""


@dataclass(frozen=True)
class Running:
    """A live emulator. `started_here` is true when this command started it."""

    url: str
    pid: int
    started_here: bool
    seconds: float


def status(project: Project) -> dict[str, Any] | None:
    """What the emulator at the stack's address says of itself; None when nothing listens there.

    Raises EmulatorFailed when something else listens there, or an emulator of another folder.
    """
    host, port = project.emulator_address()
    url = f"http://{host}:{port}/_emulator/status"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as answer:
            found = json.loads(answer.read(65536))
    except (ConnectionError, TimeoutError):
        return None
    except (urllib.error.HTTPError, http.client.HTTPException, ValueError) as error:
        raise _foreign(host, port) from error
    except urllib.error.URLError:
        return None
    if not isinstance(found, dict) or "pid" not in found:
        raise _foreign(host, port)
    state = found.get("state_dir")
    if state is not None and os.path.realpath(state) != os.path.realpath(project.emulator_state):
        raise EmulatorFailed(
            f"port {port} is in use by the emulator of another folder ({state})\n\n"
            "hint: stop that one with `make down` there, or set another port in Pulumi.local.yaml "
            "(runpod:apiUrl and runpod:jobsUrl)"
        )
    return found


def _foreign(host: str, port: int) -> EmulatorFailed:
    return EmulatorFailed(
        f"port {port} on {host} is in use by another program\n\n"
        "hint: stop that program, or set another port in Pulumi.local.yaml (runpod:apiUrl and runpod:jobsUrl)"
    )


def start(project: Project) -> Running:
    """Start the emulator, or return the one that runs already. Raises EmulatorFailed, SetupMissing."""
    host, port = project.emulator_address()
    began = time.monotonic()
    found = status(project)
    if found is not None:
        return Running(f"http://{host}:{port}", int(found["pid"]), started_here=False, seconds=0.0)
    python = project.vllm_environment / "bin" / "python"
    if not python.exists():
        raise SetupMissing(
            "vLLM's environment (.local/envs/vllm) is not there\n\nhint: run `make up`, which installs it"
        )
    project.emulator_state.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "vllm_runpod",
        "emulator",
        "--port",
        str(port),
        "--state",
        str(project.emulator_state),
        "--image-root",
        str(project.root),
        *mounts(project),
    ]
    with project.emulator_log.open("wb") as log:
        child = subprocess.Popen(
            command, cwd=project.root, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        while time.monotonic() - began < START_TIMEOUT_S:
            if child.poll() is not None:
                raise EmulatorFailed(f"the emulator ended at its start: {_last_lines(project)}")
            found = status(project)
            if found is not None:
                return Running(f"http://{host}:{port}", int(found["pid"]), True, time.monotonic() - began)
            time.sleep(0.05)
        raise EmulatorFailed(f"the emulator was not ready after {START_TIMEOUT_S:.0f} s: {_last_lines(project)}")
    except BaseException:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
        raise


def mounts(project: Project) -> list[str]:
    """What a worker's root borrows from this machine in place of a base image: vLLM, and the Python under it."""
    environment = project.vllm_environment
    found = ["--mount", f"{environment}=/opt/vllm"]
    base = (environment / "bin" / "python").resolve().parent.parent
    if base != Path("/usr"):
        # The environment's python is a link to this place, so it must be at the same path inside.
        found += ["--mount", f"{base}={base}"]
    return found


def stop(project: Project) -> bool:
    """Stop the emulator and its workers; False when none ran. Raises EmulatorFailed when it does not end.

    One that runs on this state but not at the stack's address (the port was changed meanwhile) is stopped too.
    """
    pid = _holder(project)
    if pid is None:
        try:
            found = status(project)
        except EmulatorFailed:
            return False  # Somebody else's program.
        if found is None:
            return False
        pid = int(found["pid"])
    stop_pid(pid)
    return True


def _holder(project: Project) -> int | None:
    """The process that holds the lock of the emulator's state; None when nobody does."""
    try:
        with (project.emulator_state / "emulator.lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read())
    except (OSError, ValueError):
        return None
    return None


def stop_pid(pid: int) -> None:
    """SIGTERM, then SIGKILL when it does not end in time (workers die with it either way)."""
    for number, patience in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, 10.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not _alive(pid):
                return
            time.sleep(0.05)
    raise EmulatorFailed(f"the emulator (pid {pid}) does not end")


def _alive(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        # When it is our own child it stays a zombie until somebody asks.
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _last_lines(project: Project) -> str:
    try:
        lines = redact(project.emulator_log.read_text(errors="replace")).strip().splitlines()
    except OSError:
        lines = []
    return "\n".join(lines[-8:]) or f"it printed nothing (log: {project.emulator_log})"
