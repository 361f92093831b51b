"""What a running worker leaves for the next emulator: <state>/workers/<id>/process.json.

Written before the process exists and removed when nothing of it is left. Ended on the strength of a record is what
carries the worker's random marker in its environment, what has a recorded id *and* its start time in the same boot of
the machine, and what descends from those. A process that merely got a recorded id later matches none of these.
"""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from runpod_emulator.host import _processes as processes
from runpod_emulator.host._errors import disk_errors
from runpod_emulator.host._processes import Process

NAME = "process.json"


class Record:
    def __init__(self, folder: Path, worker_id: str, boot: str, marker: str, known: Sequence[Process] = ()) -> None:
        self._path = folder / NAME
        self.worker_id, self.boot, self.marker = worker_id, boot, marker
        self.known = list(known)

    def write(self) -> None:
        document = {
            "worker": self.worker_id,
            "boot": self.boot,
            "marker": self.marker,
            "processes": [[process.pid, process.started] for process in self.known],
        }
        with disk_errors(self._path):
            fresh = self._path.with_suffix(".new")
            fresh.write_text(json.dumps(document), encoding="ascii")
            fresh.chmod(0o600)
            fresh.replace(self._path)

    def add(self, process: Process) -> None:
        self.known.append(process)
        self.write()

    def remove(self) -> None:
        with contextlib.suppress(OSError):  # at worst the next start finds nobody alive under it
            self._path.unlink()

    def alive(self) -> set[Process]:
        """What is left of the worker, and certainly of this worker."""
        if self.boot != processes.boot_id():
            return set()
        states = processes.all_states()
        recorded = set(self.known)
        certain = {
            each.process
            for each in states
            if each.process in recorded or processes.has_marker(each.process.pid, self.marker)
        }
        return certain | processes.descendants(states, [process.pid for process in certain])


def records(workers: Path) -> list[Record]:
    """All records that can be read; a damaged one is of no use to anybody and is removed."""
    found = []
    for path in sorted(workers.glob(f"*/{NAME}")):
        try:
            document = json.loads(path.read_bytes())
            known = [Process(int(pid), int(started)) for pid, started in document["processes"]]
            worker, boot, marker = str(document["worker"]), str(document["boot"]), str(document["marker"])
            if len(marker) < 16:
                raise ValueError("no marker")
        except (OSError, ValueError, KeyError, TypeError):
            with contextlib.suppress(OSError):
                path.unlink()
            continue
        found.append(Record(path.parent, worker, boot, marker, known))
    return found
