"""A remote blob as a file that can be read and positioned; small steps forward are read over, others ask anew."""

import io
import zlib
from collections.abc import Callable
from typing import Protocol

_READ_OVER = 1 << 20
"""Passing over less than this costs less than another request."""


class Chunks(Protocol):
    """An open stream of a blob's bytes."""

    def next(self) -> bytes:
        """The next chunk, none at the end."""

    def close(self) -> None:
        """Close the connection."""


class Stream(Protocol):
    """What a layer's tar archive is read from."""

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer only at the end."""

    def skip_to(self, position: int) -> None:
        """Go to a position; the ones behind may be out of reach."""


class RangeFile:
    """Read and seek over a blob of known size, whose bytes come from `connect(offset)`."""

    def __init__(self, size: int, connect: Callable[[int], Chunks]) -> None:
        self._size = size
        self._connect = connect
        self._chunks: Chunks | None = None
        self._buffer = b""
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        wanted = self._size - self._position if size < 0 else min(size, self._size - self._position)
        parts = []
        while wanted > 0:
            if not self._buffer:
                self._fill()
                if not self._buffer:
                    break
            part, self._buffer = self._buffer[:wanted], self._buffer[wanted:]
            parts.append(part)
            wanted -= len(part)
            self._position += len(part)
        return b"".join(parts)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self.skip_to(start + offset)
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def skip_to(self, position: int) -> None:
        """Go to a position, by reading or by another request."""
        step = position - self._position
        if 0 <= step <= len(self._buffer):
            self._buffer = self._buffer[step:]
            self._position = position
        elif 0 < step < _READ_OVER and self._chunks is not None:
            self.read(step)
        else:
            self.close()
            self._position = position

    def close(self) -> None:
        """Close the connection; reading opens another one."""
        self._buffer = b""
        if self._chunks is not None:
            chunks, self._chunks = self._chunks, None
            chunks.close()

    def _fill(self) -> None:
        if self._chunks is None:
            self._chunks = self._connect(self._position)
        self._buffer = self._chunks.next()


class Inflating:
    """A gzip stream, read in one direction."""

    def __init__(self, packed: RangeFile) -> None:
        self._packed = packed
        self._inflate = zlib.decompressobj(31)
        self._buffer = bytearray()
        self._position = 0

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        while len(self._buffer) < size:
            if self._inflate.eof:  # gzip files may be joined
                rest, self._inflate = self._inflate.unused_data, zlib.decompressobj(31)
            else:
                rest = b""
            packed = rest or self._packed.read(1 << 16)
            if not packed:
                break
            self._buffer += self._inflate.decompress(packed)
        part = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._position += len(part)
        return part

    def skip_to(self, position: int) -> None:
        """Read over everything up to `position`."""
        while self._position < position and self.read(min(1 << 20, position - self._position)):
            pass
