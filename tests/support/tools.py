"""Real tools for tests: built on demand from tools/go, or a reason why not. Use with the marker `tools`.

from tests.support.tools import crane, registry  # noqa: F401 - fixtures
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_BUILD_LIMIT_S = 600


def built_tool(name: str) -> Path:
    """Return the path of a tool, building it if needed; skips the test with the reason when it cannot be built."""
    command = [sys.executable, str(ROOT / "tools" / "build_tools.py"), name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_LIMIT_S, check=False)
    if done.returncode != 0:
        pytest.skip(f"{name} cannot be built here: {done.stderr.strip().splitlines()[-1]}")
    return ROOT / ".local" / "tools" / name


@dataclass(frozen=True)
class Crane:
    """The stock registry client."""

    program: Path

    def __call__(self, *arguments: str) -> bytes:
        """Run crane and return its output; a failure fails the test with what crane said."""
        done = subprocess.run([self.program, *arguments], capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, f"crane {' '.join(arguments)}: {done.stderr.decode(errors='replace')}"
        return done.stdout


@dataclass(frozen=True)
class RegistryProcess:
    """A running distribution registry."""

    host: str
    """127.0.0.1:<port>"""
    storage: Path
    log: Path

    def requests(self, method: str) -> list[str]:
        """Addresses of all answered requests of one method, as the registry logged them."""
        pattern = re.compile(rf'"{method} ([^ "]+) HTTP')
        return pattern.findall(self.log.read_text(errors="replace"))


@pytest.fixture(scope="session")
def crane() -> Crane:
    """crane, built once."""
    return Crane(built_tool("crane"))


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    """One real registry for the whole run, on a free port of loopback, without login."""
    program = built_tool("registry")
    folder = tmp_path_factory.mktemp("registry")
    with running_registry(program, folder) as process:
        yield process


def running_registry(program: Path, folder: Path, *, extra: str = "", storage: str = "") -> "_Running":
    """Return a context manager that runs a registry with its storage and log in `folder`.

    `extra` is more YAML for its configuration, `storage` more entries of its `storage` table (", key: {...}").
    """
    return _Running(program, folder, extra, storage)


class _Running:
    def __init__(self, program: Path, folder: Path, extra: str, storage: str) -> None:
        self._program = program
        self._folder = folder
        self._extra = extra
        self._storage = storage
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RegistryProcess:
        config, log = self._folder / "config.yml", self._folder / "registry.log"
        config.write_text(
            "version: 0.1\n"
            "log: {level: info, accesslog: {disabled: false}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self._folder}/data}}{self._storage}}}\n"
            'http: {addr: "127.0.0.1:0"}\n' + self._extra
        )
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [self._program, "serve", config],
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={"OTEL_TRACES_EXPORTER": "none"},
            )
        # With port 0 the system chooses, and the log says what it chose: no two runs can collide.
        for _ in range(600):
            match = re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text(errors="replace"))
            if match:
                return RegistryProcess(match[1], self._folder / "data", log)
            assert self._process.poll() is None, f"the registry ended: {log.read_text(errors='replace')[-500:]}"
            time.sleep(0.05)
        raise AssertionError("the registry did not start within 30 s")

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
