"""Engine processes: started, watched, killed.

An engine is forked from this process, which has its modules loaded already: what remains is a process of its own like
any other, with its plugin and its program as real child processes, and it starts a fifth of a second sooner. It is also
started as `python -m pulumi_embedded`, the way users do. This process must have no threads and no event loop.
"""

import contextlib
import importlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._faults_process import die_with
from benchmarks._faults_program import PLUGIN, ROOT, STACK, Project
from benchmarks._faults_story import Kill, Step

_PATIENCE_S = 60.0
"""No run of the engine may take longer: longer than every wait in a story together."""
_LOOK_S = 0.015
_SAMPLE_S = 0.08
_MODULES = (
    "pulumi_embedded._cli",
    "pulumi_embedded._commands",
    "pulumi_embedded._operation",
    "pulumi_embedded._stack",
    "cryptography.hazmat.primitives.ciphers.aead",
    "grpc.aio",
)


@dataclass
class Run:
    """How one run of the engine went."""

    code: int = 0
    """Exit code; negative: the signal that ended it."""
    killed: bool = False
    """Whether the kill that was planned took place."""
    hung: bool = False
    seconds: float = 0.0
    output: str = ""
    processes: dict[int, "Seen"] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    """Processes that outlived the engine."""


@dataclass
class Seen:
    """What the system shows of a child process to everybody (arguments) and to its user (environment)."""

    name: str
    arguments: bytes
    environment: bytes


def load_engine() -> None:
    """Load what an engine needs, once, for all that are forked from here."""
    from pulumi_embedded._protos import use_generated_modules_only

    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    use_generated_modules_only()
    for name in _MODULES:
        importlib.import_module(name)


def run_engine(project: Project, step: Step, log: Path, waiting_call: Callable[[], bool], *, command_line: bool) -> Run:
    """Run one step to its end. `waiting_call` says whether the call that a kill waits for has been made."""
    arguments = ["-C", str(project.program), "--non-interactive", "--logtostderr", step.command, "--yes",
                 "--skip-preview", "--stack", STACK]  # fmt: skip
    if step.refresh:
        arguments.append("--refresh")
    began = time.monotonic()
    writes = step.kill if step.kill is not None and step.kill.when == "write" else None
    pid = _start_command(project, arguments, log) if command_line else _fork(project, arguments, log, writes)
    run = Run()
    _watch(pid, run, step.kill, waiting_call, began)
    run.seconds = time.monotonic() - began
    run.output = log.read_text(errors="replace")
    run.left = _left_of(run.processes)
    return run


def _watch(pid: int, run: Run, kill: Kill | None, waiting_call: Callable[[], bool], began: float) -> None:
    sampled = 0.0
    plugin_since: float | None = None
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        now = time.monotonic()
        if done:
            run.code = os.waitstatus_to_exitcode(status)
            if kill is not None and kill.when == "write" and run.code == -signal.SIGKILL:
                run.killed = True
            return
        if now - sampled >= _SAMPLE_S:
            sampled = now
            _sample(pid, run.processes)
            if plugin_since is None and _plugin(run.processes) is not None:
                plugin_since = now
        if now - began > _PATIENCE_S:
            run.hung = True
            os.kill(pid, signal.SIGKILL)
        elif kill is not None and not run.killed and kill.when != "write":
            since = began if kill.who == "engine" else plugin_since
            late = since is not None and now - since >= kill.seconds
            due = waiting_call() if kill.when == "call" else late
            if due:
                run.killed = _kill(pid, kill, run.processes)
        time.sleep(_LOOK_S)


def _kill(pid: int, kill: Kill, processes: dict[int, Seen]) -> bool:
    if kill.who == "engine":
        os.kill(pid, signal.SIGKILL)
        return True
    _sample(pid, processes)
    plugin = _plugin(processes)
    if plugin is None:
        return False
    try:
        os.kill(plugin, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _plugin(processes: dict[int, Seen]) -> int | None:
    return next((pid for pid, seen in processes.items() if seen.name == "plugin"), None)


# What the system shows of the children


def _sample(engine: int, processes: dict[int, Seen]) -> None:
    try:
        children = Path(f"/proc/{engine}/task/{engine}/children").read_text().split()
        own = Path(f"/proc/{engine}/cmdline").read_bytes()
    except OSError:
        return
    for pid in map(int, children):
        if pid in processes and processes[pid].name != "starting":
            continue
        with contextlib.suppress(OSError):
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            # Between fork and exec a child shows what the engine shows: it has not become anything yet.
            name = "starting" if arguments == own else _name(arguments)
            processes[pid] = Seen(name, arguments, environment)


def _name(arguments: bytes) -> str:
    if b"_launch.py" in arguments or not arguments:
        return "starting"
    if str(PLUGIN).encode() in arguments:
        return "plugin"
    return "program" if b"_runner.py" in arguments else "other"


def _left_of(processes: dict[int, Seen]) -> list[str]:
    """The children that still live two seconds after the engine's end (then they are ended)."""
    deadline = time.monotonic() + 2.0
    while True:
        alive = [pid for pid, seen in processes.items() if _is_same(pid, seen)]
        if not alive or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    for pid in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return [f"{processes[pid].name} ({pid})" for pid in alive]


def _is_same(pid: int, seen: Seen) -> bool:
    try:
        return seen.name != "starting" and Path(f"/proc/{pid}/cmdline").read_bytes() == seen.arguments
    except OSError:
        return False


# Starting


def _start_command(project: Project, arguments: list[str], log: Path) -> int:
    environment = {**project.environment, "PYTHONPATH": str(ROOT / "src")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pulumi_embedded", *arguments], env=environment, stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=die_with(os.getpid()),
        )  # fmt: skip
    process.returncode = 0  # `_watch` reaps it
    return process.pid


def _fork(project: Project, arguments: list[str], log: Path, kill: Kill | None) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    ends_with_us = die_with(os.getpid())
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        ends_with_us()
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(project.environment)
        os.chdir(project.program)
        sys.addaudithook(_Writes(project, kill))
        from pulumi_embedded._cli import main

        code = main(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


class _Writes:
    """Sees every file that this process puts in its place: keeps it under a second name, and ends the process there."""

    def __init__(self, project: Project, kill: Kill | None) -> None:
        self._state, self._versions = str(project.state), project.versions
        self._kill = kill
        self._count = 0
        self._numbers = itertools.count(len(os.listdir(project.versions)))  # noqa: PTH208
        self._due = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._due and event == "open":
            os.kill(os.getpid(), signal.SIGKILL)  # the file is in its place, its folder is about to be written out
        if event != "os.rename" or not str(arguments[1]).startswith(self._state):
            return
        with contextlib.suppress(FileNotFoundError):
            _second_name(str(arguments[0]), self._versions / str(next(self._numbers)))
        if self._kill is None:
            return
        self._count += 1
        if self._count == self._kill.number:
            if not self._kill.after:
                os.kill(os.getpid(), signal.SIGKILL)
            self._due = True


def _second_name(path: str, name: Path) -> None:
    try:
        os.link(path, name)
    except OSError:
        shutil.copyfile(path, name)  # a file system without hard links
