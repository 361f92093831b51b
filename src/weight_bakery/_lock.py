"""The `weights.lock` file: which bytes each baked image holds, and where they came from.

This file is the truth; image labels and the endpoint's model path are derived from it. Writing it twice from the same
inputs gives the same bytes, so it can be committed. It holds no time, no machine's path and no secret. Because it
keeps the digest of every layer by content, a bake on a fresh machine knows from it what a registry already has.
"""

import errno
import fcntl
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from weight_bakery._errors import LayerRuleError, LockError
from weight_bakery._files import write_atomically
from weight_bakery._layer_rule import LAYER_RULE, check_path
from weight_bakery._references import (
    FolderModel,
    ImageModel,
    ImageReference,
    LayoutReference,
    SourceChoice,
    parse_model,
)

LOCK_VERSION = 2
"""Version 2 added where an entry came from in words (`source` to `licence`); a version 1 file is read without them."""
_READABLE = frozenset({1, LOCK_VERSION})
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TRIAL = 64 * 1024
_ABOUT = "Written by vllm-runpod bake. Commit it; do not edit it."
T = TypeVar("T", bound="DataclassInstance")

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class LockedFile:
    """A file of the model, by its path in the source."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class LockedLayer:
    """A layer we made. `content` recognises it without its bytes (see docs/layer-rule.md)."""

    role: str
    digest: str
    size: int
    content: str


@dataclass(frozen=True)
class LockedSplit:
    """A file of the source that was too large for a layer; its parts are among the entry's files."""

    path: str
    size: int
    sha256: str | None
    """What its source says about it."""
    limit: int
    parts: tuple[str, ...]
    rule: int


@dataclass(frozen=True)
class LockedCaches:
    """A layer of start-up caches (see docs/design/weight_bakery-caches.md): for what, and which bytes."""

    id: str
    gpu: str
    vllm: str
    config: str | None
    """sha256 of the config.json that they were made with."""
    digest: str
    size: int
    files: int


@dataclass(frozen=True)
class LockEntry:
    """One baked image."""

    kind: str
    model: str
    revision: str
    name: str
    served_name: str
    layer_rule: int
    files: tuple[LockedFile, ...]
    layers: tuple[LockedLayer, ...]
    image_digest: str
    base_digest: str | None
    source: str | None = None
    """What to give --model again: a Hub id with the branch that was followed, or a folder relative to the lock file.
    None for a folder outside the lock file's own, whose path would be this machine's."""
    base: str | None = None
    """The base image as it was named."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    licence: str | None = None
    """The model's licence as its card says it."""
    gated: str | None = None
    """How the Hub gates the model: "no", "auto" or "manual"; None where the source cannot say."""
    resharded: tuple[LockedSplit, ...] = ()
    """Files that were split (see docs/layer-rule.md)."""
    caches: tuple[LockedCaches, ...] = ()
    """Start-up caches, by their keys' names."""


@dataclass(frozen=True)
class WeightsLock:
    """All baked images, by target."""

    images: Mapping[str, LockEntry]

    def with_entry(self, target: str, entry: LockEntry) -> "WeightsLock":
        """Return a lock in which `target` is `entry`."""
        return replace(self, images={**self.images, target: entry})

    def known_layers(self) -> dict[str, str]:
        """Return layer digests by content key, of entries made with the rule that is in force."""
        entries = (entry for entry in self.images.values() if entry.layer_rule == LAYER_RULE)
        return {layer.content: layer.digest for entry in entries for layer in entry.layers}

    def dump(self) -> bytes:
        """Serialise; sorted throughout."""
        images = {target: asdict(entry) for target, entry in self.images.items()}
        content = {"about": _ABOUT, "images": images, "version": LOCK_VERSION}
        return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def read_lock(path: Path) -> WeightsLock:
    """Read a lock file; a missing one is empty. Damaged, foreign and newer files are refused."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return WeightsLock({})
    except OSError as error:
        raise LockError(f"{path} cannot be read: {error.strerror}", "check the path given to --lock") from error
    remedy = "restore it from version control, or delete it and bake again"
    try:
        content = json.loads(raw)
        if not isinstance(content, dict):
            raise _Damaged("it is no map")
        version = content.get("version")
        if isinstance(version, int) and version > LOCK_VERSION:
            raise LockError(f"{path} was written by a newer version (lock version {version})", "update vllm-runpod")
        if version not in _READABLE:
            raise LockError(f"{path} is not a weights.lock (version {version!r})", "name another file with --lock")
        return WeightsLock(_images(content))
    except (ValueError, RecursionError) as error:
        raise LockError(f"{path} is not valid JSON", remedy) from error
    except _Damaged as error:
        raise LockError(f"{path} is not a weights.lock, or it is damaged ({error})", remedy) from error


def check_lock_place(path: Path) -> None:
    """Refuse a lock file that cannot be written before anything is sent: it is written last."""
    try:
        with _exclusive(path), tempfile.TemporaryFile(dir=path.parent) as trial:
            trial.write(bytes(_TRIAL))
            trial.flush()
            if path.exists() and not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise LockError(f"{path} cannot be written: {error.strerror}", "check the path given to --lock") from error


def update_lock(path: Path, target: str, entry: LockEntry) -> bool:
    """Put `entry` into the file under `target`; False when the file says so already. Safe beside other bakes."""
    try:
        with _exclusive(path):
            current = read_lock(path)
            content = current.with_entry(target, entry).dump()
            if path.is_file() and path.read_bytes() == content:
                return False
            write_atomically(path, content)
            return True
    except OSError as error:
        raise LockError(
            f"the image is whole, but {path} cannot be written: {error.strerror}",
            "mend that and run the same again: nothing is sent twice",
        ) from error


def lock_target(reference: ImageReference, lock: Path) -> str:
    """Name of a target in a lock file: a layout's folder relative to the file, so that every clone says the same."""
    if isinstance(reference, LayoutReference):
        folder = os.path.relpath(reference.directory.resolve(), lock.resolve().parent)
        return str(replace(reference, directory=Path(folder)))
    return str(reference)


def lock_source(text: str, lock: Path, choice: SourceChoice = "auto") -> str | None:
    """What `--model` said, so that every clone can say it again; None for a folder outside the lock file's own."""
    model = parse_model(text, choice)
    if isinstance(model, ImageModel) and isinstance(model.image, LayoutReference):
        return lock_target(model.image, lock) + (f"#{model.path}" if model.path else "")
    if not isinstance(model, FolderModel):
        return text
    folder, root = model.folder.resolve(), lock.resolve().parent
    return f"./{folder.relative_to(root).as_posix()}" if folder.is_relative_to(root) else None


def content_revision(files: Sequence[LockedFile]) -> str:
    """Revision of a source that has no commits: sha256 over `<sha256> <size> <path>` lines, sorted by path."""
    import hashlib

    lines = sorted((file.path, f"{file.sha256} {file.size} {file.path}\n") for file in files)
    return "sha256:" + hashlib.sha256("".join(line for _, line in lines).encode()).hexdigest()


class _Damaged(Exception):
    """What in a lock file is not as a bake writes it."""


def _images(content: Mapping[str, Any]) -> dict[str, LockEntry]:
    images = content.get("images")
    if not isinstance(images, dict):
        raise _Damaged("it has no map of images")
    return {target: _entry(entry, repr(target)) for target, entry in images.items()}


def _entry(value: Any, where: str) -> LockEntry:
    parts = value if isinstance(value, dict) else {}
    entry = _made(
        LockEntry, value, where,
        files=_list(LockedFile, parts, "files", where),
        layers=_list(LockedLayer, parts, "layers", where),
        resharded=_list(LockedSplit, parts, "resharded", where),
        caches=_list(LockedCaches, parts, "caches", where),
        include=tuple(parts.get("include", ())),
        exclude=tuple(parts.get("exclude", ())),
    )  # fmt: skip
    for name in ("kind", "model", "revision", "name", "served_name"):
        if not isinstance(getattr(entry, name), str):
            raise _Damaged(f"{where}: {name} is not a text")
    if not isinstance(entry.layer_rule, int):
        raise _Damaged(f"{where}: layer_rule is not a number")
    digests = [("image_digest", entry.image_digest), ("base_digest", entry.base_digest)]
    digests += [(f"files: sha256 of {file.path}", f"sha256:{file.sha256}") for file in entry.files]
    digests += [("layers: digest", layer.digest) for layer in entry.layers]
    digests += [("caches: digest", caches.digest) for caches in entry.caches]
    for name, digest in digests:
        missing = name == "base_digest" and digest is None
        if not missing and (not isinstance(digest, str) or not _DIGEST.fullmatch(digest)):
            raise _Damaged(f"{where}: {name} is not a sha256")
    sizes = [file.size for file in entry.files] + [layer.size for layer in entry.layers]
    sizes += [split.size for split in entry.resharded] + [caches.size for caches in entry.caches]
    for size in sizes:
        if not isinstance(size, int) or size < 0:
            raise _Damaged(f"{where}: a size is {size!r}")
    for file in entry.files:
        try:
            check_path(file.path)
        except (LayerRuleError, AttributeError, TypeError) as error:
            raise _Damaged(f"{where}: {file.path!r} is not the path of a model's file") from error
    return entry


def _list(kind: type[T], parts: Mapping[str, Any], name: str, where: str) -> tuple[T, ...]:
    values = parts.get(name, [])
    if not isinstance(values, list):
        raise _Damaged(f"{where}: {name} is not a list")
    return tuple(_made(kind, value, f"{where}: {name}[{number}]") for number, value in enumerate(values))


def _made(kind: type[T], value: Any, where: str, **made: Any) -> T:
    """An object of the lock, which has all that it needs and nothing else."""
    if not isinstance(value, dict):
        raise _Damaged(f"{where} is not a map")
    known = {field.name: field.default is MISSING for field in fields(kind)}
    if other := sorted(value.keys() - known.keys()):
        raise _Damaged(f"{where} has {other[0]!r}, which a bake does not write")
    if missing := [name for name, needed in known.items() if needed and name not in value]:
        raise _Damaged(f"{where} has no {missing[0]}")
    lists = {name: tuple(item) for name, item in value.items() if isinstance(item, list)}
    return kind(**{**value, **lists, **made})


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold the folder of the lock file, so that two bakes do not lose each other's entry; leaves no file behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
