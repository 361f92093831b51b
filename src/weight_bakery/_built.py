"""Layers whose digests are known: after they were moved, or before that where they are remembered."""

from collections.abc import Sequence

from weight_bakery._digest_cache import DigestCache
from weight_bakery._image import BuiltLayer
from weight_bakery._layers import Layer
from weight_bakery._lock import LockedFile
from weight_bakery._sources import SourceFile

Built = tuple[BuiltLayer, dict[str, str]]
"""A layer, and the sha256 of each of its files by its path in the image."""


def built_layer(layer: Layer, digest: str, sha256s: dict[str, str]) -> BuiltLayer:
    """A planned layer with its digest."""
    paths = tuple(file.path for file in layer.files)
    return BuiltLayer(layer.role, digest, layer.size, paths, sha256s[paths[0]] if len(paths) == 1 else None)


def known_layers(layers: Sequence[Layer], cache: DigestCache) -> list[Built] | None:
    """The layers as they will be; None when one of them would have to be read to tell."""
    found = [(layer, cache.layer_digest(layer), cache.known(layer)) for layer in layers]
    if any(digest is None for _, digest, _ in found):
        return None
    return [(built_layer(layer, digest, sha256s), sha256s) for layer, digest, sha256s in found if digest]


def locked_files(chosen: Sequence[SourceFile], name: str, built: Sequence[Built]) -> list[LockedFile]:
    """The model's files with their digests, as the lock keeps them."""
    sha256s: dict[str, str] = {}
    for layer, known in built:
        if layer.role in ("weights", "files"):
            sha256s |= known
    return [LockedFile(file.path, file.size, sha256s[f"models/{name}/{file.path}"]) for file in chosen]
