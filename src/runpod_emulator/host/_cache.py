"""The host's cache below <state>/cache: content-addressed, filled by rename, so what is there is complete.

    blobs/sha256/<hex>      manifests, configs, and layers of registries until they are unpacked
    layers/<hex>/           unpacked layers by diff_id (see `_unpack`)
    roots/<hex>/rootfs      an image's root by manifest digest (see `_tree`); image.json beside it
    verified.json           blobs of local layouts that were hashed: their identity on disk -> digest
    tmp/                    what is being made; emptied when the emulator starts

A kill at any point leaves complete things and rubbish in tmp/. After a power cut files may be short: their sizes are
compared whenever a root is made from a layer, and the layer is then unpacked again.
"""

import json
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runpod_emulator.host._documents import Image, digest_of
from runpod_emulator.host._errors import disk_errors
from runpod_emulator.host._tree import remove_tree

_VERIFIED_LIMIT = 4096


@dataclass(frozen=True)
class Pruned:
    images: int
    layers: int
    blobs: int


@dataclass(frozen=True)
class Kept:
    """A root in the cache."""

    digest: str
    used_at: float
    layers: tuple[str, ...]
    documents: tuple[str, ...]


class Cache:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._verified: dict[str, str] | None = None

    def blob(self, digest: str) -> Path:
        return self.folder / "blobs" / "sha256" / _hex(digest)

    def layer(self, diff_id: str) -> Path:
        return self.folder / "layers" / _hex(diff_id)

    def image(self, digest: str) -> Path:
        return self.folder / "roots" / _hex(digest)

    def rootfs(self, digest: str) -> Path:
        return self.image(digest) / "rootfs"

    def has_root(self, digest: str) -> bool:
        return (self.image(digest) / "image.json").is_file()

    @contextmanager
    def making(self, target: Path) -> Iterator[Path]:
        """A fresh folder that becomes `target` when the block succeeds, and vanishes when it does not."""
        with disk_errors(self.folder):
            for folder in (self.folder / "tmp", target.parent):
                folder.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(dir=self.folder / "tmp"))
        try:
            yield fresh
            with disk_errors(target):
                if not target.exists():  # else another pull was faster; content-addressed, so equal
                    fresh.rename(target)
        finally:
            remove_tree(fresh)

    @contextmanager
    def making_file(self, target: Path) -> Iterator[Path]:
        """A fresh empty file that becomes `target` when the block succeeds, and vanishes when it does not."""
        with disk_errors(self.folder):
            for folder in (self.folder / "tmp", target.parent):
                folder.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self.folder / "tmp")
            os.close(descriptor)
        fresh = Path(name)
        try:
            yield fresh
            with disk_errors(target):
                fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)

    def keep_document(self, content: bytes) -> None:
        """Store a manifest or config under its digest."""
        digest = digest_of(content)
        target = self.blob(digest)
        if self.document(digest) is None:
            self.write(target, content)

    def document(self, digest: str) -> bytes | None:
        """A stored manifest or config, checked again; None when it is not there or not what it was."""
        try:
            content = self.blob(digest).read_bytes()
        except OSError:
            return None
        return content if digest_of(content) == digest else None

    def write(self, target: Path, content: bytes) -> None:
        """Replace `target` at once: readers see the old or the new content, whole."""
        with self.making_file(target) as fresh, disk_errors(fresh):
            fresh.write_bytes(content)

    def record_root(self, folder: Path, image: Image) -> None:
        """Describe a root that is about to be moved into place; its file's time says when it was last used."""
        about = {
            "reference": image.reference,
            "digest": image.digest,
            "config": image.config_digest,
            "layers": [
                {"digest": layer.digest, "diff_id": layer.diff_id, "size": layer.size} for layer in image.layers
            ],
        }
        with disk_errors(folder):
            (folder / "image.json").write_text(json.dumps(about, indent=1), encoding="utf-8")

    def touch(self, digest: str) -> None:
        with disk_errors(self.folder):
            os.utime(self.image(digest) / "image.json")

    def was_verified(self, path: Path, digest: str) -> bool:
        """Whether this very file, unchanged since, was hashed before and had this digest."""
        return self._known().get(_identity(path)) == digest

    def remember_verified(self, path: Path, digest: str, identity: str) -> None:
        """`identity` is from before the file was read: one that was changed meanwhile is hashed again."""
        known = self._known()
        if identity != _identity(path) or known.get(identity) == digest:
            return
        known[identity] = digest
        for oldest in list(known)[: max(0, len(known) - _VERIFIED_LIMIT)]:
            del known[oldest]
        self.write(self.folder / "verified.json", json.dumps(known).encode())

    identity = staticmethod(lambda path: _identity(path))

    def _known(self) -> dict[str, str]:
        if self._verified is None:
            try:
                found = json.loads((self.folder / "verified.json").read_bytes())
            except (OSError, ValueError):
                found = {}  # it only saves time
            self._verified = found if isinstance(found, dict) else {}
        return self._verified

    def clear_tmp(self) -> None:
        with disk_errors(self.folder):
            remove_tree(self.folder / "tmp")

    def images(self) -> list[Kept]:
        """Every root, the last used first."""
        found = []
        for about in (self.folder / "roots").glob("*/image.json"):
            try:
                used, document = about.stat().st_mtime, json.loads(about.read_bytes())
                layers = tuple(_hex(layer["diff_id"]) for layer in document["layers"])
                found.append(
                    Kept(document["digest"], used, layers, (_hex(document["digest"]), _hex(document["config"])))
                )
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                found.append(Kept(f"sha256:{about.parent.name}", 0.0, (), ()))
        return sorted(found, key=lambda image: image.used_at, reverse=True)

    def prune(self, keep: Collection[str]) -> Pruned:
        """Remove every root whose image digest is not in `keep`, and every layer and blob that only those needed."""
        before = self.images()
        kept = [image for image in before if image.digest in keep]
        layers = {name for image in kept for name in image.layers}
        blobs = {name for image in kept for name in image.documents}
        with disk_errors(self.folder):
            return Pruned(
                images=self._discard_others(self.folder / "roots", {_hex(image.digest) for image in kept}),
                layers=self._discard_others(self.folder / "layers", layers),
                blobs=self._discard_others(self.folder / "blobs" / "sha256", blobs),
            )

    def _discard_others(self, folder: Path, keep: Collection[str]) -> int:
        others = [child for child in folder.iterdir() if child.name not in keep] if folder.is_dir() else []
        for other in others:
            self._discard(other)
        return len(others)

    def discard_layer(self, folder: Path) -> None:
        with disk_errors(self.folder):
            self._discard(folder)

    def _discard(self, folder: Path) -> None:
        """Move away first: a half-removed folder must not look complete."""
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        away = Path(tempfile.mkdtemp(dir=self.folder / "tmp"))
        try:
            folder.rename(away / "gone")
        except FileNotFoundError:
            pass
        finally:
            remove_tree(away)


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")


def _identity(path: Path) -> str:
    found = path.stat()
    # The change time, unlike the modification time, cannot be set back by whoever alters a byte.
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"
