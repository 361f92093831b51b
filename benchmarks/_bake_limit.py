"""The least time that this machine can need for a bake, from rates measured beside it.

A pushed byte must be hashed three times: for its file (the digest that `weights.lock` and every check go by), for its
layer (the two never share a state: the tar header comes first), and by the registry. The three passes can be spread
over all cores. And the byte must go from the source file over a loopback connection into the registry's file:

    seconds = 3 * size / (sha256 rate of all cores together) + size / (loopback copy rate) [+ size / (disk write rate)]

- sha256 rate: one process per core hashes a buffer of 8 MiB, all at the same time; their rates are added up. Memory
  reads, which a real pass needs too, are left out: the limit is a little too low.
- loopback copy rate: one process sends a file of tmpfs with sendfile, another receives it and writes it to tmpfs; on
  one connection and on one per core, whichever is faster.
- CPU: the same formula with the CPU time of these helpers, by core. Other work on the machine stretches seconds, and
  CPU time next to nothing.
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
    sha256_cpu: float
    """Per second of CPU."""
    copy_cpu: float

    def limit_cpu(self, size: int) -> float:
        """Seconds of CPU that `size` bytes take at least."""
        return PASSES * size / self.sha256_cpu + size / self.copy_cpu

    def limit(self, size: int, disk: float | None = None) -> float:
        """Seconds that `size` bytes take at least; with the disk's write rate where they end on one."""
        return PASSES * size / self.sha256 + size / self.copy + (size / disk if disk else 0.0)


def measure(source: Path, folder: Path, sample: int) -> Rates:
    """Measure the rates with `sample` bytes; `source` is a file to send, `folder` where copies go. Both on tmpfs."""
    cores = len(os.sched_getaffinity(0))
    copies = [copy_rate(source, folder, flows, sample) for flows in sorted({1, cores})]
    hashed = sha256_rate(cores, sample)
    return Rates(hashed[0], max(copy[0] for copy in copies), hashed[1], max(copy[1] for copy in copies))


def sha256_rate(cores: int, sample: int) -> tuple[float, float]:
    """Rates of one hashing process per core, all at once, added up; and the rate by CPU time."""
    share = max(sample // cores, 2 * _HASHED)
    helpers = [_Helper("sha256", str(share)) for _ in range(cores)]
    times = _together(helpers)
    rate = sum(share / (ended - started) for started, ended, _ in times)
    return rate, cores * share / sum(cpu for _, _, cpu in times)


def copy_rate(source: Path, folder: Path, flows: int, sample: int) -> tuple[float, float]:
    """File to file over loopback, on so many connections together; and the rate by CPU time."""
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
    seconds = max(ended for _, ended, _ in times) - min(started for started, _, _ in times)
    return flows * share / seconds, flows * share / sum(cpu for _, _, cpu in times)


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


_Times = tuple[float, float, float]
"""Begin, end and CPU time of a helper's work."""


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

    def times(self) -> _Times:
        said, _ = self._process.communicate()
        started, ended, cpu = map(float, said.split())
        return started, ended, cpu


def _together(helpers: list[_Helper]) -> list[_Times]:
    for step in (_Helper.ready, _Helper.go):
        for helper in helpers:
            step(helper)
    return [helper.times() for helper in helpers]


def _work(kind: str, arguments: list[str]) -> _Times:
    """What a helper process does; monotonic clocks of one machine agree."""
    if kind == "sha256":
        buffer, state = os.urandom(_HASHED), hashlib.sha256()
        _wait()
        started, used = time.monotonic(), time.process_time()
        for _ in range(int(arguments[0]) // _HASHED):
            state.update(buffer)
        return started, time.monotonic(), time.process_time() - used
    if kind == "send":
        port, source, size = arguments
        with Path(source).open("rb") as stream, socket.create_connection(("127.0.0.1", int(port))) as connection:
            _wait()
            started, used = time.monotonic(), time.process_time()
            connection.sendfile(stream, 0, int(size))
        return started, time.monotonic(), time.process_time() - used
    with socket.socket(fileno=int(arguments[0])) as server, Path(arguments[1]).open("wb", buffering=0) as target:
        connection, _ = server.accept()
        received = memoryview(bytearray(MIB))
        _wait()
        started, used = time.monotonic(), time.process_time()
        while got := connection.recv_into(received):
            target.write(received[:got])
        connection.close()
    return started, time.monotonic(), time.process_time() - used


def _wait() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


if __name__ == "__main__":
    print(*_work(sys.argv[1], sys.argv[2:]))
