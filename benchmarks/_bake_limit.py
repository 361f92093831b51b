"""The least time that this machine can need for a bake, from rates measured beside it.

A pushed byte must be hashed three times: for its file (the digest that `weights.lock` and every check go by), for its
layer (the two never share a state: the tar header comes first), and by the registry. The three passes can be spread
over all cores. And the byte must go from the source file over a loopback connection into the registry's file:

    seconds = 3 * size / (sha256 rate of all cores together) + size / (loopback copy rate) [+ size / (disk write rate)]

- sha256 rate: one process per core hashes a buffer of 8 MiB, all at the same time; their rates are added up. Memory
  reads, which a real pass needs too, are left out: the limit is a little too low.
- loopback copy rate: one process sends a file of tmpfs with sendfile, another receives it and writes it to tmpfs; on
  one connection and on one per core, whichever is faster.
- disk write rate, for the run beside it: a file written in pieces of 4 MiB, and fsync.
"""

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks._bake_ground import MIB, ROOT

PASSES = 3
_PIECE = 4 * MIB
_HASHED = 8 * MIB


@dataclass(frozen=True)
class Rates:
    """Bytes per second."""

    sha256: float
    """All cores together."""
    copy: float

    def limit(self, size: int, disk: float | None = None) -> float:
        """Seconds that `size` bytes take at least; with the disk's write rate where they end on one."""
        return PASSES * size / self.sha256 + size / self.copy + (size / disk if disk else 0.0)


def measure(source: Path, folder: Path, sample: int) -> Rates:
    """Measure the rates with `sample` bytes; `source` is a file to send, `folder` where copies go. Both on tmpfs."""
    cores = len(os.sched_getaffinity(0))
    copies = [copy_rate(source, folder, flows, sample) for flows in sorted({1, cores})]
    return Rates(sha256_rate(cores, sample), max(copies))


def sha256_rate(cores: int, sample: int) -> float:
    """Rates of one hashing process per core, all at once, added up."""
    share = max(sample // cores, 2 * _HASHED)
    helpers = [_Helper("sha256", str(share)) for _ in range(cores)]
    return sum(share / (ended - started) for started, ended in _together(helpers))


def copy_rate(source: Path, folder: Path, flows: int, sample: int) -> float:
    """File to file over loopback, on so many connections together."""
    share = min(sample // flows, source.stat().st_size)
    targets = [folder / f"copy-{number}" for number in range(flows)]
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in targets]
        for target in targets:
            stack.callback(target.unlink, missing_ok=True)
        helpers = [
            _Helper("receive", str(server.fileno()), str(target), keep=server.fileno())
            for server, target in zip(servers, targets, strict=True)
        ]
        helpers += [_Helper("send", str(server.getsockname()[1]), str(source), str(share)) for server in servers]
        times = _together(helpers)
    return flows * share / (max(ended for _, ended in times) - min(started for started, _ in times))


def disk_rate(folder: Path, sample: int) -> float:
    """Write a file and wait until the disk has it."""
    piece, path, pieces = os.urandom(_PIECE), folder / "disk-rate", max(sample // _PIECE, 1)
    started = time.monotonic()
    try:
        with path.open("wb", buffering=0) as stream:
            for _ in range(pieces):
                stream.write(piece)
            os.fsync(stream.fileno())
        return pieces * _PIECE / (time.monotonic() - started)
    finally:
        path.unlink(missing_ok=True)


class _Helper:
    """A process that gets ready, waits for the word, works, and says from when to when."""

    def __init__(self, *arguments: str, keep: int | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._bake_limit", *arguments],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            pass_fds=() if keep is None else (keep,),
        )  # fmt: skip

    def ready(self) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError("a helper process of the benchmark ended before it began")

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def times(self) -> tuple[float, float]:
        said, _ = self._process.communicate()
        started, ended = said.split()
        return float(started), float(ended)


def _together(helpers: list[_Helper]) -> list[tuple[float, float]]:
    for step in (_Helper.ready, _Helper.go):
        for helper in helpers:
            step(helper)
    return [helper.times() for helper in helpers]


def _work(kind: str, arguments: list[str]) -> tuple[float, float]:
    """What a helper process does; monotonic clocks of one machine agree."""
    if kind == "sha256":
        buffer, state = os.urandom(_HASHED), hashlib.sha256()
        _wait()
        started = time.monotonic()
        for _ in range(int(arguments[0]) // _HASHED):
            state.update(buffer)
        return started, time.monotonic()
    if kind == "send":
        port, source, size = arguments
        with Path(source).open("rb") as stream, socket.create_connection(("127.0.0.1", int(port))) as connection:
            _wait()
            started = time.monotonic()
            connection.sendfile(stream, 0, int(size))
        return started, time.monotonic()
    with socket.socket(fileno=int(arguments[0])) as server, Path(arguments[1]).open("wb", buffering=0) as target:
        connection, _ = server.accept()
        received = memoryview(bytearray(MIB))
        _wait()
        started = time.monotonic()
        while got := connection.recv_into(received):
            target.write(received[:got])
        connection.close()
    return started, time.monotonic()


def _wait() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    print(*_work(sys.argv[1], sys.argv[2:]))
