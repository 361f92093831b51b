"""Layers as they are planned and as they flow: files in, layer bytes and two kinds of sha256 out, in one pass.

A layer is never held in memory or on disk here. Its size is known before the first byte is read; its digest is known
after the last one, or before the first when the digests of its files are remembered from an earlier bake.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from weight_bakery._errors import SourceChanged
from weight_bakery._layer_rule import TRAILER, content_key, layer_entries, layer_size, padding
from weight_bakery._sources import FileSource, SourceFile

Role = Literal["base", "weights", "files", "deps", "code"]

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
        return {"weights": "weights", "files": "config and tokenizer", "deps": "worker dependencies"}.get(
            self.role, "worker code"
        ) + f" ({len(self.files)} files)"

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


class LayerStream:
    """One pass over a layer. Iterate to get its bytes in chunks; read `result` when the iteration has ended.

    `hashers` lets the two sha256 of one chunk run side by side (hashlib releases the interpreter lock). The pool must
    be one that nothing else waits in. Without it the bytes are not hashed and there is no result.
    """

    def __init__(self, layer: Layer, hashers: ThreadPoolExecutor | None) -> None:
        self._layer = layer
        self._hashers = hashers
        self.hashed = hashers is not None
        self._whole = hashlib.sha256()
        self._written = 0
        self._running: Future[None] | None = None
        self._files: dict[str, str] = {}
        self._done = False

    @property
    def result(self) -> LayerDigests:
        """Digests of the pass; only after the last chunk."""
        assert self.hashed, "the layer was not hashed"
        assert self._done, "the layer has not been read to its end"
        return LayerDigests(f"sha256:{self._whole.hexdigest()}", self._written, dict(self._files))

    def __iter__(self) -> Iterator[bytes]:
        """Yield the layer's bytes. A chunk is hashed while the caller works with it."""
        pending = bytearray()
        for entry in layer_entries(self._layer.files):
            pending += entry.header
            if entry.file is None:
                continue
            assert isinstance(entry.file, LayerFile)
            for piece in self._content(entry.file):
                if pending or len(piece) < CHUNK:
                    pending += piece
                    if len(pending) >= CHUNK:
                        yield self._out(bytes(pending))
                        pending.clear()
                else:
                    yield self._out(piece)
            pending += bytes(padding(entry.file.size))
        pending += TRAILER
        yield self._out(bytes(pending))
        self._wait()
        assert self._written == self._layer.size, "layer rule and layer stream disagree about the size"
        self._done = True

    def _content(self, file: LayerFile) -> Iterator[bytes]:
        state = hashlib.sha256()
        git = None
        if self.hashed and file.origin.git_oid is not None:
            git = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
        remaining = file.size
        with file.source.open(file.origin.path) as reader:
            while remaining:
                piece = reader.read(min(CHUNK, remaining))
                if not piece:
                    raise SourceChanged(f"{file.origin.path} ended {remaining} bytes early", "run the bake again")
                remaining -= len(piece)
                job = self._hash(state.update, piece)
                if git is not None:
                    git.update(piece)
                yield piece
                if job is not None:
                    job.result()
            if reader.read(1):
                raise SourceChanged(f"{file.origin.path} is longer than it was", "run the bake again")
        if not self.hashed:
            return
        sha256 = state.hexdigest()
        wrong = file.origin.sha256 is not None and sha256 != file.origin.sha256
        if wrong or (git is not None and git.hexdigest() != file.origin.git_oid):
            raise SourceChanged(f"{file.origin.path} has not the digest its source promised", "run the bake again")
        self._files[file.path] = sha256

    def _out(self, chunk: bytes) -> bytes:
        self._wait()
        self._running = self._hash(self._whole.update, chunk)
        self._written += len(chunk)
        return chunk

    def _hash(self, update: Callable[[bytes], None], chunk: bytes) -> Future[None] | None:
        if self._hashers is None:
            return None
        if len(chunk) < _INLINE:
            update(chunk)
            return None
        return self._hashers.submit(update, chunk)

    def _wait(self) -> None:
        if self._running is not None:
            self._running.result()
            self._running = None
