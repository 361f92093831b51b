"""The stack's lock: one file per holder, the CLI's protocol, so both engines keep out of each other's way.

A lock whose owner was a process of this host that no longer lives is broken at once, and said so: it can only be the
left-over of a kill. A lock of another host is never broken but by `cancel`.
"""

import getpass
import json
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pulumi_embedded._errors import BackendError, LockedError
from pulumi_embedded._files import write_atomically


@dataclass(frozen=True)
class Lock:
    """Somebody's lock."""

    path: Path
    pid: int
    username: str
    hostname: str
    timestamp: str

    @property
    def owner_is_dead(self) -> bool:
        """Whether the owner was on this host and is gone. False when that cannot be known."""
        if self.hostname != socket.gethostname() or self.pid <= 0:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return _started_after(self.pid, self.timestamp)

    def describe(self) -> str:
        """One line: file, owner, process, time."""
        return f"{self.path}: created by {self.username}@{self.hostname} (pid {self.pid}) at {self.timestamp}"


def _started_after(pid: int, timestamp: str) -> bool:
    """Whether the process with that number is younger than the lock (numbers are used again)."""
    try:
        started = Path(f"/proc/{pid}").stat().st_mtime
        locked = datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()
    except (OSError, ValueError):
        return False
    return started > locked + 5


def locks_in(folder: Path) -> list[Lock]:
    """All locks in the folder."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            data = json.loads(path.read_bytes())
            found.append(Lock(path, int(data["pid"]), data["username"], data["hostname"], data["timestamp"]))
        except FileNotFoundError:
            continue  # released between the listing and the reading
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BackendError(f"the lock {path} cannot be read ({error}); remove it with `cancel`") from error
    return found


def _refuse_if_locked(folder: Path, own: Path, notice: Callable[[str], None]) -> None:
    others = [lock for lock in locks_in(folder) if lock.path != own]
    for lock in [lock for lock in others if lock.owner_is_dead]:
        lock.path.unlink(missing_ok=True)
        others.remove(lock)
        notice(f"removed the lock of a process that is gone: {lock.describe()}")
    if others:
        hint = "wait for the other process to end, or remove the lock with `cancel` if you are sure that it has"
        raise LockedError([lock.describe() for lock in others], hint)


@contextmanager
def stack_lock(folder: Path, notice: Callable[[str], None]) -> Iterator[None]:
    """Hold the stack; LockedError names who else does. `notice` gets a line about each broken left-over."""
    own = folder / f"{uuid.uuid4()}.json"
    _refuse_if_locked(folder, own, notice)
    content = {
        "pid": os.getpid(),
        "username": _user(),
        "hostname": socket.gethostname(),
        "timestamp": datetime.now().astimezone().isoformat(),
    }
    write_atomically(own, json.dumps(content).encode())
    try:
        _refuse_if_locked(folder, own, notice)
        yield
    finally:
        own.unlink(missing_ok=True)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())


def break_locks(folder: Path) -> list[str]:
    """Remove every lock (`cancel`); returns a line about each."""
    lines = []
    for path in sorted(folder.glob("*.json")):
        path.unlink(missing_ok=True)
        lines.append(str(path))
    return lines
