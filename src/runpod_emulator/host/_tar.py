"""A strict reader of tar streams: USTAR, PAX and GNU long names, forward only, nothing skipped in silence.

The standard library's stream reader takes a damaged header in the middle of an archive for its end. Here it is an
error. Header fields are decoded by `tarfile.TarInfo.frombuf` (checksum, octal and base-256 numbers).
"""

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

BLOCK = 512
_MAX_EXTENDED = 1024 * 1024
"""Larger extended headers are an attack on memory, not a file name."""

Kind = Literal["file", "directory", "symlink", "hardlink", "fifo", "device"]
_KINDS: dict[bytes, Kind] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
}


class BrokenTar(ValueError):
    """The bytes are no tar archive, or end too soon."""


@dataclass(frozen=True)
class Member:
    kind: Kind
    name: str
    mode: int
    mtime: float
    link: str
    size: int
    """Bytes of content that follow; 0 unless `kind` is file."""


Read = Callable[[int], bytes]
"""Returns at most that many bytes; empty at the end."""


def members(read: Read) -> Iterator[tuple[Member, Callable[[int], bytes]]]:
    """Each member with a reader of its content. What the caller leaves unread of it is skipped."""
    defaults: dict[str, str] = {}
    once: dict[str, str] = {}
    while True:
        block = _header(read)
        if block is None:
            if once:
                raise BrokenTar("it ends after an extended header")
            return
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise BrokenTar(f"a header is damaged ({error})") from error
        if info.size < 0:
            raise BrokenTar(f"{info.name!r} has a negative size")
        if info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            once |= _pax(_extended(read, info.size))
            continue
        if info.type == tarfile.XGLTYPE:
            defaults |= _pax(_extended(read, info.size))
            continue
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            key = "path" if info.type == tarfile.GNUTYPE_LONGNAME else "linkpath"
            once[key] = _extended(read, info.size).split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            continue
        member = _member(info, {**defaults, **once})
        once = {}
        content = _Content(read, member.size)
        yield member, content.read
        content.skip()


def _header(read: Read) -> bytes | None:
    """The next header, or None at the end: a zero block, or (some writers) the end of the stream."""
    block = _exactly(read, BLOCK, allow_end=True)
    if block is None or block.count(0) != BLOCK:
        return block
    while data := read(64 * 1024):
        if data.strip(b"\0"):
            raise BrokenTar("there is data after its end")
    return None


def _exactly(read: Read, size: int, *, allow_end: bool = False) -> bytes | None:
    data = read(size)
    if len(data) == size:
        return data
    if not data and allow_end:
        return None
    pieces = [data]
    missing = size - len(data)
    while missing:
        data = read(missing)
        if not data:
            raise BrokenTar("it ends in the middle of an entry")
        pieces.append(data)
        missing -= len(data)
    return b"".join(pieces)


def _extended(read: Read, size: int) -> bytes:
    if size > _MAX_EXTENDED:
        raise BrokenTar(f"an extended header of {size} bytes")
    data = _exactly(read, size + -size % BLOCK) if size else b""
    return (data or b"")[:size]


def _pax(data: bytes) -> dict[str, str]:
    """PAX records: `<length> <key>=<value>\\n`, the length counting itself."""
    records: dict[str, str] = {}
    while data:
        digits, space, _ = data.partition(b" ")
        if not space or not digits.isdigit() or len(digits) > 8:
            raise BrokenTar("a PAX record has no length")
        length = int(digits)
        record = data[len(digits) + 1 : length]
        if length > len(data) or not record.endswith(b"\n"):
            raise BrokenTar("a PAX record has a wrong length")
        key, sign, value = record[:-1].partition(b"=")
        if not sign:
            raise BrokenTar("a PAX record has no value")
        name = key.decode("utf-8", "surrogateescape")
        if name.startswith("GNU.sparse."):
            raise BrokenTar("it holds a sparse file; write it as a plain one")
        records[name] = value.decode("utf-8", "surrogateescape")
        data = data[length:]
    return records


def _member(info: tarfile.TarInfo, extended: dict[str, str]) -> Member:
    kind = _KINDS.get(info.type)
    name = extended.get("path", info.name)
    if kind is None:
        raise BrokenTar(f"{name!r} is an entry of unknown type {info.type!r}")
    try:
        size = int(extended.get("size", info.size))
        mtime = float(extended.get("mtime", info.mtime))
    except ValueError as error:
        raise BrokenTar(f"{name!r} has a malformed size or time") from error
    if size < 0 or not -(2**40) < mtime < 2**40:
        raise BrokenTar(f"{name!r} has an impossible size or time")
    link = extended.get("linkpath", info.linkname)
    if "\0" in name or "\0" in link:
        raise BrokenTar(f"{name!r} has a zero byte in its name")
    if kind == "file" and name.endswith("/"):
        if size:
            raise BrokenTar(f"{name!r} is named as a folder and has content")
        kind = "directory"  # as before USTAR
    # Only files carry content; a link's size field may be its target's (POSIX), and says nothing about this stream.
    return Member(kind, name, info.mode & 0o7777, mtime, link, size if kind == "file" else 0)


class _Content:
    def __init__(self, read: Read, size: int) -> None:
        self._read, self._left, self._padding = read, size, -size % BLOCK

    def read(self, size: int) -> bytes:
        data = self._read(min(size, self._left)) if self._left else b""
        if self._left and not data:
            raise BrokenTar("it ends in the middle of a file")
        self._left -= len(data)
        return data

    def skip(self) -> None:
        while self._left:
            self.read(1024 * 1024)
        if self._padding:
            _exactly(self._read, self._padding)
