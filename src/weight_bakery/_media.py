"""Media types of the image specification, and Docker's older names for the same bytes."""

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = f"{LAYER}+gzip"
LAYER_ZSTD = f"{LAYER}+zstd"

DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

INDEXES = frozenset({INDEX, DOCKER_INDEX})
MANIFESTS = frozenset({MANIFEST, DOCKER_MANIFEST})
ACCEPT = ", ".join((MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX))

_LAYERS = {
    LAYER: LAYER,
    LAYER_GZIP: LAYER_GZIP,
    LAYER_ZSTD: LAYER_ZSTD,
    _DOCKER_LAYER: LAYER,
    f"{_DOCKER_LAYER}.gzip": LAYER_GZIP,
    f"{_DOCKER_LAYER}.zstd": LAYER_ZSTD,
}


def oci_layer_type(media_type: str) -> str | None:
    """OCI's name for a layer's media type, None when an image cannot simply carry the layer over."""
    return _LAYERS.get(media_type)
