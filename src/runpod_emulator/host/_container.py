"""One running worker: its start, its output, its end.

Whatever way it ends, `wait` returns only when no process of it is left. With namespaces the kernel sees to that (the
first process of a pid namespace takes all others with it); in both ways a supervisor stands between the emulator and
the worker, which outlives neither of them by much (see `_supervisor`). /proc is looked at before the end is reported.
"""

import asyncio
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runpod_emulator.host import _processes as processes
from runpod_emulator.host import _supervisor
from runpod_emulator.host._errors import StartFailed
from runpod_emulator.host._log import WorkerLogFile
from runpod_emulator.host._output import Pump
from runpod_emulator.host._processes import Process
from runpod_emulator.host._record import Record

log = logging.getLogger("runpod_emulator.host")

_START_S = 30.0
_EXECUTED_S = 5.0
_CLEAN_S = 5.0
_PAUSE_S = 0.001
_DRAIN_S = 1.0
_KILL_S = 2.0


@dataclass(frozen=True)
class Timings:
    """Where the time to a running process went; steps overlap when layers are many."""

    pull_s: float
    verify_s: float
    unpack_s: float
    start_s: float


@dataclass(frozen=True)
class Launch:
    """What to execute below the supervisor."""

    worker_id: str
    image: str
    command: Callable[[int, int], Sequence[str]]
    """Gets two descriptors: one for bubblewrap's reports, and one to read `private` from."""
    working_dir: Path
    """On the host."""
    private: bytes
    """What must not stand on the command line: the environment."""
    scratch: Path
    log: WorkerLogFile
    namespaces: bool


class LocalContainer:
    """Implements ports.Container. Made by `start`, which owns it until the program runs."""

    image_digest: str = ""
    image_ready_at: float | None = None
    timings: Timings = Timings(0, 0, 0, 0)

    def __init__(self, launch: Launch) -> None:
        self.worker_id = launch.worker_id
        self.pid = 0
        self._launch = launch
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[int] = self._loop.create_future()
        self._outer_ended = asyncio.Event()
        self._news = asyncio.Event()
        self._messages: dict[str, object] = {}
        self._complaint = ""
        self._started = False
        self._terminated = False
        self._program: int | None = None
        self._program_fd: int | None = None
        self._init_fd: int | None = None
        self._namespace: int | None = None
        self._marker = secrets.token_hex(16)
        self._spawn()

    def on_end(self, call: Callable[[], None]) -> None:
        """Call once nothing of the worker is left, before `wait` returns."""
        self._exit.add_done_callback(lambda _: call())

    async def wait(self) -> int:
        """The program's exit code, negative for a signal."""
        return await asyncio.shield(self._exit)

    async def stop(self, grace_s: float) -> None:
        """SIGTERM to the image's program, and after `grace_s` SIGKILL to all. May be called more than once."""
        if not self._exit.done():
            if not self._terminated and self._program_fd is not None:
                self._terminated = True
                self._say("stopping: SIGTERM sent")
                processes.send(self._program_fd, signal.SIGTERM)
            await asyncio.wait({self._exit}, timeout=max(0.0, grace_s))
        if not self._exit.done():
            if grace_s > 0:
                self._say(f"not ended {grace_s:g} s after SIGTERM: SIGKILL")
            self._kill()
            await asyncio.wait({self._exit}, timeout=_KILL_S)
            if not self._outer_ended.is_set():
                self._outer.kill()
        await asyncio.shield(self._exit)

    def _spawn(self) -> None:
        launch = self._launch
        env = {processes.MARKER_VARIABLE: self._marker}
        # Before the process: whatever happens now, the next emulator knows what to look for.
        self._record = Record(launch.scratch, launch.worker_id, processes.boot_id(), self._marker)
        self._record.write()
        out_read, out_write = os.pipe()
        status_read, status_write = os.pipe()
        # A pipe of its own for bubblewrap: it writes its lines in pieces.
        report_read, report_write = os.pipe()
        private = os.memfd_create("arguments")
        handed = (status_write, report_write, private) if launch.namespaces else (status_write, private)
        try:
            os.write(private, launch.private)  # a file in memory takes all at once
            os.lseek(private, 0, os.SEEK_SET)
            # From the event loop's thread: the kernel's "die with your parent" means the thread that forked.
            self._outer = subprocess.Popen(
                self._command(status_write, report_write, private),
                env=env, stdin=subprocess.DEVNULL, stdout=out_write, stderr=out_write,
                pass_fds=handed, start_new_session=True, cwd="/",
            )  # fmt: skip
        except (OSError, ValueError) as error:
            for descriptor in (out_read, status_read, report_read):
                os.close(descriptor)
            self._record.remove()
            raise StartFailed(launch.image, f"its command cannot be executed: {error}") from error
        finally:
            for descriptor in (out_write, status_write, report_write, private):
                os.close(descriptor)
        self._pump = Pump(out_read, self._take)
        self._status = Pump(status_read, self._hear)
        self._reports = Pump(report_read, self._hear)
        outer_fd = os.pidfd_open(self._outer.pid)
        self._loop.add_reader(outer_fd, self._outer_gone, outer_fd)
        self._watcher = self._loop.create_task(self._watch(), name=f"watch {self.worker_id}")

    def _command(self, status_fd: int, report_fd: int, private_fd: int) -> list[str]:
        launch = self._launch
        environment_fd = -1 if launch.namespaces else private_fd
        supervisor = [sys.executable, "-I", "-S", str(Path(_supervisor.__file__))]
        place = [str(status_fd), str(environment_fd), str(os.getpid()), str(launch.working_dir)]
        return [*supervisor, *place, "--", *launch.command(report_fd, private_fd)]

    async def started(self) -> None:
        """Return once the image's program was executed. Raises StartFailed, and nothing is left then."""
        if (outer := processes.state(self._outer.pid)) is not None:
            self._record.add(outer.process)
        try:
            async with asyncio.timeout(_START_S):
                if await self._told("supervised") and self._launch.namespaces:
                    await self._find_program()
        except TimeoutError as error:
            await self.stop(0)
            raise StartFailed(self._launch.image, f"it did not come up within {_START_S:.0f} s") from error
        if self._launch.namespaces:
            failed = self._outer_ended.is_set() and not await self._told("exit-code")
        else:
            failed = "supervised" not in self._messages
        if failed:
            await self.wait()
            why = str(self._messages.get("error") or self._complaint or "it ended before its program ran")
            raise StartFailed(self._launch.image, why)
        if not self._launch.namespaces:
            self._adopt(self._number("supervised"))
        self._started = True
        self.pid = self._program or self._outer.pid
        self._say(f"started, pid {self.pid}")

    async def _told(self, key: str) -> bool:
        """Wait for a word of the supervisor or of bubblewrap; False when both have ended without it."""
        while key not in self._messages and not (self._status.is_ended and self._reports.is_ended):
            if "error" in self._messages:
                return False
            self._news.clear()
            await self._news.wait()
        return key in self._messages

    async def _find_program(self) -> None:
        """bubblewrap tells the first process of the namespace, its reaper; the program is the second one."""
        if not await self._told("child-pid"):
            await self._outer_ended.wait()
            return
        init = self._number("child-pid")
        self._namespace = self._number("pid-namespace")
        self._init_fd = processes.open_pidfd(init)
        if (first := processes.state(init)) is not None:
            self._record.add(first.process)
        bwrap = processes.program_file(self._number("supervised"))
        patience = time.monotonic() + _EXECUTED_S
        while not self._outer_ended.is_set():
            if self._program is None:
                children = processes.children(init)
                self._adopt(next((pid for pid in children if processes.id_inside(pid) == 2), None))
            if self._program is not None:
                executing = processes.program_file(self._program)
                # A program that may not be looked at (an unreadable file) counts as executed after a while.
                if executing not in (None, bwrap) or time.monotonic() > patience:
                    return
            await asyncio.sleep(_PAUSE_S)

    def _adopt(self, pid: int | None) -> None:
        found = processes.state(pid) if pid is not None else None
        if found is not None:
            self._program = found.process.pid
            self._program_fd = processes.open_pidfd(found.process.pid)
            self._record.add(found.process)

    def _number(self, key: str) -> int:
        value = self._messages.get(key)
        return value if isinstance(value, int) else 0

    def _take(self, lines: Sequence[str]) -> None:
        if not lines:
            return
        if not self._started:
            self._complaint = next(
                (line[7:] for line in reversed(lines) if line.startswith("bwrap: ")), self._complaint
            )
        self._write("container", lines)

    def _hear(self, lines: Sequence[str]) -> None:
        for line in lines:
            # The supervisor and bubblewrap write one JSON object a line; the worker cannot write here.
            self._messages |= json.loads(line)
        self._news.set()

    def _say(self, line: str) -> None:
        self._write("system", [line])

    def _write(self, source: str, lines: Sequence[str]) -> None:
        try:
            self._launch.log.append_all(source, lines)
        except OSError as error:
            log.error("log of worker %s: %d lines lost: %s", self.worker_id, len(lines), error)

    def _outer_gone(self, outer_fd: int) -> None:
        self._loop.remove_reader(outer_fd)
        os.close(outer_fd)
        self._outer.wait()
        self._outer_ended.set()

    def _kill(self) -> None:
        if self._init_fd is not None:
            processes.send(self._init_fd, signal.SIGKILL)  # takes its whole namespace with it
        else:
            self._outer.terminate()  # the supervisor kills all it has and waits for them

    async def _watch(self) -> None:
        """Until nothing is left; then, and only then, `wait` and `stop` return."""
        await self._outer_ended.wait()
        await self._clean()
        await asyncio.gather(*(pump.ended(_DRAIN_S) for pump in (self._pump, self._status, self._reports)))
        code = self._code()
        for descriptor in (self._program_fd, self._init_fd):
            if descriptor is not None:
                os.close(descriptor)
        self._program_fd = self._init_fd = None
        self._record.remove()
        if self._started:
            self._say(f"exited with code {code}" if code >= 0 else f"killed by signal {-code}")
        self._exit.set_result(code)

    async def _clean(self) -> None:
        """Usually there is nothing to do. What somebody's kill -9 of the wrong process left is ended here."""
        deadline = time.monotonic() + _CLEAN_S
        while left := self._left():
            for process in sorted(left, key=lambda process: process.started):  # parents first
                processes.kill(process)
            if time.monotonic() > deadline:
                log.error("worker %s: %d processes cannot be killed: %s", self.worker_id, len(left), left)
                return
            await asyncio.sleep(_PAUSE_S)

    def _left(self) -> set[Process]:
        if self._namespace:
            return set(processes.in_pid_namespace(self._namespace))
        # Without namespaces; or the supervisor was killed before bubblewrap had set up any.
        states = processes.all_states()
        marked = {each.process for each in states if processes.has_marker(each.process.pid, self._marker)}
        # The program leads a session of its own, and it ended just now, so the id is not used again yet.
        session = {each.process for each in states if self._program and each.session == self._program}
        below = processes.descendants(states, [process.pid for process in marked | session])
        return marked | session | below

    def _code(self) -> int:
        if self._launch.namespaces and "exit-code" in self._messages:
            code = self._number("exit-code")
            # bubblewrap says 128 + n for signal n, as shells do. The kernel knows which of the two it was, from 6.15
            # on and if the program lived long enough to be looked at; else it is taken for a signal.
            if code > 128:
                status = processes.wait_status(self._program_fd) if self._program_fd is not None else None
                return os.waitstatus_to_exitcode(status) if status is not None else 128 - code
            return code
        if "status" in self._messages:
            return os.waitstatus_to_exitcode(self._number("status"))
        return self._outer.returncode
