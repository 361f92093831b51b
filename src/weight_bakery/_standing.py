"""What stands under a target's tag now, and taking it away. For whoever looks after images that were baked before."""

import asyncio
import re
from enum import Enum

from weight_bakery._events import silent
from weight_bakery._layout_prune import remove_image
from weight_bakery._lock import LockEntry, lock_target, read_lock
from weight_bakery._open import open_store
from weight_bakery._references import (
    CachedModel,
    FolderModel,
    HubModel,
    LayoutReference,
    RegistryReference,
    image_name,
    parse_model,
    parse_target,
)
from weight_bakery._registry_auth import docker_credentials
from weight_bakery._registry_http import RegistryHttp, RetryPolicy
from weight_bakery._request import BakeRequest

_CANNOT = frozenset({400, 404, 405, 501})
"""How registries say that they do not delete this way: by tag, or at all."""


class Removal(Enum):
    """What became of a tag that was to go."""

    REMOVED = "removed"
    NOT_THERE = "not there"
    MOVED = "moved"
    """The tag names another image by now, so it was left alone."""
    NOT_ALLOWED = "not allowed"
    """The registry deletes no images through its API."""


async def standing_digest_async(request: BakeRequest) -> str | None:
    """Digest of the image under the request's target, None where there is none. Raises BakeryError."""
    target = parse_target(request.to)
    if isinstance(target, LayoutReference) and not (target.directory / "oci-layout").exists():
        return None
    store = open_store(target, request, target=True, create=False, progress=silent)
    assert store is not None
    try:
        found = await store.read_manifest(target.tag)
    finally:
        await store.close()
    return found.digest if found else None


async def remove_image_async(request: BakeRequest, digest: str) -> Removal:
    """Take the target's tag away if it still names `digest`; where a registry knows no tags, the manifest.

    Raises BakeryError.
    """
    standing = await standing_digest_async(request)
    if standing is None:
        return Removal.NOT_THERE
    if standing != digest:
        return Removal.MOVED
    target = parse_target(request.to)
    if isinstance(target, LayoutReference):
        assert target.tag is not None
        await asyncio.to_thread(remove_image, target.directory, target.tag)
        return Removal.REMOVED
    return await _remove_from_registry(target, request, digest)


def locked_image(request: BakeRequest) -> LockEntry | None:
    """The lock's entry for the request's target, if it holds the model, and the commit, that the request names.

    Raises BakeryError.
    """
    if request.lock is None:
        return None
    entry = read_lock(request.lock).images.get(lock_target(parse_target(request.to), request.lock))
    if entry is None or request.served_name not in (None, entry.served_name):
        return None
    model = parse_model(request.model, request.source)
    if isinstance(model, FolderModel):
        held = entry.kind == "folder" and entry.name == (request.name or image_name(model.folder.name))
    elif isinstance(model, HubModel | CachedModel):
        commit = model.revision if model.revision and re.fullmatch(r"[0-9a-f]{40}", model.revision) else None
        held = entry.model == model.repository and commit in (None, entry.revision)
    else:
        held = entry.model == request.model
    return entry if held else None


async def _remove_from_registry(target: RegistryReference, request: BakeRequest, digest: str) -> Removal:
    folder = request.docker_config
    login = request.credentials or (docker_credentials(folder, target.host) if folder else None)
    http = RegistryHttp(target, login, RetryPolicy())
    http.auth.want(f"repository:{target.repository}:pull,push,delete")
    try:
        for name in (target.tag, digest):
            ok = frozenset({200, 202, 204, *_CANNOT})
            response, _ = await http.exchange("DELETE", http.url(f"manifests/{name}"), ok=ok, what="to delete the tag")
            if response.status not in _CANNOT:
                return Removal.REMOVED
    finally:
        await http.close()
    return Removal.NOT_ALLOWED
