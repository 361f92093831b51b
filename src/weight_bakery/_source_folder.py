"""A model (or package) folder on this machine.

Links are followed only inside the folder, or inside the `blobs` folder of the Hugging Face cache that a snapshot
belongs to. A file that changes while it is read is noticed: size, modification time and inode are compared before and
after. The change time is not: linking a file from elsewhere, as package installers do, sets it too.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weight_bakery._errors import ModelNotFound, SourceChanged, SourceError, UnsafePath
from weight_bakery._licence import CARD, CARD_LIMIT, licence_of
from weight_bakery._sources import Inventory, Reader, SourceFile


class FolderSource:
    """Files below one folder. Hidden files and folders (a leading dot) are not part of it."""

    cheap = True
    flow_limit = None

    def __init__(self, folder: Path, *, option: str = "--model", model: str | None = None) -> None:
        self._option = option
        self._folder = folder
        if not folder.is_dir():
            raise ModelNotFound(f"{option} {str(folder)!r} is not a folder", "check the path")
        self._root = folder.resolve()
        self._model = model or self._root.name
        self._identities: dict[str, str] = {}

    def inventory(self) -> Inventory:
        """Walk the folder; no file is opened but the model's card."""
        files = [self._describe(path) for path in self._walk(self._folder)]
        files.sort(key=lambda file: file.path)
        licence = self._licence() if any(file.path == CARD for file in files) else None
        return Inventory("folder", self._model, None, tuple(files), licence=licence)

    def key(self, path: str) -> str:
        """Absolute path; the stamp tells where a link leads."""
        return f"{self._root}/{path}"

    @contextmanager
    def open(self, path: str, offset: int = 0) -> Iterator[Reader]:
        """Open a file; a change of the file since the inventory, or during the read, raises SourceChanged."""
        full = self._folder / path
        try:
            with full.open("rb", buffering=0) as stream:
                before = _identity(os.fstat(stream.fileno()))
                if before != self._identities.get(path, before):
                    raise self._changed(path)
                stream.seek(offset)
                yield stream
                if _identity(os.fstat(stream.fileno())) != before:
                    raise self._changed(path)
        except FileNotFoundError as error:
            raise SourceChanged(f"{full} disappeared while it was being baked", "run the bake again") from error
        except PermissionError as error:
            raise SourceError(f"{full} cannot be read: permission denied", "change the file's permissions") from error
        except OSError as error:
            raise SourceError(f"{full} cannot be read: {error.strerror}", "check the disk it is on") from error

    def close(self) -> None:
        """Nothing is held open between reads."""

    def _licence(self) -> str | None:
        with self.open(CARD) as card:
            return licence_of(card.read(CARD_LIMIT))

    def _changed(self, path: str) -> SourceChanged:
        return SourceChanged(f"{self._folder / path} changed while it was being baked", "run the bake again")

    def _walk(self, folder: Path) -> Iterator[Path]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except PermissionError as error:
            raise SourceError(f"{folder} cannot be read: permission denied", "change its permissions") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(path)
            else:
                yield path

    def _describe(self, path: Path) -> SourceFile:
        relative = path.relative_to(self._folder).as_posix()
        if path.is_symlink():
            self._check_link(path)
        try:
            status = path.stat()
        except OSError as error:
            raise UnsafePath(f"{path} cannot be read: {error.strerror}", "repair or remove the link") from error
        if stat.S_ISDIR(status.st_mode):
            raise UnsafePath(f"{path} is a link to a folder", "copy the folder's content to its place")
        if not stat.S_ISREG(status.st_mode):
            raise UnsafePath(f"{path} is not a regular file", "remove it from the folder")
        self._identities[relative] = _identity(status)
        return SourceFile(
            relative, status.st_size, stamp=_stamp(status), executable=bool(status.st_mode & stat.S_IXUSR)
        )

    def _check_link(self, path: Path) -> None:
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            raise UnsafePath(f"{path} is a link that leads nowhere", "repair or remove the link") from error
        allowed = [self._root]
        if self._root.parent.name == "snapshots":  # a snapshot of the Hugging Face cache links to ../../blobs
            allowed.append(self._root.parent.parent / "blobs")
        if not any(target.is_relative_to(root) for root in allowed):
            raise UnsafePath(f"{path} is a link that points out of the folder", "put a copy of the file in its place")


def _stamp(status: os.stat_result) -> str:
    return f"{_identity(status)}:{status.st_ctime_ns}"


def _identity(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
