"""Taking an image out of a layout, blobs and all, for whoever asked for just that.

A blob goes only if the image that goes was the last one in the layout to need it. What no index entry ever named stays:
another bake may be about to name it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from weight_bakery._errors import LayoutError
from weight_bakery._layout import LayoutStore

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MANIFEST_LIMIT = 64 * 1024 * 1024


def remove_image(directory: Path, tag: str) -> None:
    """Take a tag away, and the blobs that nothing else in the layout needs. No bake may be under way into it.

    Raises LayoutError.
    """

    def prune(gone: list[dict[str, Any]], kept: list[dict[str, Any]]) -> None:
        blobs = directory / "blobs" / "sha256"
        try:
            for digest in _needed(blobs, gone) - _needed(blobs, kept):
                (blobs / digest.removeprefix("sha256:")).unlink(missing_ok=True)
        except ValueError as error:
            # The tag is gone; which blobs others need cannot be told, so all of them stay.
            raise LayoutError(
                f"{tag} was taken out of {directory}, but its layers stay: a manifest there cannot be read ({error})",
                "repair the layout, or delete the folder if nothing in it is needed",
            ) from error

    LayoutStore(directory, create=True).set_tag(tag, [], afterwards=prune)


def _needed(blobs: Path, entries: Iterable[Mapping[str, Any]]) -> set[str]:
    """Digests of everything that index entries lead to. Raises ValueError."""
    found: set[str] = set()
    waiting = [entry.get("digest") for entry in entries]
    while waiting:
        digest = waiting.pop()
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest) or digest in found:
            continue
        found.add(digest)
        path = blobs / digest.removeprefix("sha256:")
        if not path.is_file():
            continue
        if path.stat().st_size > _MANIFEST_LIMIT:
            raise ValueError(f"{digest} is too long for one")
        manifest = json.loads(path.read_bytes())
        if not isinstance(manifest, dict):
            raise ValueError(f"{digest} is none")
        waiting += [item.get("digest") for item in manifest.get("manifests") or () if isinstance(item, dict)]
        leaves = [manifest.get("config"), *(manifest.get("layers") or ())]
        found |= {str(item.get("digest")) for item in leaves if isinstance(item, dict)}
    return {digest for digest in found if _DIGEST.fullmatch(digest)}
