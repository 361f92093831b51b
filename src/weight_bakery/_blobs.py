"""Blobs on their way: something with a size that can be streamed, and streamed again after a failure.

Reading and hashing happen in threads, sending in the event loop; one chunk is read ahead, so the two overlap and a
flow never holds more than a few chunks.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, cast

from weight_bakery._errors import DigestMismatch
from weight_bakery._layers import Layer, LayerDigests, LayerHashes, LayerStream
from weight_bakery._threads import Threads


class Blob(Protocol):
    """Content to store. `digest` is None until a whole pass over the content has been made."""

    @property
    def size(self) -> int:
        """Exact length in bytes."""

    @property
    def digest(self) -> str | None:
        """`sha256:...` where it is known."""

    def open(self, *, verify: bool = True, offset: int = 0) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream the content; may be called again after a failure, from its start or from an offset.

        An offset must lie within what an earlier pass has handed out: the hashes of that pass go on.
        `verify=False` saves the hashing where the receiver checks the digest itself.
        """


class BytesBlob:
    """A small blob in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)
        self.digest: str | None = f"sha256:{hashlib.sha256(content).hexdigest()}"

    @asynccontextmanager
    async def open(self, *, verify: bool = True, offset: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yield the content in one chunk."""
        del verify  # its digest was computed from these very bytes
        yield _once(self._content[offset:])


class RemoteBlob:
    """A blob of another store, of known digest; passing it on verifies it."""

    def __init__(
        self, digest: str, size: int, stream: Callable[[int], AbstractAsyncContextManager[AsyncIterator[bytes]]]
    ) -> None:
        """`stream` opens the blob at an offset."""
        self.digest: str | None = digest
        self.size = size
        self._stream = stream
        self._state = hashlib.sha256()
        self._hashed = 0

    @asynccontextmanager
    async def open(self, *, verify: bool = True, offset: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream from the other store. The last chunk is held back until the digest of the whole is right."""
        del verify  # it came over a network: always worth it
        if offset == 0:
            self._state, self._hashed = hashlib.sha256(), 0
        async with self._stream(offset) as chunks:
            yield self._verified(chunks, offset)

    async def _verified(self, chunks: AsyncIterator[bytes], position: int) -> AsyncIterator[bytes]:
        held = b""
        async for chunk in chunks:
            if held:
                yield held
            fresh = chunk[max(self._hashed - position, 0) :]
            position += len(chunk)
            if fresh:
                await asyncio.to_thread(self._state.update, fresh)
                self._hashed = position
            held = chunk
        if f"sha256:{self._state.hexdigest()}" != self.digest or position != self.size:
            raise DigestMismatch(
                f"the base layer {self.digest} arrived damaged ({position} of {self.size} bytes)", "run the bake again"
            )
        yield held


class LayerBlob:
    """A layer made on the fly from its files. After a pass, `result` tells its digest and those of its files."""

    def __init__(self, layer: Layer, threads: Threads, digest: str | None = None) -> None:
        self.layer = layer
        self.size = layer.size
        self.result: LayerDigests | None = None
        self._known = digest
        self._threads = threads
        self._hashes: LayerHashes | None = None

    @property
    def digest(self) -> str | None:
        """The remembered digest, or the one that a pass has found."""
        return self.result.digest if self.result else self._known

    @asynccontextmanager
    async def open(self, *, verify: bool = True, offset: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream the layer; read and hashed in threads."""
        if offset == 0:
            self._hashes = LayerHashes(self._threads.hashers) if verify or self.digest is None else None
        stream = LayerStream(self.layer, self._hashes, offset)
        chunks = _ReadAhead(iter(stream), self._threads.readers, lambda: self._finish(stream))
        try:
            yield chunks
        except asyncio.CancelledError:
            # The bake is over: wake the thread, which may be waiting for a network.
            for source in {id(file.source): file.source for file in self.layer.files}.values():
                source.close()
            chunks.abandon()
            raise
        except BaseException:
            await chunks.aclose()
            raise
        else:
            await chunks.aclose()

    async def measure(self, advance: Callable[[int], None]) -> LayerDigests:
        """Read the layer once for its digests alone, reporting bytes to `advance`."""
        async with self.open() as chunks:
            async for chunk in chunks:
                advance(len(chunk))
        assert self.result is not None
        return self.result

    def forget(self) -> None:
        """Drop what a pass has found: the next one hashes again."""
        self.result = None

    def _finish(self, stream: LayerStream) -> None:
        if self._hashes is not None and stream.done:
            self.result = self._hashes.result()


class _ReadAhead:
    """Iterate a generator in a thread, one chunk ahead of the consumer."""

    def __init__(self, chunks: Iterator[bytes], pool: Executor, at_end: Callable[[], None]) -> None:
        self._chunks = chunks
        self._pool = pool
        self._at_end = at_end
        self._loop = asyncio.get_running_loop()
        self._pending = self._ask()

    def __aiter__(self) -> "_ReadAhead":
        return self

    async def __anext__(self) -> bytes:
        # Shielded: cancelling the wait must not lose track of the thread that runs the generator.
        chunk = await asyncio.shield(self._pending)
        if not chunk:
            self._at_end()
            raise StopAsyncIteration
        self._pending = self._ask()
        return chunk

    async def aclose(self) -> None:
        """Wait for the thread, then end the generator, which closes the source."""
        await asyncio.wait({self._pending})
        self._pending.exception()  # seen; whoever iterated has it already
        await self._loop.run_in_executor(self._pool, cast("Generator[bytes, None, None]", self._chunks).close)

    def abandon(self) -> None:
        """Let the thread finish by itself; the generator, and with it the source, is closed after that."""

        def close(pending: "asyncio.Future[bytes]") -> None:
            pending.exception()  # seen
            cast("Generator[bytes, None, None]", self._chunks).close()

        self._pending.add_done_callback(close)

    def _ask(self) -> "asyncio.Future[bytes]":
        return self._loop.run_in_executor(self._pool, next, self._chunks, b"")


async def _once(content: bytes) -> AsyncIterator[bytes]:
    if content:
        yield content
