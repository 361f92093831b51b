"""A copy of this project in a folder of its own, on a port of its own, with the environments of the clone."""

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = (".venv", ".local/envs", ".local/worker-deps", ".local/models", ".local/tools")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Clone:
    """A project folder with its own emulator port."""

    root: Path
    port: int

    def run(
        self, *arguments: str, check: bool = True, timeout: float = 600, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `vllm-runpod` here, without a pulumi CLI unless PATH says otherwise."""
        done = subprocess.run(
            [str(ROOT / ".venv/bin/python"), "-m", "vllm_runpod", "--cwd", str(self.root), *arguments],
            cwd=self.root,
            env=environment(**env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            raise AssertionError(f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace text in a file; the text must be there."""
        path = self.root / name
        text = path.read_text()
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> str:
        return (self.root / ".local/emulator/api-key").read_text().strip()


def environment(**extra: str) -> dict[str, str]:
    """The environment of a user with nothing set: no key, no passphrase, no pulumi."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PULUMI_", "RUNPOD_", "VLLM_"))}
    env["PATH"] = ":".join(part for part in env["PATH"].split(":") if not (Path(part) / "pulumi").exists())
    return env | extra


def make_clone(folder: Path) -> Clone:
    """Copy the tracked and new files (not the ignored ones) and link the environments."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    for name in SHARED:
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(ROOT / name)
    port = free_port()
    clone = Clone(folder, port)
    clone.edit("Pulumi.local.yaml", "127.0.0.1:8900", f"127.0.0.1:{port}")
    return clone


@dataclass(frozen=True)
class Process:
    """A process; `started` tells it from a later one with the same id."""

    pid: int
    started: int
    command: tuple[str, ...] = field(compare=False)

    def runs(self, *words: str) -> bool:
        """Whether its command line has these words one after the other."""
        return any(self.command[start : start + len(words)] == words for start in range(len(self.command)))


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat from the third on; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return []


def tree(pid: int, *, below: bool = True) -> set[Process]:
    """A process and, unless told otherwise, all its descendants, in whatever namespace they are."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    found, left = set(), [pid]
    while left:
        current = left.pop()
        if stat := _stat(current):
            try:
                command = Path(f"/proc/{current}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            except OSError:
                command = []
            found.add(Process(current, int(stat[19]), tuple(command)))
        left += children.get(current, []) if below else []
    return found


def is_alive(process: Process) -> bool:
    """Whether exactly this process still runs (a zombie does not)."""
    stat = _stat(process.pid)
    return bool(stat) and stat[0] not in "ZX" and int(stat[19]) == process.started


def processes_under(folder: Path) -> list[str]:
    """Command lines of live processes that name `folder` or run in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            cwd = str((entry / "cwd").readlink())
        except OSError:
            continue
        if line and (str(folder) in line or cwd.startswith(str(folder))):
            found.append(f"{entry.name} {line}")
    return found
