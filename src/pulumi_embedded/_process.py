"""Child processes that end with the engine, and whose output is read to its end."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from redaction import redact

_LAUNCHER = Path(__file__).with_name("_launch.py")
_MAX_LINE = 1024 * 1024


def without_passphrase(env: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child: the key to all secrets is the engine's alone."""
    return {key: value for key, value in env.items() if not key.startswith("PULUMI_CONFIG_PASSPHRASE")}


class Child:
    """A started process. `stop` must be awaited; until then its output goes to the callbacks, line by line."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self.name = name
        self.tail: deque[str] = deque(maxlen=60)
        self._readers: list[asyncio.Task[None]] = []

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        stdin: bool = False,
        on_stdout: Callable[[str], None],
        on_stderr: Callable[[str], None],
    ) -> "Child":
        """Start `command` in a session of its own (Ctrl-C reaches the engine alone)."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *command,
            cwd=cwd,
            env=dict(env),
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            limit=_MAX_LINE,
        )  # fmt: skip
        child = cls(process, name)
        assert process.stdout is not None
        assert process.stderr is not None
        for stream, callback in ((process.stdout, on_stdout), (process.stderr, on_stderr)):
            child._readers.append(asyncio.create_task(child._read(stream, callback)))
        return child

    async def _read(self, stream: asyncio.StreamReader, callback: Callable[[str], None]) -> None:
        while True:
            try:
                data = await stream.readline()
            except ValueError:
                continue  # a line longer than the limit was dropped
            if not data:
                return
            line = redact(data.decode(errors="replace").rstrip("\r\n"))
            self.tail.append(line)
            callback(line)

    async def write_and_close(self, data: bytes) -> None:
        """Give the child its input; a child that has gone already is not an error here."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
            self._process.stdin.close()
        except (BrokenPipeError, ConnectionResetError):
            return

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for the end, and for the last line of output."""
        code = await self._process.wait()
        await asyncio.wait(self._readers)  # not gather: whoever gives up waiting must not stop the reading
        return code

    def send(self, number: int) -> None:
        """Send a signal to the process and everything it started in its session."""
        if self._process.returncode is None:
            try:
                os.killpg(self._process.pid, number)
            except (ProcessLookupError, PermissionError):
                return

    async def stop(self, first: int = signal.SIGINT, grace_s: float = 5.0) -> None:
        """Signal, give it some time, then kill; its session is cleared of left-overs."""
        self.send(first)
        try:
            await asyncio.wait_for(self._process.wait(), grace_s)
        except TimeoutError:
            self.send(signal.SIGKILL)
            await self._process.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        # A grandchild that left the session may hold the pipes open: do not wait for it.
        _, pending = await asyncio.wait(self._readers, timeout=1.0) if self._readers else (set(), set())
        for reader in pending:
            reader.cancel()
