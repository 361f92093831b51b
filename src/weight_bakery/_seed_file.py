"""One file on its way to a network volume: read once, hashed while it is read, sent in parts that are not there yet.

A killed run leaves a started upload behind. The next one reads the file again from its start, compares every part
that has arrived by its MD5, and sends only the others; so a resumed file is verified as a whole like any other.
Nothing shows under the file's name before its sha256 is known to be right.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from weight_bakery._errors import SourceChanged, SourceDamaged, VolumeError, VolumeUnreachable
from weight_bakery._seed_request import Verify, part_size
from weight_bakery._seed_s3 import Stored, StoredPart, Volume, multipart_etag
from weight_bakery._sources import Reader, SourceFile, WeightSource

Advance = Callable[[int], None]

_FETCHES = 3


@dataclass(frozen=True)
class Landed:
    """A file that is on the volume."""

    sha256: str
    etag: str
    sent: int
    read_back: int


@dataclass
class FileJob:
    """A file, where it goes, and how it is checked."""

    volume: Volume
    source: WeightSource
    file: SourceFile
    key: str
    verify: Verify
    part_size: int | None = None

    def upload(self, advance: Advance) -> Landed:
        """Send the file. What its source damages on the way is fetched again."""
        for fetch in range(1, _FETCHES + 1):
            gone = 0

            def count(size: int) -> None:
                nonlocal gone
                gone += size
                advance(size)

            try:
                return self._upload(count)
            except SourceDamaged:
                if fetch == _FETCHES:
                    raise
                advance(-gone)
        raise AssertionError("unreachable")

    def _upload(self, advance: Advance) -> Landed:
        length = part_size(self.file.size, self.part_size)
        if self.file.size <= length:
            return self._upload_whole(advance)
        return self._upload_parts(length, advance)

    def _upload_whole(self, advance: Advance) -> Landed:
        with self.source.open(self.file.path) as reader:
            content = _read(reader, self.file.size + 1)
        check = _Check(self.file)
        check.update(content)
        sha256 = check.finish()
        stored = self.volume.put(self.key, content)
        advance(len(content))
        stored = self.volume.head(self.key) or stored
        if stored.size != len(content):
            raise VolumeError(f"{self.key} was sent with {len(content)} bytes, and the volume has {stored.size}")
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        return self._landed(stored, sha256, sent=len(content), certain=stored.etag == md5)

    def _upload_parts(self, length: int, advance: Advance) -> Landed:
        upload, there = self._going_on(length)
        upload = upload or self.volume.begin(self.key)
        check = _Check(self.file)
        etags: list[str] = []
        md5s: list[str] = []
        sent = 0
        try:
            with self.source.open(self.file.path) as reader:
                number = 0
                while content := _read(reader, length):
                    if self.volume.stopped.is_set():
                        raise VolumeUnreachable("seeding was stopped")
                    number += 1
                    check.update(content)
                    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
                    known = there.get(number)
                    if known is not None and known.etag == md5 and known.size == len(content):
                        etags.append(md5)
                    else:
                        etags.append(self.volume.send_part(self.key, upload, number, content))
                        sent += len(content)
                    md5s.append(md5)
                    advance(len(content))
            sha256 = check.finish()
        except (SourceDamaged, SourceChanged):
            self.volume.abort(self.key, upload)
            raise
        stored = self.volume.finish(self.key, upload, etags, self.file.size)
        return self._landed(stored, sha256, sent=sent, certain=stored.etag == multipart_etag(md5s))

    def _going_on(self, length: int) -> tuple[str | None, dict[int, StoredPart]]:
        """The started upload that has most parts of this length; others of this file are dropped."""
        best, kept = None, dict[int, StoredPart]()
        for upload in self.volume.started(self.key):
            parts = {part.number: part for part in self.volume.parts(self.key, upload)}
            last = -(-self.file.size // length)
            if (
                not parts
                or any(part.size != length for part in parts.values() if part.number < last)
                or max(parts) > last
            ):
                self.volume.abort(self.key, upload)
            elif len(parts) > len(kept):
                if best is not None:
                    self.volume.abort(self.key, best)
                best, kept = upload, parts
            else:
                self.volume.abort(self.key, upload)
        return best, kept

    def started_bytes(self) -> int:
        """Bytes of the file that an interrupted run has sent; asks, and changes nothing."""
        length = part_size(self.file.size, self.part_size)
        if self.file.size <= length:
            return 0
        sums = [
            sum(part.size for part in self.volume.parts(self.key, upload)) for upload in self.volume.started(self.key)
        ]
        return min(max(sums, default=0), self.file.size)

    def compare(self, expected: str) -> Landed | None:
        """Read the object back; None when its content is not the expected one."""
        stored = self.volume.head(self.key)
        if stored is None or stored.size != self.file.size:
            return None
        found = self.volume.sha256(self.key, stored.size, lambda _: None)
        return Landed(found, stored.etag, 0, stored.size) if found == expected else None

    def _landed(self, stored: Stored, sha256: str, *, sent: int, certain: bool) -> Landed:
        if certain and self.verify == "etag":
            return Landed(sha256, stored.etag, sent, 0)
        # Not every gateway makes ETags as S3 does; then the bytes themselves are asked for.
        found = self.volume.sha256(self.key, stored.size, lambda _: None)
        if found != sha256:
            raise VolumeError(
                f"{self.key} reads back with another sha256 than was sent", "run the command again: it is sent anew"
            )
        return Landed(sha256, stored.etag, sent, stored.size)


class _Check:
    """Hashes a file's bytes and holds them against what its source promised."""

    def __init__(self, file: SourceFile) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._git = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False) if file.git_oid else None
        self._size = 0

    def update(self, content: bytes) -> None:
        self._sha256.update(content)
        if self._git is not None:
            self._git.update(content)
        self._size += len(content)

    def finish(self) -> str:
        """The sha256. Raises SourceChanged, SourceDamaged."""
        file, found = self._file, self._sha256.hexdigest()
        if self._size != file.size:
            raise SourceChanged(f"{file.path} has {self._size} bytes instead of {file.size}", "run the command again")
        if file.sha256 not in (None, found) or (self._git is not None and self._git.hexdigest() != file.git_oid):
            raise SourceDamaged(f"{file.path} has not the digest that was promised for it", "run the command again")
        return found


def file_sha256(source: WeightSource, file: SourceFile) -> str:
    """Read a file once for its digest alone."""
    check = _Check(file)
    with source.open(file.path) as reader:
        while content := reader.read(1 << 20):
            check.update(content)
    return check.finish()


def _read(reader: Reader, size: int) -> bytes:
    """Exactly `size` bytes, fewer only at the end."""
    parts = bytearray()
    while len(parts) < size and (part := reader.read(min(size - len(parts), 1 << 20))):
        parts += part
    return bytes(parts)
