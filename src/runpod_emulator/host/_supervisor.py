"""Runs one program and lets nothing of it survive. A script of its own, standard library only.

    python -I -S _supervisor.py STATUS_FD ENVIRONMENT_FD PARENT_PID DIRECTORY -- PROGRAM [ARGUMENT…]

The supervisor is the subreaper of everything the program starts: whatever loses its parent becomes its child. It
ends them all when the program ends, when it gets SIGTERM, and when its own parent (the emulator) dies: the status pipe
then has no reader any more. It writes JSON lines to STATUS_FD: {"supervised": n} once the program runs, or
{"error": …}; and {"status": n} as waitpid gives it. If the supervisor is killed, the kernel kills the program.

The program is bubblewrap, or the worker itself where there are no namespaces. bubblewrap dies with its parent only
once its set-up is done, some 30 ms after its start; until then it is this process that sees to it. ENVIRONMENT_FD is -1
for bubblewrap, which reads the worker's environment itself; other descriptors that were handed over go on to it.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
from pathlib import Path

MARKER = b"RUNPOD_EMULATOR_WORKER"
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    status_fd, environment_fd, parent, directory = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    argv = sys.argv[6:]
    environment = {MARKER: os.environb[MARKER]}  # nothing else of the supervisor's own (see `_processes`)
    if environment_fd >= 0:
        with os.fdopen(environment_fd, "rb") as file:
            variables = [entry.partition(b"=") for entry in file.read().split(b"\0") if entry]
        environment |= {name: value for name, _, value in variables if name != MARKER}
    os.set_inheritable(status_fd, False)
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # Signals become readable bytes, so that one poll waits for everything.
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    signal.signal(signal.SIGCHLD, lambda *_: None)

    program = start(libc, argv, environment, directory, status_fd)
    if program is None:
        return 127
    say(status_fd, {"supervised": program})
    poll = select.poll()
    poll.register(wake_read, select.POLLIN)
    poll.register(status_fd, 0)  # POLLERR: the emulator has closed its end, which only its death does early
    status = None
    while status is None:
        ready = dict(poll.poll())
        if wake_read in ready:
            os.read(wake_read, 4096)
        if asked or status_fd in ready or os.getppid() != parent:
            kill_all()
        status = reap(program)
    while kill_all():
        reap(None)
    say(status_fd, {"status": status})
    return 0


def start(
    libc: ctypes.CDLL, argv: list[str], environment: dict[bytes, bytes], directory: str, status_fd: int
) -> int | None:
    """Fork and execute; None when the program could not be executed, and the emulator knows why."""
    failed_read, failed_write = os.pipe()
    supervisor = os.getpid()
    program = os.fork()
    if program == 0:
        try:
            os.setsid()
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != supervisor:
                os._exit(127)
            for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            os.chdir(directory)
            os.execvpe(argv[0], argv, environment)  # noqa: S606 - the image's own program is what this is for
        except OSError as error:
            os.write(failed_write, f"{argv[0]}: {error.strerror}".encode())
        finally:
            os._exit(127)
    os.close(failed_write)
    with os.fdopen(failed_read, "rb") as pipe:
        why = pipe.read()
    if not why:
        return program
    os.waitpid(program, 0)
    say(status_fd, {"error": why.decode(errors="replace")})
    return None


def reap(program: int | None) -> int | None:
    """Collect every zombie; the wait status of `program` if it was among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG if program is not None else 0)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == program:
            found = status
        if program is None:
            return None


def kill_all() -> bool:
    """SIGKILL to all descendants; whether there was one. Repeat until there is none: they may fork meanwhile."""
    me = os.getpid()
    parents = {}
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):
                text = (process / "stat").read_text(encoding="utf-8", errors="replace")
                parents[int(process.name)] = int(text[text.rindex(")") + 2 :].split()[1])
    mine = {me}
    while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
        mine |= more
    mine.discard(me)
    for pid in mine:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(mine)


def say(status_fd: int, message: dict[str, object]) -> None:
    with contextlib.suppress(BrokenPipeError):
        os.write(status_fd, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main())
