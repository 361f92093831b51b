"""The seam between a bake and where images live: an OCI layout on disk, or a repository in a registry."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from weight_bakery._blobs import Blob

Advance = Callable[[int], None]
"""Told how many more bytes have gone; a negative number takes back what a failed try had reported."""


@dataclass(frozen=True)
class StoredManifest:
    """A manifest or index as it is stored."""

    media_type: str
    content: bytes
    digest: str


class ImageStore(Protocol):
    """Reads and writes images. Blobs are immutable and shared; only `write_manifest` makes an image visible."""

    async def read_manifest(self, target: str | None) -> StoredManifest | None:
        """Return what a tag or digest names, None when there is no such thing."""

    async def read_blob(self, digest: str, limit: int) -> bytes:
        """Return a small blob, verified; refuse one that is larger than `limit`."""

    def stream_blob(self, digest: str, offset: int = 0) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream a blob as it is stored, from `offset` on. The caller verifies."""

    async def has_blob(self, digest: str, size: int) -> bool:
        """Whether the blob is already here."""

    def wants_digest(self, size: int) -> bool:
        """Whether knowing the digest of a blob of this size beforehand may save storing it."""

    async def mount_blob(self, digest: str, other: "ImageStore") -> bool:
        """Take over a blob of `other` without moving its bytes; False when that is not possible."""

    async def write_blob(self, blob: Blob, advance: Advance) -> str:
        """Store a blob and return its digest, verified."""

    async def write_manifest(self, manifest: StoredManifest, tag: str) -> None:
        """Make the image visible under `tag`, last of all, and make sure that it is what is there."""

    async def close(self) -> None:
        """Release connections and locks."""
