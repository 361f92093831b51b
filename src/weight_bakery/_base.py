"""The image that a bake builds on: read, never unpacked.

Only its config and manifest are edited; its layers move whole, as they are stored.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weight_bakery._errors import BaseImageError
from weight_bakery._media import INDEXES, MANIFESTS, oci_layer_type
from weight_bakery._stores import ImageStore

_CONFIG_LIMIT = 16 * 1024 * 1024
_PLATFORM = ("linux", "amd64")


@dataclass(frozen=True)
class BaseLayer:
    """A layer of the base image, as it is stored."""

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True)
class BaseImage:
    """A base image for linux/amd64."""

    reference: str
    digest: str
    """Digest of the manifest for our platform."""
    config: Mapping[str, Any]
    layers: tuple[BaseLayer, ...]
    diff_ids: tuple[str, ...]
    history: tuple[Mapping[str, Any], ...]


async def read_base(store: ImageStore, target: str | None, name: str, *, option: str = "--base") -> BaseImage:
    """Read the manifest (picking linux/amd64 from an index) and config of an image; `option` is what named it."""
    reference = f"{option} {name}"
    stored = await store.read_manifest(target)
    if stored is None:
        raise BaseImageError(f"{reference} does not exist", "check its name and tag")
    manifest = _object(stored.content, reference)
    for _ in range(2):  # an index may hold an index, but nobody nests deeper
        if not (stored.media_type in INDEXES or "manifests" in manifest):
            break
        stored = await store.read_manifest(_pick(manifest, reference))
        if stored is None:
            raise BaseImageError(f"{reference} names a manifest that is missing", "copy the image again")
        manifest = _object(stored.content, reference)
    if (stored.media_type and stored.media_type not in MANIFESTS) or not isinstance(manifest.get("config"), dict):
        raise BaseImageError(f"{reference} is not an image ({stored.media_type})", "name a container image")
    config = _object(await store.read_blob(str(manifest["config"].get("digest")), _CONFIG_LIMIT), reference)
    if (config.get("os"), config.get("architecture")) != _PLATFORM:
        raise BaseImageError(
            f"{reference} is for {config.get('os')}/{config.get('architecture')}", "use an image for linux/amd64"
        )
    layers = tuple(_layer(entry, reference) for entry in manifest.get("layers") or [])
    diff_ids = tuple(str(diff_id) for diff_id in (config.get("rootfs") or {}).get("diff_ids") or [])
    if len(layers) != len(diff_ids):
        raise BaseImageError(
            f"{reference} has {len(layers)} layers but {len(diff_ids)} diff_ids", "build the base image again"
        )
    return BaseImage(name, stored.digest, config, layers, diff_ids, tuple(config.get("history") or ()))


def _pick(index: Mapping[str, Any], reference: str) -> str:
    found = []
    for entry in index.get("manifests") or []:
        platform = entry.get("platform") or {}
        found.append(f"{platform.get('os')}/{platform.get('architecture')}")
        if (platform.get("os"), platform.get("architecture")) == _PLATFORM:
            return str(entry.get("digest"))
    raise BaseImageError(
        f"{reference} has no linux/amd64 image, only {', '.join(sorted(set(found))) or 'nothing'}",
        "use an image for linux/amd64",
    )


def _layer(entry: Mapping[str, Any], reference: str) -> BaseLayer:
    media_type = oci_layer_type(str(entry.get("mediaType")))
    size = entry.get("size")
    if media_type is None or not isinstance(size, int) or size < 0:
        raise BaseImageError(
            f"{reference} has a layer of type {entry.get('mediaType')!r}, which cannot be carried over",
            "rebuild the base without foreign layers",
        )
    return BaseLayer(media_type, str(entry.get("digest")), size)


def _object(content: bytes, reference: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise BaseImageError(f"{reference}: a manifest or config is not JSON", "copy the image again") from error
    if not isinstance(value, dict):
        raise BaseImageError(f"{reference}: its manifest or config is not an object", "copy the image again")
    return value
