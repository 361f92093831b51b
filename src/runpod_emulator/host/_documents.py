"""OCI documents: index, manifest, config. Read strictly where a mistake could do harm, leniently elsewhere.

Accepted are the OCI and the Docker (schema 2) media types; a document says by its members what it is, so a wrong
Content-Type of a registry does no harm.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from runpod_emulator.host._errors import BadImage, DigestMismatch, ImageNotFound, Unsupported
from runpod_emulator.host._references import DIGEST

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
"""Manifests have at most 4 MiB by the distribution spec; configs of real images have some hundred KiB."""
_MAX_NESTING = 4
_LAYERS: dict[str, Literal["none", "gzip"]] = {
    "application/vnd.oci.image.layer.v1.tar": "none",
    "application/vnd.oci.image.layer.v1.tar+gzip": "gzip",
    "application/vnd.docker.image.rootfs.diff.tar": "none",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
}


@dataclass(frozen=True)
class Descriptor:
    media_type: str
    digest: str
    size: int
    raw: dict[str, Any]


@dataclass(frozen=True)
class Layer:
    number: int
    """1 for the lowest one."""
    of: int
    digest: str
    size: int
    compression: Literal["none", "gzip"]
    diff_id: str

    def __str__(self) -> str:
        return f"layer {self.number}/{self.of} {self.digest[:19]}"

    @property
    def full_name(self) -> str:
        return f"layer {self.number} of {self.of} ({self.digest})"


@dataclass(frozen=True)
class ImageConfig:
    env: tuple[tuple[str, str], ...]
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    working_dir: str
    user: str


@dataclass(frozen=True)
class Image:
    """Everything one must know before a layer moves. `digest` is the manifest's."""

    reference: str
    digest: str
    config_digest: str
    config: ImageConfig
    layers: tuple[Layer, ...]

    @property
    def size(self) -> int:
        return sum(layer.size for layer in self.layers)


class Source(Protocol):
    """Where the documents of one image come from; each is checked against its digest before it is returned."""

    image: str

    async def top(self) -> tuple[str, bytes]:
        """Digest and content of the document that the reference names."""

    async def document(self, descriptor: Descriptor) -> bytes: ...


async def resolve(source: Source) -> Image:
    """Follow the reference to the manifest for linux/amd64 and its config."""
    image = source.image
    digest, content = await source.top()
    document = _parse(image, f"manifest {digest}", content)
    for _ in range(_MAX_NESTING):
        if "manifests" not in document:
            break
        chosen = _for_this_platform(image, document)
        digest, content = chosen.digest, await source.document(chosen)
        document = _parse(image, f"manifest {digest}", content)
    if "layers" not in document or "config" not in document:
        raise Unsupported(image, f"manifest {digest} is no image manifest of OCI or Docker schema 2")
    config_at = descriptor(image, document["config"], f"config in manifest {digest}")
    config = _parse(image, f"config {config_at.digest}", await source.document(config_at))
    return Image(image, digest, config_at.digest, _container(image, config), _layers(image, document, config))


def check(image: str, piece: str, expected: str, size: int, content: bytes) -> bytes:
    """Return `content` if it is what the descriptor said."""
    actual = digest_of(content)
    if actual != expected or len(content) != size:
        raise DigestMismatch(image, piece, f"{expected} ({size} bytes)", f"{actual} ({len(content)} bytes)")
    return content


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor(image: str, raw: Any, where: str) -> Descriptor:
    if isinstance(raw, dict):
        digest, size, media_type = raw.get("digest"), raw.get("size"), raw.get("mediaType", "")
        good = isinstance(digest, str) and DIGEST.fullmatch(digest) and isinstance(media_type, str)
        if good and isinstance(size, int) and not isinstance(size, bool) and size >= 0:
            return Descriptor(media_type, str(digest), size, raw)
    raise BadImage(image, f"{where} is no descriptor with a sha256 digest and a size")


def parse_object(image: str, what: str, content: bytes) -> dict[str, Any]:
    return _parse(image, what, content)


def _parse(image: str, what: str, content: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadImage(image, f"{what} is not valid JSON ({error})") from error
    if not isinstance(parsed, dict):
        raise BadImage(image, f"{what} is not a JSON object")
    return parsed


def _for_this_platform(image: str, index: dict[str, Any]) -> Descriptor:
    listed = index["manifests"]
    if not isinstance(listed, list):
        raise BadImage(image, "its index has no list of manifests")
    found = [descriptor(image, raw, "an entry of its index") for raw in listed]
    platforms = []
    for entry in found:
        platform = entry.raw.get("platform")
        if not isinstance(platform, dict):
            if len(found) == 1:
                return entry
            continue
        system, machine = platform.get("os"), platform.get("architecture")
        if (system, machine) == ("linux", "amd64"):
            return entry
        platforms.append(f"{system}/{machine}")
    there = ", ".join(sorted(set(platforms))) or "none with a platform"
    raise ImageNotFound(image, f"its index has no linux/amd64 (there is: {there})", "build it for linux/amd64")


def _strings(image: str, config: dict[str, Any], key: str) -> tuple[str, ...]:
    value = config.get(key)
    if value is None:
        return ()
    if isinstance(value, list) and all(isinstance(item, str) and "\0" not in item for item in value):
        return tuple(value)
    raise BadImage(image, f"{key} in its config is not a list of strings")


def _string(image: str, config: dict[str, Any], key: str) -> str:
    value = config.get(key)
    if value is None:
        return ""
    if isinstance(value, str) and "\0" not in value:
        return value
    raise BadImage(image, f"{key} in its config is not a string")


def _container(image: str, document: dict[str, Any]) -> ImageConfig:
    system, machine = document.get("os", "linux"), document.get("architecture", "amd64")
    if (system, machine) != ("linux", "amd64"):
        raise Unsupported(image, f"it is built for {system}/{machine}, not for linux/amd64", "build it for linux/amd64")
    config = document.get("config") or {}
    if not isinstance(config, dict):
        raise BadImage(image, "the config in its config document is not an object")
    env = []
    for entry in _strings(image, config, "Env"):
        name, sign, value = entry.partition("=")
        if not name or not sign:
            raise BadImage(image, f"Env entry {name!r} in its config is not NAME=value")
        env.append((name, value))
    return ImageConfig(
        env=tuple(env),
        entrypoint=_strings(image, config, "Entrypoint"),
        cmd=_strings(image, config, "Cmd"),
        working_dir=_string(image, config, "WorkingDir"),
        user=_string(image, config, "User"),
    )


def _layers(image: str, manifest: dict[str, Any], config: dict[str, Any]) -> tuple[Layer, ...]:
    listed, rootfs = manifest["layers"], config.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(listed, list) or not isinstance(diff_ids, list):
        raise BadImage(image, "its manifest has no list of layers or its config no rootfs.diff_ids")
    if len(listed) != len(diff_ids):
        raise BadImage(image, f"its manifest has {len(listed)} layers, its config {len(diff_ids)} diff_ids")
    layers = []
    for number, (raw, diff_id) in enumerate(zip(listed, diff_ids, strict=True), 1):
        entry = descriptor(image, raw, f"layer {number}")
        if not isinstance(diff_id, str) or not DIGEST.fullmatch(diff_id):
            raise BadImage(image, f"diff_id {number} in its config is no sha256 digest")
        compression = _LAYERS.get(entry.media_type)
        if compression is None:
            raise _unreadable(image, number, entry.media_type)
        layers.append(Layer(number, len(listed), entry.digest, entry.size, compression, diff_id))
    return tuple(layers)


def _unreadable(image: str, number: int, media_type: str) -> Unsupported:
    remedy = "push it uncompressed or with gzip"
    if media_type.endswith("zstd"):
        # The standard library reads zstd from Python 3.14 on; the project supports 3.11 to 3.13.
        return Unsupported(image, f"layer {number} is compressed with zstd, which this host does not read", remedy)
    return Unsupported(image, f"layer {number} has media type {media_type!r}, which this host does not read", remedy)
