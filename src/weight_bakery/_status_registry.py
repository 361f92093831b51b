"""Is the image still there, whole, and under its tag? Manifests are read, blobs only asked for."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path

from weight_bakery._attach import attached_to, expected_digests
from weight_bakery._errors import BakeryError, DigestMismatch, LayoutError
from weight_bakery._events import silent
from weight_bakery._harvest_layers import noted_caches, title
from weight_bakery._layout import LayoutStore
from weight_bakery._lock import LockEntry
from weight_bakery._references import LayoutReference, RegistryReference
from weight_bakery._registry import RegistryStore
from weight_bakery._registry_auth import docker_credentials
from weight_bakery._registry_http import RetryPolicy
from weight_bakery._request import Credentials
from weight_bakery._status_words import Finding, StatusRequest, short
from weight_bakery._stores import ImageStore, StoredManifest

_ASKED_AT_ONCE = 8
_QUICK = RetryPolicy(tries=2, first_pause_s=0.2)
"""Somebody waits for the answer, and "cannot be reached" is one."""
_AGAIN = "bake again: only what is missing is sent"


async def check_image(
    request: StatusRequest, entry: LockEntry, reference: LayoutReference | RegistryReference
) -> list[Finding]:
    """Look for an entry's manifest, tag and blobs; whatever goes wrong is a finding."""
    try:
        store = open_to_read(reference, request.credentials, request.docker_config)
        try:
            manifest = await store.read_manifest(entry.image_digest)
            return [
                _manifest(entry, manifest),
                await _tag(entry, reference, store),
                await _blobs(entry, manifest, store),
                *(await _attached(entry, manifest, store)),
                *_caches(manifest),
            ]
        finally:
            await store.close()
    except (LayoutError, DigestMismatch) as error:
        return [Finding("registry", "differs", error.message, error.remedy)]
    except BakeryError as error:
        return [Finding("registry", "unknown", error.message, error.remedy)]


def open_to_read(
    reference: LayoutReference | RegistryReference, credentials: Credentials | None, docker_config: Path | None
) -> LayoutStore | RegistryStore:
    """Open what a reference names, for questions that somebody waits for. Raises BakeryError."""
    if isinstance(reference, LayoutReference):
        return LayoutStore(reference.directory, create=False)
    login = credentials or (docker_credentials(docker_config, reference.host) if docker_config else None)
    return RegistryStore(reference, credentials=login, write=False, progress=silent, policy=_QUICK)


def _manifest(entry: LockEntry, manifest: StoredManifest | None) -> Finding:
    if manifest is None:
        return Finding("registry", "differs", f"manifest {short(entry.image_digest)} is not there", _AGAIN)
    return Finding("registry", "same", f"manifest {short(entry.image_digest)} is there")


async def _tag(entry: LockEntry, reference: LayoutReference | RegistryReference, store: ImageStore) -> Finding:
    tag = reference.tag or "latest"
    found = await store.read_manifest(tag)
    if found is None:
        return Finding("registry", "differs", f"tag {tag} is not there", _AGAIN)
    if found.digest != entry.image_digest:
        return Finding(
            "registry", "differs", f"tag {tag} shows {short(found.digest)}",
            "bake again to bring the tag back, or commit the lock of whoever moved it",
        )  # fmt: skip
    return Finding("registry", "same", f"tag {tag} shows it")


async def _blobs(entry: LockEntry, manifest: StoredManifest | None, store: ImageStore) -> Finding:
    """Ask for every blob that the manifest names; without one, for the layers that the lock names."""
    wanted = dict(_named(manifest) if manifest else ((layer.digest, layer.size) for layer in entry.layers))
    slots = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def there(digest: str, size: int) -> bool:
        async with slots:
            return await store.has_blob(digest, size)

    answers = await asyncio.gather(*(there(digest, size) for digest, size in wanted.items()))
    missing = [digest for digest, answer in zip(wanted, answers, strict=True) if not answer]
    if missing:
        text = (
            f"{len(missing)} of {len(wanted)} blobs are not there: {', '.join(short(digest) for digest in missing[:3])}"
        )
        return Finding("registry", "differs", text, _AGAIN)
    return Finding("registry", "same", f"{len(wanted)} blobs are there")


async def _attached(entry: LockEntry, manifest: StoredManifest | None, store: ImageStore) -> list[Finding]:
    """Bill of materials and provenance: they may have been left out, so without them nothing is wrong."""
    if manifest is None or not isinstance(store, RegistryStore):
        return []
    there = {item.digest for item in await attached_to(store, manifest.digest)}
    if expected_digests(manifest, entry) <= there:
        return [Finding("registry", "same", "bill of materials and provenance are attached")]
    what = f"{len(there)} other documents" if there else "nothing"
    return [Finding("registry", "skipped", f"bill of materials or provenance is not attached ({what} is)")]


def _caches(manifest: StoredManifest | None) -> list[Finding]:
    """Which machines the image starts fast on."""
    if manifest is None:
        return []
    notes = [layer.get("annotations") or {} for layer in json.loads(manifest.content)["layers"]]
    return [Finding("registry", "same", title(item)) for item in noted_caches(notes)]


def _named(manifest: StoredManifest) -> Iterable[tuple[str, int]]:
    content = json.loads(manifest.content)  # its digest is the recorded one: it is the document that we wrote
    return ((item["digest"], item["size"]) for item in (content["config"], *content["layers"]))
