"""Writing files so that a reader, or a power cut, sees the old content or the new, never half of either."""

import os
import shutil
import tempfile
from pathlib import Path

from pulumi_embedded._errors import BackendError


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write beside, fsync, rename, fsync the folder. BackendError names the file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.replace(name, path)  # noqa: PTH105 - both are names already
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise BackendError(f"cannot write {path}: {error.strerror}") from error


def keep_as(path: Path, backup: Path) -> None:
    """Give a file a second name, replacing what had it. They share their content: files here are never edited."""
    new = backup.with_name(f".{backup.name}.{os.getpid()}")
    try:
        new.unlink(missing_ok=True)
        new.hardlink_to(path)
        os.replace(new, backup)  # noqa: PTH105
    except OSError:
        # A file system without hard links, or one that counts them out.
        try:
            shutil.copyfile(path, backup)
        except OSError as error:
            raise BackendError(f"cannot write {backup}: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
