"""Is the source still what was baked? A branch of the Hub by its commit, a folder by the content of its files."""

import hashlib
import re
import time
from dataclasses import replace
from pathlib import Path

from weight_bakery._digest_cache import DigestCache
from weight_bakery._errors import BakeryError
from weight_bakery._layers import CHUNK, LayerFile
from weight_bakery._layout import LayoutStore
from weight_bakery._lock import LockedFile, LockEntry
from weight_bakery._open import open_source
from weight_bakery._references import (
    FolderModel,
    HubModel,
    ImageModel,
    LayoutReference,
    ModelReference,
    RegistryReference,
    parse_model,
)
from weight_bakery._request import BakeRequest
from weight_bakery._selection import select
from weight_bakery._sources import Inventory, SourceFile, WeightSource
from weight_bakery._status_words import Finding, StatusRequest, short
from weight_bakery._threads import abandonable

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PAUSE_S = 0.2
_INDEX = ".safetensors.index.json"
_AGAIN = "bake again: layers that did not change are not sent"


async def check_source(
    request: StatusRequest, entry: LockEntry, reference: LayoutReference | RegistryReference
) -> list[Finding]:
    """Compare an entry with its source; whatever goes wrong is a finding."""
    text = entry.source or (entry.model if entry.kind == "hub" else None)
    if text is None:
        return [
            Finding(
                "source", "unknown", f"the lock does not say where the folder {entry.model} is",
                "keep the folder below the lock file's own and bake again, or leave this out: --only registry",
            )
        ]  # fmt: skip
    try:
        model = _beside(parse_model(text, "hub" if entry.kind == "hub" else "auto"), request.lock)
        if isinstance(model, HubModel) and model.revision and _COMMIT.fullmatch(model.revision):
            return [Finding("source", "same", f"pinned to commit {short(model.revision)}")]
        source = await abandonable(lambda: _open(model, text, request))
        try:
            cache = DigestCache(_cache_file(request, reference))
            return [await abandonable(lambda: _compare(entry, text, source, cache))]
        finally:
            source.close()
    except BakeryError as error:
        return [Finding("source", "unknown", error.message, error.remedy)]


def _open(model: ModelReference, text: str, request: StatusRequest) -> WeightSource:
    if isinstance(model, HubModel):
        from weight_bakery._source_hub import HubSource  # huggingface_hub takes a moment to import

        def briefly(seconds: float) -> None:  # somebody waits for the answer, and "not reachable" is one
            time.sleep(min(seconds, _PAUSE_S))

        endpoint, token = request.hub_endpoint, request.hub_token
        return HubSource(model.repository, model.revision, endpoint=endpoint, token=token, sleep=briefly)
    return open_source(model, BakeRequest(model=text, to="", docker_config=request.docker_config))


def _beside(model: ModelReference, lock: Path) -> ModelReference:
    """Folders and layouts stand in a lock file relative to it."""
    if isinstance(model, FolderModel):
        return FolderModel(lock.parent / model.folder)
    if isinstance(model, ImageModel) and isinstance(model.image, LayoutReference):
        return replace(model, image=replace(model.image, directory=lock.parent / model.image.directory))
    return model


def _cache_file(request: StatusRequest, reference: LayoutReference | RegistryReference) -> Path | None:
    """Where the bake remembered the digests of its source."""
    if isinstance(reference, RegistryReference):
        return request.cache
    exists = (reference.directory / "oci-layout").exists()
    return LayoutStore(reference.directory, create=False).cache_file if exists else None


def _compare(entry: LockEntry, text: str, source: WeightSource, cache: DigestCache) -> Finding:
    inventory = source.inventory()
    name, _, branch = text.partition("@")
    where = f"{name} {branch or 'main'}" if inventory.kind == "hub" else entry.model
    if inventory.revision is not None:
        if inventory.revision == entry.revision:
            return Finding("source", "same", f"{where} is still at {short(entry.revision)}")
        changed = _changed(entry, inventory)
        text = f"{where} is at {short(inventory.revision)}, baked from {short(entry.revision)}; {changed}"
        return Finding("source", "differs", text, _AGAIN)
    selected = select(inventory, include=entry.include, exclude=entry.exclude).files
    locked = _as_in_source(entry)
    there = {file.path: file for file in selected if not (entry.resharded and file.path.endswith(_INDEX))}
    common = sorted(locked.keys() & there.keys())
    gone, new = sorted(locked.keys() - there.keys()), sorted(there.keys() - locked.keys())
    other = [path for path in common if there[path].size != locked[path].size]
    undecided = []
    for path in common:
        found = locked[path].sha256 if path in other else _known_sha256(there[path], source, cache)
        if found is None:
            undecided.append(path)
        elif locked[path].sha256 and found != locked[path].sha256:
            other.append(path)
    if not (gone or new or other or undecided):
        return Finding("source", "same", f"{len(locked)} files of {where} are what was baked")
    words = (("changed", sorted(other)), ("new", new), ("gone", gone), ("same size, content not known", undecided))
    said = "; ".join(f"{word}: {_some(paths)}" for word, paths in words if paths)
    if gone or new or other:
        return Finding("source", "differs", f"{where}: {said}", _AGAIN)
    return Finding("source", "unknown", f"{where}: {said}", "a bake reads the files and tells")


def _as_in_source(entry: LockEntry) -> dict[str, LockedFile]:
    """The baked files as the source has them: split files whole, and no index, which is written anew with them."""
    if not entry.resharded:
        return {file.path: file for file in entry.files}
    parts = {part for split in entry.resharded for part in split.parts}
    kept = {file.path: file for file in entry.files if file.path not in parts and not file.path.endswith(_INDEX)}
    return kept | {split.path: LockedFile(split.path, split.size, split.sha256 or "") for split in entry.resharded}


def _changed(entry: LockEntry, inventory: Inventory) -> str:
    """How many of the baked files differ, as far as the new commit's listing says without a download."""
    there = {file.path: file for file in inventory.files}
    files = _as_in_source(entry).values()
    known = [file for file in files if file.path not in there or (file.sha256 and there[file.path].sha256 is not None)]
    changed = [file for file in known if file.path not in there or there[file.path].sha256 != file.sha256]
    return f"{len(changed)} of {len(known)} large files changed"


def _known_sha256(there: SourceFile, source: WeightSource, cache: DigestCache) -> str | None:
    """Digest of a file as far as it can be told without a download."""
    known = cache.file_sha256(LayerFile(there.path, there.size, there.executable, source, there))
    return known or (_sha256(source, there.path) if source.cheap else None)


def _sha256(source: WeightSource, path: str) -> str:
    state = hashlib.sha256()
    with source.open(path) as reader:
        while chunk := reader.read(CHUNK):
            state.update(chunk)
    return state.hexdigest()


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more
