"""The ground of the benchmark of baking: random models, a real registry, and processes that are watched while they run.

Everything that is timed runs as a process of its own, from its start to its end, the start of the interpreter
included.
"""

import contextlib
import json
import os
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / ".local" / "tools"
MIB = 1 << 20
GIB = 1 << 30
_BLOCK = 32 * MIB
_CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8}


class GroundError(Exception):
    """The benchmark cannot run here; the message says why."""


def say(text: str) -> None:
    """One line of progress."""
    print(f"bake: {text}", file=sys.stderr, flush=True)


def write_model(folder: Path, total: int, *, shards: int = 8) -> Path:
    """A model of random bytes: `shards` equal safetensors files with their index, config and tokenizer.

    A block of 32 MiB from the system's generator is repeated, each time begun elsewhere: that is random for every
    packer (gzip looks 32 KiB back), and made at the speed of memory.
    """
    folder.mkdir(parents=True)
    size = total // shards
    block = os.urandom(min(_BLOCK, max(size, 4096)))
    names = {}
    for number in range(1, shards + 1):
        names[f"layer.{number}"] = f"model-{number:05}-of-{shards:05}.safetensors"
        write_shard(folder / names[f"layer.{number}"], number, size, block)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    (folder / "config.json").write_text(json.dumps(_CONFIG))
    (folder / "tokenizer.json").write_text('{"version":"1.0"}')
    return folder


def write_shard(path: Path, number: int, size: int, block: bytes) -> None:
    """One safetensors file with one tensor of `size` bytes."""
    entry = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    header = json.dumps({f"layer.{number}": entry}).encode()
    view = memoryview(block)
    with path.open("wb", buffering=0) as stream:
        stream.write(struct.pack("<Q", len(header)) + header)
        start, left = number * 1009, size
        while left:
            piece = view[start % (len(block) // 2) :][:left]
            left -= stream.write(piece)
            start += 7919


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def available() -> int:
    """Bytes of memory that can still be had."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def place(memory: Path, disk: Path, size: int) -> Path:
    """Where `size` bytes go: into memory while a reserve is left for everything else on this machine, else to disk."""
    return memory if min(shutil.disk_usage(memory).free, available()) > size + GIB else disk


def built(name: str) -> Path:
    """A tool of tools/, built when it is not there."""
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "build_tools.py", name], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise GroundError(f"{name} cannot be built: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    return TOOLS / name


@dataclass(frozen=True)
class Registry:
    """A running distribution registry."""

    host: str
    storage: Path
    pid: int

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def blob(self, digest: str) -> Path:
        """Where the registry keeps a blob."""
        name = digest.removeprefix("sha256:")
        return self.storage / "docker/registry/v2/blobs/sha256" / name[:2] / name / "data"


@contextlib.contextmanager
def running_registry(parent: Path) -> Iterator[Registry]:
    """A registry on a free port of loopback; its storage is a new folder below `parent`, and goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="registry-", dir=parent))
    config, log = folder / "config.yml", folder / "log"
    config.write_text(
        "version: 0.1\nlog: {level: info, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        'http: {addr: "127.0.0.1:0"}\n'
    )
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [built("registry"), "serve", config],
            stdout=stream, stderr=subprocess.STDOUT, env={"OTEL_TRACES_EXPORTER": "none"},
        )  # fmt: skip
    try:
        yield Registry(_address(process, log), folder / "data", process.pid)
    finally:
        end(process)
        shutil.rmtree(folder, ignore_errors=True)


def _address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    for _ in range(600):
        text = log.read_text(errors="replace")
        if match := re.search(r"listening on (127\.0\.0\.1:\d+)", text):
            return match[1]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise GroundError(f"the registry does not start: {log.read_text(errors='replace')[-300:]}")


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process, by force after a while."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Watched:
    """What a process cost."""

    seconds: float
    peak_rss: int
    """Bytes that it and its children held at once."""
    written: int
    """Bytes that it made the kernel write to a disk (write_bytes of /proc/<pid>/io); tmpfs is none."""
    cpu: float
    """Seconds of CPU that it and its children used."""


def watched(command: Sequence[str | Path], *, cwd: Path, env: Mapping[str, str], limit_s: float = 3600) -> Watched:
    """Run a command to its end; a failure raises with what it said."""
    with tempfile.TemporaryFile() as output:
        started, used = time.monotonic(), _children_cpu()
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        watch = _Watch(process.pid)
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise GroundError(f"{Path(str(command[0])).name} took more than {limit_s:.0f} s") from None
        finally:
            seconds = time.monotonic() - started
            if process.poll() is None:
                end(process)
            watch.stop()
        if process.returncode:
            output.seek(max(output.seek(0, os.SEEK_END) - 1200, 0))
            said = " / ".join(output.read().decode(errors="replace").strip().splitlines()[-4:])
            name = Path(str(command[0])).name
            raise GroundError(f"{name} ended with {process.returncode}: {said[-600:]}")
        return Watched(seconds, watch.peak, watch.written, _children_cpu() - used)


def _children_cpu() -> float:
    """Seconds of CPU of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class _Watch:
    """Looks at a process every 20 ms until it is told to stop."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self.peak = 0
        self.written = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.02):
            # The high-water mark of one process is exact; several are added up as they are at this moment.
            tree = family(self._pid)
            key = "VmHWM" if len(tree) == 1 else "VmRSS"
            self.peak = max(self.peak, sum(_kib(pid, key) for pid in tree) * 1024)
            self.written = max(self.written, sum(_written(pid) for pid in tree))


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(OSError, ValueError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _kib(pid: int, key: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1])
    return 0


def _written(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            if line.startswith("write_bytes:"):
                return int(line.split()[1])
    return 0


class Bakery:
    """The project's own command, as a user runs it, in a home of its own on a disk."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self._runs = 0

    def environment(self) -> dict[str, str]:
        """No login, no cache and no setting of this machine's user; temporary files where they are seen."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {
            **kept,
            "HOME": str(self.home),
            "TMPDIR": str(self.home),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(ROOT / "src"),
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        }

    def command(self, *arguments: str | Path) -> list[str]:
        """The command line."""
        return [sys.executable, str(ROOT / "scripts" / "bake_weights.py"), *(str(argument) for argument in arguments)]

    def bake(
        self, model: str | Path, to: str, *options: str | Path, memory: Path | None = None, hub: str | None = None
    ) -> Watched:
        """Bake; nothing is remembered from earlier bakes unless `memory` names the folder that keeps it."""
        self._runs += 1
        kept = memory or self.home / f"run-{self._runs}"
        kept.mkdir(exist_ok=True)
        records = ("--lock", kept / "weights.lock", "--cache", kept / "digests.json")
        command = self.command("--model", model, "--to", to, *records, *options)
        return watched(command, cwd=self.home, env={**self.environment(), **({"HF_ENDPOINT": hub} if hub else {})})
