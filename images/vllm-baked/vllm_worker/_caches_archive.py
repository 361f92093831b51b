"""Start-up caches on their way out: one uncompressed tar, written whole or not at all.

`key.json` comes first and says everything: the key, facts beside it, and for each file its path, size, time and
sha256. The contents follow as `files/<sha256>`. The image holds the very same files, so nothing is made up in between.
"""

import hashlib
import io
import json
import os
import re
import secrets
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vllm_worker._caches_key import FORMAT, canonical, key_id

FOLDERS = ("flashinfer", "inductor", "nv", "triton", "vllm")
"""What a cache folder may hold, by whose caches they are."""
_PASSING = re.compile(r".*\.(?:lock|tmp)|.*\.tmp\..*|tmp\.pid_.*|__pycache__")
"""Locks and half-written files."""
_NOT_KEPT = frozenset({"vllm/assets", "vllm/dummy_cache", "vllm/media"})
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CacheFile:
    """A file of the caches."""

    path: str
    size: int
    sha256: str
    executable: bool
    mtime: int


def key_document(key: Mapping[str, Any], facts: Mapping[str, Any], files: tuple[CacheFile, ...]) -> bytes:
    """`key.json`."""
    listed = [
        {"path": file.path, "size": file.size, "sha256": file.sha256, "executable": file.executable,
         "mtime": file.mtime}
        for file in sorted(files, key=lambda file: file.path)
    ]  # fmt: skip
    document = {"format": FORMAT, "id": key_id(key), "key": key, "facts": facts, "files": listed}
    return (canonical(document) + "\n").encode()


def read_key_document(content: bytes) -> tuple[Mapping[str, Any], tuple[CacheFile, ...]]:
    """Read `key.json` of an image. Raises ValueError for what is none, or would lead out of its folder."""
    try:
        document = json.loads(content)
        if document["format"] != FORMAT:
            raise ValueError(f"key.json has the format {document['format']!r}")
        key = document["key"]
        for part, name in (("gpu", "name"), ("software", "vllm"), ("model", "path")):
            if not isinstance(key[part][name], str):
                raise TypeError(name)
        files = tuple(
            CacheFile(str(file["path"]), int(file["size"]), str(file["sha256"]), bool(file["executable"]),
                      int(file["mtime"]))
            for file in document["files"]
        )  # fmt: skip
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"key.json is not what a worker wrote ({error!r})") from error
    for file in files:
        if not plain(file.path) or not _SHA256.fullmatch(file.sha256):
            raise ValueError(f"key.json lists {file.path!r}, which is no file of a cache")
    return key, files


def plain(path: str) -> bool:
    """Whether a path is one that a cache may have: below one of the known folders, and nowhere else."""
    parts = path.split("/")
    return parts[0] in FOLDERS and len(parts) > 1 and not {"", ".", ".."} & set(parts)


def write_archive(root: Path, target: Path, key: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[int, int]:
    """Write the caches below `root` to `target`, which appears whole; returns bytes and number of files.

    Raises OSError, or ValueError when there is nothing to keep.
    """
    files = tuple(_files(root))
    if not files:
        raise ValueError("vLLM wrote none")
    content = key_document(key, facts, files)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with partial.open("xb") as stream:
            with tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as archive:
                archive.addfile(_member("key.json", len(content)), io.BytesIO(content))
                for sha256, file in sorted({file.sha256: file for file in files}.items()):
                    with (root / file.path).open("rb") as reader:
                        archive.addfile(_member(f"files/{sha256}", file.size), reader)
            stream.flush()
            os.fsync(stream.fileno())
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
    return sum(file.size for file in files), len(files)


def _files(root: Path) -> Iterator[CacheFile]:
    for folder, names, files in os.walk(root):
        here = Path(folder).relative_to(root).as_posix()
        names[:] = sorted(name for name in names if not _PASSING.fullmatch(name) and f"{here}/{name}" not in _NOT_KEPT)
        for name in sorted(files):
            path = Path(folder) / name
            relative = path.relative_to(root).as_posix()
            if _PASSING.fullmatch(name) or path.is_symlink() or not path.is_file():
                continue
            if relative.partition("/")[0] not in FOLDERS or "/" not in relative:
                continue
            try:
                yield _describe(path, relative)
            except FileNotFoundError:  # it was somebody's half-written file under a name of its own
                continue


def _describe(path: Path, relative: str) -> CacheFile:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        status = os.fstat(stream.fileno())
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return CacheFile(relative, size, digest.hexdigest(), bool(status.st_mode & 0o100), int(status.st_mtime))


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    return member
