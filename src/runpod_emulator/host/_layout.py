"""Images in an OCI layout on this machine, read in place: its blobs are never copied into the cache."""

import json
from pathlib import Path

from runpod_emulator.host._documents import (
    MAX_DOCUMENT_BYTES,
    Descriptor,
    Layer,
    check,
    descriptor,
    digest_of,
    parse_object,
)
from runpod_emulator.host._errors import BadImage, BadReference, ImageNotFound
from runpod_emulator.host._references import LayoutReference

_REF_NAME = "org.opencontainers.image.ref.name"


class LayoutSource:
    """One image of one layout. Implements `_documents.Source`."""

    def __init__(self, reference: LayoutReference, image_root: Path | None) -> None:
        self.image = reference.text
        self._reference = reference
        self._folder = reference.path(image_root)

    async def top(self) -> tuple[str, bytes]:
        wanted = self._find()
        return wanted.digest, await self.document(wanted)

    async def document(self, descriptor: Descriptor) -> bytes:
        if descriptor.size > MAX_DOCUMENT_BYTES:
            raise BadImage(self.image, f"document {descriptor.digest} is said to have {descriptor.size} bytes")
        piece = f"document {descriptor.digest}"
        return check(self.image, piece, descriptor.digest, descriptor.size, self._read(descriptor.digest))

    def layer(self, layer: Layer) -> Path:
        """The file that holds the layer; there, inside the layout, and not yet verified."""
        path = self._blob(layer.digest)
        if not path.is_file():
            raise self._missing(layer.digest, layer.full_name)
        return path

    def _find(self) -> Descriptor:
        path = self._folder / "index.json"
        index = parse_object(self.image, f"{self._reference.directory}/index.json", path.read_bytes())
        listed = index.get("manifests")
        if not isinstance(listed, list):
            raise BadImage(self.image, f"{self._reference.directory}/index.json has no list of manifests")
        entries = [descriptor(self.image, raw, "an entry of its index.json") for raw in listed]
        if (digest := self._reference.digest) is not None:
            for entry in entries:
                if entry.digest == digest:
                    return entry
            # The tag has moved on; what was pinned may still be there.
            if self._blob(digest).is_file():
                return Descriptor("", digest, self._blob(digest).stat().st_size, {})
            raise self._missing(digest, f"manifest {digest}")
        for entry in entries:
            annotations = entry.raw.get("annotations")
            if isinstance(annotations, dict) and annotations.get(_REF_NAME) == self._reference.tag:
                return entry
        names = sorted(_names(listed))
        there = f"its layout has {', '.join(names)}" if names else "its layout has no tags"
        raise ImageNotFound(self.image, there, "bake the image with this tag, or name another one")

    def _read(self, digest: str) -> bytes:
        path = self._blob(digest)
        try:
            with path.open("rb") as file:
                content = file.read(MAX_DOCUMENT_BYTES + 1)
        except OSError as error:
            raise self._missing(digest, f"document {digest}") from error
        if len(content) > MAX_DOCUMENT_BYTES:
            raise BadImage(self.image, f"document {digest_of(content)} is larger than {MAX_DOCUMENT_BYTES} bytes")
        return content

    def _blob(self, digest: str) -> Path:
        path = self._folder / "blobs" / "sha256" / digest.removeprefix("sha256:")
        if not path.resolve().is_relative_to(self._folder):
            raise BadReference(self.image, f"blob {digest} of {self._reference.directory} is a link out of the layout")
        return path

    def _missing(self, digest: str, piece: str) -> BadImage:
        return BadImage(self.image, f"{piece} is missing from {self._reference.directory}/blobs ({digest})")


def _names(listed: list[object]) -> set[str]:
    found = set()
    for raw in listed:
        annotations = raw.get("annotations") if isinstance(raw, dict) else None
        name = annotations.get(_REF_NAME) if isinstance(annotations, dict) else None
        if isinstance(name, str):
            found.add(json.dumps(name))
    return found
