"""An OCI image layout on disk that survives being killed at any moment.

Blobs are written beside their place, synced, then renamed to their digest; `index.json` is replaced in one step when
everything it names is on disk. So a tag names either the old image or the new one, and no name is given to a part of a
blob. What others did to a blob later is noticed: one that is not as it was left is hashed before it counts.
Our own files live in `.bakery/` inside the layout, which readers of layouts do not look at.
"""

import asyncio
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from weight_bakery._blob_memory import BlobMemory
from weight_bakery._blobs import Blob, BytesBlob
from weight_bakery._errors import BadRequest, BakeryError, DigestMismatch, DiskFull, LayoutError
from weight_bakery._events import Note, Progress, silent
from weight_bakery._files import sync_directory, write_atomically
from weight_bakery._layers import CHUNK
from weight_bakery._media import INDEX
from weight_bakery._stores import Advance, ImageStore, StoredManifest
from weight_bakery._threads import abandonable

_REF_NAME = "org.opencontainers.image.ref.name"
_PRIVATE = ".bakery"
_YOUNG_S = 60.0

Entries = list[dict[str, Any]]


class LayoutStore:
    """One layout directory. `create=False` reads an existing one and refuses anything else.

    `create=True` takes what is not there yet for an empty layout, and makes it when the first blob is written.
    """

    def __init__(self, directory: Path, *, create: bool, progress: Progress = silent) -> None:
        self.directory = directory
        self._progress = progress
        self._writable = create
        self._ready = False
        self._altered: set[str] = set()
        with _disk(directory):
            if create:
                self._refuse_other_folders()
                self._remove_stale()
                if not self.exists:
                    self._refuse_unwritable_place()
            if not create or self.exists:
                self._check(complete=not create)
        self._memory = BlobMemory(self._read_memory())

    @property
    def exists(self) -> bool:
        """Whether the layout has been made."""
        return (self.directory / "oci-layout").exists()

    @property
    def cache_file(self) -> Path:
        """Where the digests of this layout's sources are remembered."""
        return self.directory / _PRIVATE / "digests.json"

    async def read_manifest(self, target: str | None) -> StoredManifest | None:
        """Find by digest or tag; None means the only image there is."""
        if target is not None and target.startswith("sha256:"):
            if not self._blob(target).is_file():
                return None
            content = await self.read_blob(target, 4 * 1024 * 1024)
            media_type = str(_object(content, f"manifest {target}").get("mediaType", ""))
            return StoredManifest(media_type, content, target)
        entries = [entry for entry in self._index()["manifests"] if target in (None, _tag_of(entry))]
        if len(entries) != 1:
            return None
        found = await self.read_manifest(entries[0]["digest"])
        if found is None:
            raise LayoutError(f"{self.directory}: tag {target!r} names a missing manifest", "bake the image again")
        return StoredManifest(found.media_type or entries[0]["mediaType"], found.content, found.digest)

    async def read_blob(self, digest: str, limit: int) -> bytes:
        """Read and verify a small blob."""
        path = self._blob(digest)
        try:
            if path.stat().st_size > limit:
                raise LayoutError(f"{path} is larger than {limit} bytes", "check the image")
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise LayoutError(f"{self.directory} has no blob {digest}", "bake or copy the image again") from error
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise LayoutError(f"{path} is damaged: its content has another digest", "delete it and bake again")
        return content

    @asynccontextmanager
    async def stream_blob(self, digest: str, offset: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream a blob's file."""
        path = self._blob(digest)
        if not path.is_file():
            raise LayoutError(f"{self.directory} has no blob {digest}", "bake or copy the image again")
        with path.open("rb", buffering=0) as stream:
            stream.seek(offset)

            async def chunks() -> AsyncIterator[bytes]:
                while chunk := await asyncio.to_thread(stream.read, CHUNK):
                    yield chunk

            yield chunks()

    async def has_blob(self, digest: str, size: int) -> bool:
        """A blob counts when its bytes are what its name says: as this layout left it, or hashed here and now."""
        path = self._blob(digest)
        try:
            status = path.stat()
        except FileNotFoundError:
            return False
        if status.st_size != size:
            return False
        if self._memory.trusts(path.name, status):
            return True
        if await abandonable(lambda: self._verify(path)):
            return True
        self._altered.add(digest)
        return False

    def wants_digest(self, size: int) -> bool:
        """Only when some blob has exactly this size; else one pass that hashes and writes is cheaper."""
        if not self._blobs.is_dir():
            return False
        with _disk(self.directory), os.scandir(self._blobs) as entries:
            return any(entry.stat().st_size == size for entry in entries)

    async def mount_blob(self, digest: str, other: ImageStore) -> bool:
        """A layout has everything in one place; there is nothing to mount."""
        del digest, other
        return False

    async def write_blob(self, blob: Blob, advance: Advance) -> str:
        """Write a blob in one pass and put it under its digest."""
        with self._temporary() as (stream, path):
            written = 0
            async with blob.open() as chunks:
                async for chunk in chunks:
                    with _disk(self.directory):  # around the write alone: the source has its own errors
                        await asyncio.to_thread(stream.write, chunk)
                    written += len(chunk)
                    advance(len(chunk))
            digest = blob.digest
            if digest is None or written != blob.size:
                raise DigestMismatch(f"{written} of {blob.size} bytes arrived for {digest}", "run the bake again")
            with _disk(self.directory):
                await asyncio.to_thread(os.fsync, stream.fileno())
                path.chmod(0o644)
                place = self._blob(digest)
                altered = digest in self._altered or (place.is_file() and place.stat().st_size != written)
                path.rename(place)
                sync_directory(self._blobs)
                self._memory.wrote(place.name, os.fstat(stream.fileno()))
            if altered:
                self._altered.discard(digest)
                self._progress(Note(f"{digest} in {self.directory} was altered, written again"))
            return digest

    async def write_manifest(self, manifest: StoredManifest, tag: str) -> None:
        """Store the manifest, then replace index.json; other tags stay as they are."""
        if not await self.has_blob(manifest.digest, len(manifest.content)):
            await self.write_blob(BytesBlob(manifest.content), lambda _: None)
        with _disk(self.directory):
            self._make()
        entry = {"mediaType": manifest.media_type, "digest": manifest.digest, "size": len(manifest.content)}
        where = {"platform": {"architecture": "amd64", "os": "linux"}, "annotations": {_REF_NAME: tag}}
        self.set_tag(tag, [entry | where])

    def set_tag(
        self, tag: str, entries: list[dict[str, Any]], *, afterwards: Callable[[Entries, Entries], None] | None = None
    ) -> None:
        """Let the tag name these; none takes it away. Blobs stay: an image that runs by digest may need them.

        `afterwards` gets the entries that went and those that are there now, while nobody else changes them.
        """
        with _disk(self.directory), self._locked():
            index = self._index()
            gone = [entry for entry in index["manifests"] if _tag_of(entry) == tag]
            kept = [entry for entry in index["manifests"] if _tag_of(entry) != tag] + entries
            index["manifests"] = sorted(kept, key=lambda entry: (_tag_of(entry) or "", entry["digest"]))
            write_atomically(self.directory / "index.json", _pretty(index))
            if afterwards is not None:
                afterwards(gone, kept)

    async def close(self) -> None:
        """Write down which blobs are known; nothing is held open."""
        if not self._writable or not self._memory.changed or not self.exists:
            return
        try:
            with self._locked():
                merged = self._memory.merged(self._read_memory(), lambda name: (self._blobs / name).exists())
                write_atomically(self._memory_file, merged)
        except OSError as error:
            self._progress(Note(f"what was verified could not be remembered ({error.strerror})"))

    def require_space(self, size: int) -> None:
        """Refuse to start what cannot be finished: `size` more bytes must fit on the disk."""
        free = shutil.disk_usage(self._place()).free
        if size > free:
            raise _full(self.directory, f"{_mib(size)} are needed, {_mib(free)} are free")

    def _read_memory(self) -> bytes | None:
        try:
            return self._memory_file.read_bytes()
        except OSError:
            return None  # then blobs are hashed

    @property
    def _memory_file(self) -> Path:
        return self.directory / _PRIVATE / "blobs.json"

    @property
    def _blobs(self) -> Path:
        return self.directory / "blobs" / "sha256"

    def _blob(self, digest: str) -> Path:
        algorithm, _, name = digest.partition(":")
        if algorithm != "sha256" or len(name) != 64 or not name.isalnum():
            raise LayoutError(f"{digest!r} is not a sha256 digest", "check the image")
        return self._blobs / name

    def _verify(self, path: Path) -> bool:
        """Hash a blob that is not known, and remember it when it is whole."""
        started = time.time()
        with _disk(self.directory), path.open("rb", buffering=0) as stream:
            before = os.fstat(stream.fileno())
            whole = _hash_file(stream) == path.name
            after = os.fstat(stream.fileno())
        if whole:
            self._memory.hashed(path.name, before, after, started)
        return whole

    def _refuse_other_folders(self) -> None:
        if self.directory.exists() and not self.directory.is_dir():
            raise BadRequest(f"{self.directory} is a file", "name a folder for the layout")
        if not self.exists and self.directory.is_dir() and any(self.directory.iterdir()):
            # These are what a bake that was killed early leaves.
            started = ("blobs", "index.json", _PRIVATE, ".index.json.", ".oci-layout.")
            if not all(path.name.startswith(started) for path in self.directory.iterdir()):
                raise LayoutError(f"{self.directory} is a folder with other things in it", "name a new folder")

    def _refuse_unwritable_place(self) -> None:
        """Find out before the work, not after it, whether a folder can be made there."""
        try:
            Path(tempfile.mkdtemp(dir=self._place(), prefix=f"{_PRIVATE}-")).rmdir()
        except OSError as error:
            raise LayoutError(
                f"{self.directory} cannot be written: {error.strerror}", "check the folder and its permissions"
            ) from error

    def _place(self) -> Path:
        """The folder, or the nearest one above it that is there."""
        return next(path for path in (self.directory, *self.directory.absolute().parents) if path.is_dir())

    def _make(self) -> None:
        """Make what is missing of an empty layout, once, when something is about to be written."""
        if self._ready:
            return
        self._blobs.mkdir(parents=True, exist_ok=True)
        if not (self.directory / "index.json").exists():
            empty = {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
            write_atomically(self.directory / "index.json", _pretty(empty))
        if not self.exists:
            write_atomically(self.directory / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        self._check(complete=True)
        self._ready = True

    def _check(self, *, complete: bool) -> None:
        marker = self.directory / "oci-layout"
        if not marker.is_file():
            raise LayoutError(f"{self.directory} is not an OCI image layout (no oci-layout file)", "check the path")
        version = _object(marker.read_bytes(), str(marker)).get("imageLayoutVersion")
        if version != "1.0.0":
            raise LayoutError(f"{marker} says version {version!r}, not 1.0.0", "use a layout of version 1.0.0")
        if complete or (self.directory / "index.json").exists():
            self._index()

    def _index(self) -> dict[str, Any]:
        path = self.directory / "index.json"
        if not path.is_file():
            raise LayoutError(f"{path} is missing", "restore the file, or name a new folder")
        index = _object(path.read_bytes(), str(path))
        entries = index.get("manifests")
        if not isinstance(entries, list) or not all(
            isinstance(entry, dict) and isinstance(entry.get("digest"), str) for entry in entries
        ):
            raise LayoutError(f"{path} is not an OCI image index", "restore the file, or name a new folder")
        return index

    @contextmanager
    def _temporary(self) -> Iterator[tuple[Any, Path]]:
        """A locked file beside the blobs; gone afterwards unless it was renamed."""
        folder = self.directory / _PRIVATE / "tmp"
        with _disk(self.directory):
            self._make()
            folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=folder)
        path = Path(name)
        try:
            with os.fdopen(descriptor, "wb", buffering=0) as stream:
                # The lock tells a later run that this file still has a living owner.
                fcntl.flock(stream, fcntl.LOCK_EX)
                yield _FullWrites(stream), path
        finally:
            path.unlink(missing_ok=True)

    def _remove_stale(self) -> None:
        """Delete what a killed bake left behind; a living one holds a lock on its file."""
        for path in (self.directory / _PRIVATE / "tmp").glob("*"):
            try:
                if time.time() - path.stat().st_mtime < _YOUNG_S:
                    continue  # its owner may not have locked it yet
                with path.open("rb") as stream:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
            except (BlockingIOError, FileNotFoundError):
                continue  # in use, or just renamed by its owner

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Two bakes into one layout must not lose each other's tags."""
        folder = self.directory / _PRIVATE
        folder.mkdir(exist_ok=True)
        with (folder / "lock").open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield


class _FullWrites:
    """A raw file whose `write` writes everything (a nearly full disk may take a part first)."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._stream.write(view) :]

    def fileno(self) -> int:
        return int(self._stream.fileno())


def _hash_file(stream: FileIO) -> str:
    return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _disk(directory: Path) -> Iterator[None]:
    """Turn what a disk can answer into one clear line."""
    try:
        yield
    except BakeryError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(directory, "the write stopped half-way") from error
        if error.errno == errno.EFBIG:
            remedy = "make layers smaller with --max-layer-size, or use another file system or limit (ulimit -f)"
            raise LayoutError(f"{directory} takes no file of a layer's size; no tag was changed", remedy) from error
        if error.filename is None and error.errno is None:
            raise
        where = error.filename or directory
        raise LayoutError(f"{where}: {error.strerror}", "check the folder and its permissions") from error


def _full(directory: Path, detail: str) -> DiskFull:
    return DiskFull(
        f"the disk of {directory} is full: {detail}; no tag was changed", "free some space and run the bake again"
    )


def _object(content: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise LayoutError(f"{where} is not valid JSON", "restore the file, or name a new folder") from error
    if not isinstance(value, dict):
        raise LayoutError(f"{where} is not a JSON object", "restore the file, or name a new folder")
    return value


def _tag_of(entry: dict[str, Any]) -> str | None:
    tag = (entry.get("annotations") or {}).get(_REF_NAME)
    return tag if isinstance(tag, str) else None


def _pretty(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
