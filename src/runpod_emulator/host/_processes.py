"""Processes as /proc shows them. A process is its id *and* its start time: ids are used again."""

import errno
import fcntl
import os
import signal
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
MARKER_VARIABLE = "RUNPOD_EMULATOR_WORKER"
"""A random value in the environment of each worker's outer process, and without namespaces of the worker itself: what
carries it is that worker, nothing else."""


@dataclass(frozen=True)
class Process:
    pid: int
    started: int
    """Clock ticks since boot (/proc/<pid>/stat, field 22)."""


@dataclass(frozen=True)
class State:
    process: Process
    parent: int
    session: int


def boot_id() -> str:
    """Start times are counted from a boot, so they mean something only together with it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def state(pid: int) -> State | None:
    """None when there is no such process, or only its zombie: that holds nothing any more."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before may hold blanks and brackets
    if fields[0] in ("Z", "X"):
        return None
    return State(Process(pid, int(fields[19])), int(fields[1]), int(fields[3]))


def is_alive(process: Process) -> bool:
    found = state(process.pid)
    return found is not None and found.process == process


def all_states() -> list[State]:
    pids = [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]
    return [found for pid in pids if (found := state(pid)) is not None]


def children(pid: int) -> list[int]:
    """Direct children of a process's main thread."""
    try:
        text = (_PROC / str(pid) / "task" / str(pid) / "children").read_text(encoding="ascii")
    except OSError:  # gone, or a kernel without this file
        return [each.process.pid for each in all_states() if each.parent == pid]
    return [int(child) for child in text.split()]


def has_marker(pid: int, marker: str) -> bool:
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False  # gone, or another user's: not ours
    return f"{MARKER_VARIABLE}={marker}".encode() in environment.split(b"\0")


def in_pid_namespace(inode: int) -> list[Process]:
    """All processes of the namespace; those of other users cannot be looked at and are not ours."""
    wanted = f"pid:[{inode}]"
    found = []
    for each in all_states():
        try:
            link = str((_PROC / str(each.process.pid) / "ns" / "pid").readlink())
        except OSError:
            continue
        if link == wanted:
            found.append(each.process)
    return found


def descendants(states: Iterable[State], roots: Iterable[int]) -> set[Process]:
    """Everything that `roots` started, directly or not, without themselves."""
    children: dict[int, list[State]] = {}
    for each in states:
        children.setdefault(each.parent, []).append(each)
    found: set[Process] = set()
    todo = list(roots)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child.process not in found:
                found.add(child.process)
                todo.append(child.process.pid)
    return found


def kill(process: Process) -> None:
    """SIGKILL to exactly this process: its id cannot pass to another one between the check and the signal."""
    descriptor = open_pidfd(process.pid)
    if descriptor is None:
        return
    try:
        if is_alive(process):
            send(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)


def open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    except OSError as error:
        if error.errno == errno.EINVAL:  # a thread, or a process that is being reaped
            return None
        raise


def send(pidfd: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return


def id_inside(pid: int) -> int | None:
    """The process's id in the innermost namespace it lives in."""
    try:
        text = (_PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    for line in text.splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return None


def program_file(pid: int) -> tuple[int, int] | None:
    """Device and inode of what a process executes."""
    try:
        found = (_PROC / str(pid) / "exe").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


_PIDFD_GET_INFO = (3 << 30) | (64 << 16) | (0xFF << 8) | 11
_PIDFD_INFO_EXIT = 1 << 3


def wait_status(pidfd: int) -> int | None:
    """How a process that is no child of ours ended, as waitpid would say it; None before Linux 6.15, which cannot."""
    buffer = bytearray(64)
    struct.pack_into("=Q", buffer, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, buffer)
    except OSError:
        return None
    (mask,) = struct.unpack_from("=Q", buffer, 0)
    (status,) = struct.unpack_from("=i", buffer, 60)
    return int(status) if mask & _PIDFD_INFO_EXIT else None
