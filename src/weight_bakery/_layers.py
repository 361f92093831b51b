"""Layers as they are planned and as they flow: files in, layer bytes and two kinds of sha256 out, in one pass.

A layer is never held in memory or on disk here. Its size is known before the first byte is read; its digest is known
after the last one, or before the first when the digests of its files are remembered from an earlier bake.
"""

import hashlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from weight_bakery._errors import SourceChanged, SourceDamaged
from weight_bakery._layer_rule import TRAILER, content_key, layer_entries, layer_size, padding
from weight_bakery._sources import FileSource, SourceFile

Role = Literal["base", "weights", "files", "deps", "code", "caches"]

CHUNK = 2 * 1024 * 1024
"""Bytes per read. Large enough that a hash leaves the interpreter lock alone for a millisecond."""
_INLINE = 64 * 1024  # below this, handing a hash to another thread costs more than the hash


@dataclass(frozen=True)
class LayerFile:
    """A file of a layer: where it stands in the image, and where its bytes come from."""

    path: str
    size: int
    executable: bool
    source: FileSource
    origin: SourceFile


@dataclass(frozen=True)
class Layer:
    """A planned layer: its role in the image and its files."""

    role: Role
    files: tuple[LayerFile, ...]

    @cached_property
    def size(self) -> int:
        """Exact size in bytes."""
        return layer_size(self.files)

    @property
    def label(self) -> str:
        """What to call the layer in front of people."""
        if len(self.files) == 1:
            return self.files[0].origin.path
        words = {
            "weights": "weights",
            "files": "config and tokenizer",
            "deps": "worker dependencies",
            "caches": "start-up caches",
        }
        return f"{words.get(self.role, 'worker code')} ({len(self.files)} files)"

    def key(self, sha256s: dict[str, str]) -> str | None:
        """Content key (see `layer_rule.content_key`), None while the digest of one of the files is unknown."""
        if any(file.path not in sha256s for file in self.files):
            return None
        return content_key((file, sha256s[file.path]) for file in self.files)


@dataclass(frozen=True)
class LayerDigests:
    """What a pass over a layer found out."""

    digest: str
    size: int
    files: dict[str, str]
    """sha256 of each file's content, by its path in the image."""


class LayerHashes:
    """The hashes of a layer and of its files, kept in memory while a pass breaks off and another one goes on.

    `hashers` lets the sha256 of the layer and that of the file run side by side over one chunk (hashlib releases the
    interpreter lock). The pool must be one that nothing else waits in.
    """

    def __init__(self, hashers: ThreadPoolExecutor) -> None:
        self._hashers = hashers
        self._whole = _RunningHash(hashlib.sha256(), hashers)
        self._current: tuple[str, _RunningHash, _RunningHash | None] | None = None
        self._files: dict[str, str] = {}

    def layer(self, start: int, chunk: bytes) -> None:
        """Take in bytes of the layer that stand at `start`."""
        self._whole.feed(start, chunk)

    def file(self, file: LayerFile, start: int, piece: bytes) -> None:
        """Take in bytes of a file that stand at `start` in it."""
        for state in self._states(file):
            state.feed(start, piece)

    def finish_file(self, file: LayerFile) -> None:
        """Compare a file's digest with what its source promised."""
        if file.path in self._files:
            return
        sha256, *git = (state.hexdigest() for state in self._states(file))
        wrong = file.origin.sha256 is not None and sha256 != file.origin.sha256
        if wrong or (git and git[0] != file.origin.git_oid):
            raise SourceDamaged(f"{file.origin.path} has not the digest its source promised", "run the bake again")
        self._files[file.path] = sha256
        self._current = None

    def result(self) -> LayerDigests:
        """What was found; only after the last byte."""
        return LayerDigests(f"sha256:{self._whole.hexdigest()}", self._whole.position, dict(self._files))

    def wait(self) -> None:
        """Wait for hashes that are under way."""
        self._whole.wait()

    def _states(self, file: LayerFile) -> list["_RunningHash"]:
        if file.path in self._files:
            return []
        if self._current is None or self._current[0] != file.path:
            git = None
            if file.origin.git_oid is not None:
                header = b"blob %d\0" % file.size
                git = _RunningHash(hashlib.sha1(header, usedforsecurity=False), self._hashers)
            self._current = file.path, _RunningHash(hashlib.sha256(), self._hashers), git
        _, sha256, git = self._current
        return [sha256] if git is None else [sha256, git]


class _RunningHash:
    """A hash that knows how far it has come, so that bytes which pass a second time are not counted twice."""

    def __init__(self, state: "hashlib._Hash", hashers: ThreadPoolExecutor) -> None:
        self._state = state
        self._hashers = hashers
        self._job: Future[None] | None = None
        self.position = 0

    def feed(self, start: int, chunk: bytes) -> None:
        """Take in `chunk`, which stands at `start`. A large one is hashed while the caller goes on."""
        known = self.position - start
        if known < 0:
            raise ValueError(f"bytes from {self.position} to {start} were never hashed")
        if known >= len(chunk):
            return
        fresh = memoryview(chunk)[known:] if known else chunk
        self.wait()
        self.position += len(fresh)
        if len(fresh) < _INLINE:
            self._state.update(fresh)
        else:
            self._job = self._hashers.submit(self._state.update, fresh)

    def wait(self) -> None:
        if self._job is not None:
            self._job.result()
            self._job = None

    def hexdigest(self) -> str:
        self.wait()
        return self._state.hexdigest()


class LayerStream:
    """One pass over a layer, from `offset` on. Iterate to get its bytes in chunks; `done` is set after the last one.

    With `hashes` the bytes are hashed on the way, and the files compared with what their source promised; a pass that
    starts at an offset goes on with the hashes of the pass that broke off.
    """

    def __init__(self, layer: Layer, hashes: LayerHashes | None, offset: int = 0) -> None:
        self._layer = layer
        self._hashes = hashes
        self._offset = offset
        self._position = offset
        self.done = False

    def __iter__(self) -> Iterator[bytes]:
        """Yield the layer's bytes. A chunk is hashed while the caller works with it."""
        pending = bytearray()
        for piece in self._pieces():
            if pending or len(piece) < CHUNK:
                pending += piece
                if len(pending) >= CHUNK:
                    yield self._out(bytes(pending))
                    pending.clear()
            else:
                yield self._out(piece)
        if pending:
            yield self._out(bytes(pending))
        if self._hashes is not None:
            self._hashes.wait()
        assert self._position == self._layer.size, "layer rule and layer stream disagree about the size"
        self.done = True

    def _pieces(self) -> Iterator[bytes]:
        """The layer's bytes from the offset on, as they come."""
        position = 0
        for entry in layer_entries(self._layer.files):
            yield entry.header[max(self._offset - position, 0) :]
            position += len(entry.header)
            if entry.file is None:
                continue
            assert isinstance(entry.file, LayerFile)
            if self._offset <= position or self._offset < position + entry.file.size:
                yield from self._content(entry.file, max(self._offset - position, 0))
            if self._hashes is not None:
                self._hashes.finish_file(entry.file)
            position += entry.file.size
            gap = bytes(padding(entry.file.size))
            yield gap[max(self._offset - position, 0) :]
            position += len(gap)
        yield TRAILER[max(self._offset - position, 0) :]

    def _content(self, file: LayerFile, start: int) -> Iterator[bytes]:
        with file.source.open(file.origin.path, start) as reader:
            while start < file.size:
                piece = reader.read(min(CHUNK, file.size - start))
                if not piece:
                    raise SourceChanged(
                        f"{file.origin.path} ended {file.size - start} bytes early", "run the bake again"
                    )
                if self._hashes is not None:
                    self._hashes.file(file, start, piece)
                start += len(piece)
                yield piece
            if reader.read(1):
                raise SourceChanged(f"{file.origin.path} is longer than it was", "run the bake again")

    def _out(self, chunk: bytes) -> bytes:
        if self._hashes is not None:
            self._hashes.layer(self._position, chunk)
        self._position += len(chunk)
        return chunk
