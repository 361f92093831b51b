"""One layer, taken apart: an index of its entries, and the content of its files under numbers.

    layers/<diff_id>/index.json     one list per entry: kind, path, mode, mtime, link, number, size
    layers/<diff_id>/files/<number> content, with the file's own mode and time

Nothing is ever written under a name that comes from the archive, so no archive can write outside its own folder.
Blob digest and diff_id are computed while the bytes pass and compared before the result is moved into place: a layer
that exists here is complete and was what its image said. Names are judged here as well, so a bad one is refused
before anything is kept.
"""

import hashlib
import json
import os
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runpod_emulator.host._documents import Layer
from runpod_emulator.host._errors import BadImage, DigestMismatch, UnsafeLayer, disk_errors
from runpod_emulator.host._tar import BrokenTar, Member, Read, members

CHUNK = 1024 * 1024
WHITEOUT = ".wh."


class Cancelled(Exception):
    """The caller does not want the result any more."""


@dataclass(frozen=True)
class Unpacked:
    entries: int
    size: int
    """Bytes of the files inside."""


@dataclass(frozen=True)
class Entry:
    """One line of the index. `path` has no leading slash, no `.` and no `..`; empty for the root itself."""

    kind: str
    path: str
    mode: int
    mtime: float
    link: str
    number: int | None
    size: int


class _Meter:
    """Reads on, counting and hashing what passes. Hashing releases the interpreter lock."""

    def __init__(self, read: Read, stop: threading.Event) -> None:
        self._read, self._stop = read, stop
        self._sha256 = hashlib.sha256()
        self.count = 0

    def read(self, size: int) -> bytes:
        if self._stop.is_set():
            raise Cancelled
        data = self._read(size)
        self._sha256.update(data)
        self.count += len(data)
        return data

    def drain(self) -> None:
        while self.read(CHUNK):
            pass

    @property
    def digest(self) -> str:
        return f"sha256:{self._sha256.hexdigest()}"


class _Gunzip:
    """gzip, several members included. Never holds more than a chunk of input and one of output."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._member: zlib._Decompress | None = None
        self._input = b""
        self._begun = False

    def read(self, size: int) -> bytes:
        while True:
            if not self._input:
                self._input = self._read(CHUNK)
            if self._member is None:
                if self._begun:
                    if not self._input:
                        return b""
                    self._input = self._input.lstrip(b"\0")  # padding between and after members
                    if not self._input:
                        continue
                self._member, self._begun = zlib.decompressobj(wbits=31), True
            # Without input there may still be output from what came before.
            data = self._member.decompress(self._input, size)
            if not data and not self._input and not self._member.eof:
                raise BrokenTar("its gzip stream ends too soon")
            if self._member.eof:
                self._input, self._member = self._member.unused_data, None
            else:
                self._input = self._member.unconsumed_tail
            if data:
                return data


class _Buffered:
    """Headers and small files come in small reads; each should not cost a system call and a hash of its own."""

    _AHEAD = 256 * 1024

    def __init__(self, read: Read) -> None:
        self._read = read
        self._data = memoryview(b"")

    def read(self, size: int) -> bytes:
        if not self._data:
            if size >= self._AHEAD:
                return self._read(size)
            self._data = memoryview(self._read(self._AHEAD))
        data, self._data = bytes(self._data[:size]), self._data[size:]
        return data


def unpack(source: BinaryIO, layer: Layer, image: str, target: Path, stop: threading.Event) -> Unpacked:
    """Take `layer` apart into the empty folder `target`. Raises BadImage, DigestMismatch, UnsafeLayer, CacheUnusable.

    On any error the caller throws `target` away.
    """
    outer = _Meter(source.read, stop)
    inner = _Meter(_Gunzip(outer.read).read, stop) if layer.compression == "gzip" else outer
    trouble: Exception | None = None
    result = Unpacked(0, 0)
    try:
        result = _write(_Buffered(inner.read).read, layer, image, target)
    except (BrokenTar, zlib.error, BadImage) as error:
        trouble = error
    outer.drain()
    # Damage explains every other trouble, so it is what gets reported.
    if (outer.digest, outer.count) != (layer.digest, layer.size):
        found = f"{outer.digest} ({outer.count} bytes)"
        raise DigestMismatch(image, layer.full_name, f"{layer.digest} ({layer.size} bytes)", found) from trouble
    if isinstance(trouble, BadImage):
        raise trouble
    if trouble is not None:
        raise BadImage(image, f"{layer.full_name} is no tar archive that can be read: {trouble}") from trouble
    if inner.digest != layer.diff_id:
        raise DigestMismatch(image, f"the content of {layer.full_name}", f"{layer.diff_id} (diff_id)", inner.digest)
    return result


def hash_file(path: Path, stop: threading.Event) -> tuple[str, int]:
    """Digest and size of a file, read once."""
    with path.open("rb", buffering=0) as file:
        meter = _Meter(file.read, stop)
        meter.drain()
    return meter.digest, meter.count


def read_index(folder: Path) -> Iterator[Entry]:
    with (folder / "index.json").open(encoding="ascii") as file:
        for line in file:
            yield Entry(*json.loads(line))


def content_of(folder: Path, number: int) -> Path:
    return folder / "files" / str(number)


def _write(read: Read, layer: Layer, image: str, target: Path) -> Unpacked:
    entries = size = number = 0
    with disk_errors(target):
        (target / "files").mkdir()
        with (target / "index.json").open("w", encoding="ascii") as index:
            for member, content in members(read):
                path = _safe(member, layer, image)
                stored = None
                if member.kind == "file":
                    number += 1
                    stored = number
                    _store(content_of(target, number), member, content)
                    size += member.size
                entries += 1
                mode = member.mode & 0o1777  # a worker's programs gain no rights: setuid and setgid are dropped
                link = _safe_link(member, layer, image)
                line = [member.kind, path, mode, member.mtime, link, stored, member.size]
                index.write(json.dumps(line) + "\n")
    return Unpacked(entries, size)


def _store(path: Path, member: Member, content: Read) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        while data := content(CHUNK):
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        os.fchmod(descriptor, member.mode & 0o1777)
        os.utime(descriptor, (member.mtime, member.mtime))
    finally:
        os.close(descriptor)


def _safe(member: Member, layer: Layer, image: str) -> str:
    """The member's path inside the root, or UnsafeLayer."""
    if member.kind == "device":
        raise UnsafeLayer(image, layer.full_name, member.name, "is a device")
    path = _plain(member.name, member.name, layer, image)
    if not path and member.kind != "directory":
        raise UnsafeLayer(image, layer.full_name, member.name, "would replace the root itself")
    return path


def _safe_link(member: Member, layer: Layer, image: str) -> str:
    if member.kind == "hardlink":
        return _plain(member.link, member.name, layer, image)
    # A symlink may point anywhere: only programs inside the worker's root ever follow it.
    return member.link if member.kind == "symlink" else ""


def _plain(path: str, entry: str, layer: Layer, image: str) -> str:
    if path.startswith("/"):
        raise UnsafeLayer(image, layer.full_name, entry, "has an absolute path")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UnsafeLayer(image, layer.full_name, entry, "leads out of the root with ..")
    if any(part.startswith(WHITEOUT) and part[len(WHITEOUT) :] in ("", ".", "..") for part in parts):
        raise UnsafeLayer(image, layer.full_name, entry, "is a whiteout of nothing")
    if any(len(os.fsencode(part)) > 255 for part in parts) or len(os.fsencode(path)) > 4000:
        raise UnsafeLayer(image, layer.full_name, entry[:80], "has too long a name")
    return "/".join(parts)
