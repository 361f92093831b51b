"""Where harvested caches lie: the archive that a worker wrote, or a folder into which it was unpacked.

Both hold `key.json` and `files/<sha256>` and nothing else; every link, device, odd name or further file is refused.
Nothing is unpacked: contents are read where they are.
"""

import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from weight_bakery._errors import HarvestError, SourceChanged
from weight_bakery._harvest_key import MAX_FILES, MAX_KEY_FILE, KeyFile, read_key_file
from weight_bakery._sources import Reader

KEY_FILE = "key.json"
CONTENT = "files/"
_BLOCK = 512
_REMEDY = "give what a worker wrote, as it wrote it"


@dataclass(frozen=True)
class Piece:
    """Bytes of a file on this machine."""

    path: Path
    start: int
    size: int


class Caches:
    """Caches that were found; a file source whose paths are `files/<sha256>`."""

    def __init__(self, where: str, key: KeyFile, pieces: Mapping[str, Piece]) -> None:
        self.where = where
        self.key_file = key
        self._pieces = pieces

    @contextmanager
    def open(self, path: str, offset: int = 0) -> Iterator[Reader]:
        """Open a content; one that changed since it was listed is refused by its size or its digest."""
        piece = self._pieces[path]
        try:
            # No link is followed: it could have been put there after the listing.
            descriptor = os.open(piece.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as stream:
                stream.seek(piece.start + offset)
                yield _Window(stream, piece.size - offset)
        except OSError as error:
            raise SourceChanged(f"{self.where}: {path} cannot be read ({error.strerror})", "harvest again") from error

    def key(self, path: str) -> str:
        """Name of a content on this machine."""
        return f"{self.where}/{path}"

    def close(self) -> None:
        """Nothing is held open between reads."""


class _Window:
    """The next `size` bytes of a stream."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int, /) -> bytes:
        part = self._stream.read(min(size, self._left))
        self._left -= len(part)
        return part


def read_archive(path: Path) -> Caches:
    """Read the archive that a worker wrote. Raises HarvestError."""
    try:
        with path.open("rb") as stream:
            pieces = dict(_members(path, stream, os.fstat(stream.fileno()).st_size))
    except OSError as error:
        raise HarvestError(f"{path} cannot be read: {error.strerror}", "check the path") from error
    return _caches(str(path), pieces)


def read_folder(folder: Path) -> Caches:
    """Read a folder that holds an unpacked archive. Raises HarvestError."""
    pieces: dict[str, Piece] = {}
    try:
        for path in sorted(folder.iterdir()):
            if path.name == KEY_FILE:
                pieces[KEY_FILE] = _regular(path)
            elif path.name == CONTENT.rstrip("/") and stat.S_ISDIR(path.lstat().st_mode):
                contents = sorted(path.iterdir())
                _check_count(len(contents), str(folder))
                pieces |= {CONTENT + content.name: _regular(content) for content in contents}
            else:
                raise HarvestError(f"{path} does not belong to start-up caches", _REMEDY)
    except OSError as error:
        raise HarvestError(f"{folder} cannot be read: {error.strerror}", "check the path") from error
    return _caches(str(folder), pieces)


def _caches(where: str, pieces: Mapping[str, Piece]) -> Caches:
    if KEY_FILE not in pieces:
        raise HarvestError(
            f"{where} has no {KEY_FILE}, so nothing says for which GPU and vLLM it is",
            "set WORKER_CACHE_HARVEST on a worker: it writes one",
        )
    at = pieces[KEY_FILE]
    if at.size > MAX_KEY_FILE:
        raise HarvestError(f"{where}: {KEY_FILE} has {at.size} bytes", _REMEDY)
    with at.path.open("rb") as stream:
        stream.seek(at.start)
        key = read_key_file(stream.read(at.size), f"{where}: {KEY_FILE}")
    _compare(where, key, pieces)
    return Caches(where, key, pieces)


def _compare(where: str, key: KeyFile, pieces: Mapping[str, Piece]) -> None:
    """Everything that is listed is there, with its size, and nothing else."""
    listed = {CONTENT + file.sha256: file.size for file in key.files}
    if len({(file.sha256, file.size) for file in key.files}) != len(listed):
        raise HarvestError(f"{where}: {KEY_FILE} gives one content two sizes", _REMEDY)
    if missing := sorted(set(listed) - set(pieces)):
        raise HarvestError(f"{where}: {len(missing)} of {len(listed)} contents are missing", "copy it again, whole")
    if strange := sorted(set(pieces) - set(listed) - {KEY_FILE}):
        raise HarvestError(f"{where}: {strange[0]!r} is not listed in its {KEY_FILE}", _REMEDY)
    for name, size in listed.items():
        if pieces[name].size != size:
            raise HarvestError(
                f"{where}: {name} has {pieces[name].size} bytes instead of {size}", "copy it again, whole"
            )


def _members(path: Path, stream: BinaryIO, size: int) -> Iterator[tuple[str, Piece]]:
    """Walk the headers of a plain tar archive; contents are passed over, never read."""
    seen: set[str] = set()
    position = 0
    while True:
        stream.seek(position)
        block = stream.read(_BLOCK)
        if block == bytes(_BLOCK):
            return
        try:
            member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            what = "is compressed" if block[:2] == b"\x1f\x8b" or block[:4] == b"\x28\xb5\x2f\xfd" else "is cut off"
            if position == 0 and what == "is cut off":
                what = "is not a tar archive"
            raise HarvestError(f"{path} {what}", _REMEDY) from error
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise HarvestError(f"{path}: {member.name[:100]!r} is not a regular file but {_kind(member)}", _REMEDY)
        name = member.name
        if (name != KEY_FILE and not name.startswith(CONTENT)) or name.count("/") > 1 or name in seen:
            raise HarvestError(f"{path}: {name[:100]!r} does not belong to start-up caches", _REMEDY)
        position += _BLOCK
        if not 0 <= member.size <= size - position:
            raise HarvestError(f"{path} is cut off in {name[:100]!r}", "copy it again, whole")
        seen.add(name)
        _check_count(len(seen), str(path))
        yield name, Piece(path, position, member.size)
        position += member.size + -member.size % _BLOCK


def _kind(member: tarfile.TarInfo) -> str:
    if member.islnk() or member.issym():
        return "a link"
    if member.isdir():
        return "a folder"
    return "a device" if member.isdev() else f"of type {member.type!r}"


def _regular(path: Path) -> Piece:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        kind = "a link" if stat.S_ISLNK(status.st_mode) else "no regular file"
        raise HarvestError(f"{path} is {kind}", _REMEDY)
    return Piece(path, 0, status.st_size)


def _check_count(count: int, where: str) -> None:
    if count > MAX_FILES + 1:
        raise HarvestError(f"{where} holds more than {MAX_FILES} files", _REMEDY)
