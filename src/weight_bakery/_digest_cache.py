"""Digests that were computed before, so that baking the same thing again reads (almost) nothing.

Two tables. Files: where a file is and its stamp -> sha256. Layers: content key (see the layer rule) -> layer digest.
Both only ever hold what a whole pass over the bytes has found. The file may be deleted at any time.
"""

import json
import time
from pathlib import Path
from typing import Any

from weight_bakery._files import write_atomically
from weight_bakery._layers import Layer, LayerDigests, LayerFile

_VERSION = 1
_FRESH_NS = 100_000_000
"""A file changed this recently may change again within the same tick of its clock, without a new stamp."""


class DigestCache:
    """The remembered digests, read once and written once per bake."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._files: dict[str, list[str]] = {}
        self._layers: dict[str, str] = {}
        self._changed = False
        self.note: str | None = None
        """Why nothing could be remembered, for showing."""
        if path is not None and path.is_file():
            self._read(path)

    def file_sha256(self, file: LayerFile) -> str | None:
        """Return what is known about a file's content: from its source, or remembered under an equal stamp."""
        if file.origin.sha256 is not None:
            return file.origin.sha256
        stamp = _stamp(file)
        stored = self._files.get(file.source.key(file.origin.path))
        return stored[1] if stored is not None and stamp is not None and stored[0] == stamp else None

    def layer_digest(self, layer: Layer) -> str | None:
        """Return the layer's digest when its files' digests are known and the layer was seen before."""
        key = layer.key(self.known(layer))
        return self._layers.get(key) if key is not None else None

    def known(self, layer: Layer) -> dict[str, str]:
        """Return the known sha256 by path in the image."""
        found = ((file.path, self.file_sha256(file)) for file in layer.files)
        return {path: sha256 for path, sha256 in found if sha256 is not None}

    def learn_layer(self, key: str, digest: str) -> None:
        """Remember a layer's digest by its content key (from a lock file, say)."""
        if self._layers.get(key) != digest:
            self._layers[key] = digest
            self._changed = True

    def learn(self, layer: Layer, digests: LayerDigests, started: float) -> None:
        """Remember what a pass that began at `started` (time.time) found out."""
        key = layer.key(digests.files)
        assert key is not None
        self.learn_layer(key, digests.digest)
        for file in layer.files:
            stamp = _stamp(file)
            if stamp is not None and _settled(stamp, started):
                self._files[file.source.key(file.origin.path)] = [stamp, digests.files[file.path]]
                self._changed = True

    def forget(self, layer: Layer) -> None:
        """Drop what is remembered about a layer and its files."""
        key = layer.key(self.known(layer))
        if key is not None:
            self._layers.pop(key, None)
        for file in layer.files:
            self._files.pop(file.source.key(file.origin.path), None)
        self._changed = True

    def save(self) -> None:
        """Write the cache, if it changed."""
        if self._path is None or not self._changed:
            return
        content = {"version": _VERSION, "files": self._files, "layers": self._layers}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps(content, sort_keys=True).encode())
        self._changed = False

    def _read(self, path: Path) -> None:
        try:
            content: Any = json.loads(path.read_bytes())
            if content["version"] != _VERSION:
                return  # another version's cache; it is rewritten at the end
            files = {str(key): [str(stamp), str(sha256)] for key, (stamp, sha256) in content["files"].items()}
            layers = {str(key): str(digest) for key, digest in content["layers"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            self.note = f"{path} is damaged and will be written anew"
            return
        self._files, self._layers = files, layers


def _stamp(file: LayerFile) -> str | None:
    return file.origin.stamp or (f"git:{file.origin.git_oid}" if file.origin.git_oid else None)


def _settled(stamp: str, started: float) -> bool:
    if stamp.startswith(("git:", "etag:", "blob:")):  # named after the content, not after a moment
        return True
    times = [int(part) for part in stamp.split(":")[3:]]
    # A time from the future (a clock that was set back) tells nothing: do not rely on it.
    return started <= time.time() and all(int(started * 1e9) - value > _FRESH_NS for value in times)
