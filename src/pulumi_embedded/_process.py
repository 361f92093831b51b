"""Child processes that end with the engine, and whose output is read to its end."""

import asyncio
import contextlib
import functools
import os
import signal
import threading
from collections import deque
from collections.abc import Callable

from pulumi_embedded._spawn import Spawned
from redaction import redact

_MAX_LINE = 1024 * 1024


class Child:
    """A started process. `stop` must be awaited; until then its output goes to the callbacks, line by line."""

    def __init__(self, spawned: Spawned) -> None:
        self._process = spawned.process
        self.name = spawned.name
        self.tail: deque[str] = deque(maxlen=60)
        self._readers: list[asyncio.Task[None]] = []
        self._pipes: list[asyncio.ReadTransport] = []
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    @classmethod
    async def follow(
        cls, spawned: Spawned, *, on_stdout: Callable[[str], None], on_stderr: Callable[[str], None]
    ) -> "Child":
        """Take over a process: from here on its output is read, and its end noticed."""
        child = cls(spawned)
        for stream, callback in ((spawned.process.stdout, on_stdout), (spawned.process.stderr, on_stderr)):
            assert stream is not None
            reader = asyncio.StreamReader(limit=_MAX_LINE)
            protocol = asyncio.StreamReaderProtocol(reader)
            pipe, _ = await asyncio.get_running_loop().connect_read_pipe(functools.partial(_same, protocol), stream)
            child._pipes.append(pipe)
            child._readers.append(asyncio.create_task(child._read(reader, callback)))
        # PR_SET_PDEATHSIG counts the thread that started it as the parent, so starting is for the main thread alone;
        # waiting is not.
        threading.Thread(target=child._wait, args=(asyncio.get_running_loop(),), daemon=True).start()
        return child

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        code = self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
            loop.call_soon_threadsafe(self._set_ended, code)

    def _set_ended(self, code: int) -> None:
        if not self._ended.done():
            self._ended.set_result(code)

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
        await asyncio.to_thread(self._write_and_close, data)

    def _write_and_close(self, data: bytes) -> None:
        assert self._process.stdin is not None
        left = memoryview(data)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while left:
                left = left[self._process.stdin.write(left) :]
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._process.stdin.close()

    @property
    def returncode(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._ended.result() if self._ended.done() else None

    async def wait(self) -> int:
        """Wait for the end, and for the last line of output."""
        code = await asyncio.shield(self._ended)
        await asyncio.wait(self._readers)  # not gather: whoever gives up waiting must not stop the reading
        return code

    async def ended_within(self, seconds: float) -> int | None:
        """The exit code, if it ends in that time."""
        await asyncio.wait((self._ended,), timeout=seconds)
        return self.returncode

    def send(self, number: int) -> None:
        """Send a signal to the process and everything it started in its session."""
        if self.returncode is None:
            try:
                os.killpg(self._process.pid, number)
            except (ProcessLookupError, PermissionError):
                return

    async def stop(self, first: int = signal.SIGINT, grace_s: float = 5.0) -> None:
        """Signal, give it some time, then kill; its session is cleared of left-overs."""
        self.send(first)
        try:
            await asyncio.wait_for(asyncio.shield(self._ended), grace_s)
        except TimeoutError:
            self.send(signal.SIGKILL)
            await asyncio.shield(self._ended)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        # A grandchild that left the session may hold the pipes open: do not wait for it.
        _, pending = await asyncio.wait(self._readers, timeout=1.0) if self._readers else (set(), set())
        for reader in pending:
            reader.cancel()
        for pipe in self._pipes:
            pipe.close()
        if self._process.stdin is not None:
            self._process.stdin.close()


def _same(protocol: asyncio.StreamReaderProtocol) -> asyncio.StreamReaderProtocol:
    return protocol
