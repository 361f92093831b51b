"""Is the source still what was baked? A branch of the Hub by its commit, a folder by the content of its files."""

import hashlib
import re
import time
from dataclasses import replace
from pathlib import Path

from weight_bakery._digest_cache import DigestCache
from weight_bakery._errors import BakeryError, CorruptWeights
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
from weight_bakery._reshard import reshard
from weight_bakery._selection import Selection, select
from weight_bakery._sources import Inventory, Notice, SourceFile, WeightSource, ignore
from weight_bakery._status_words import Finding, StatusRequest, short
from weight_bakery._threads import abandonable

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PAUSE_S = 0.2
_INDEX = ".safetensors.index.json"
_AGAIN = "bake again: layers that did not change are not sent"
_WORTH_A_WORD = 1 << 29
"""Bytes that take a second or more to read and hash."""


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
            hashes = _Hashes(DigestCache(_cache_file(request, reference)), request.notice)
            return [await abandonable(lambda: _compare(entry, text, source, hashes))]
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


def _compare(entry: LockEntry, text: str, source: WeightSource, hashes: "_Hashes") -> Finding:
    inventory = source.inventory()
    name, _, branch = text.partition("@")
    where = f"{name} {branch or 'main'}" if inventory.kind == "hub" else entry.model
    if inventory.revision is not None:
        if inventory.revision == entry.revision:
            return Finding("source", "same", f"{where} is still at {short(entry.revision)}")
        changed = _changed(entry, inventory)
        text = f"{where} is at {short(inventory.revision)}, baked from {short(entry.revision)}; {changed}"
        return Finding("source", "differs", text, _AGAIN)
    selection = select(inventory, include=entry.include, exclude=entry.exclude)
    locked = _as_in_source(entry)
    there = {file.path: file for file in selection.files if not (entry.resharded and file.path.endswith(_INDEX))}
    common = sorted(locked.keys() & there.keys())
    gone, new = sorted(locked.keys() - there.keys()), sorted(there.keys() - locked.keys())
    other = [path for path in common if there[path].size != locked[path].size]
    equal = [path for path in common if path not in other]
    splits = {split.path for split in entry.resharded}
    undecided = []
    for path in equal:
        if path in splits and source.cheap:
            continue  # by its parts, below
        found = hashes.of(there[path], source)
        if found is None or not locked[path].sha256:
            undecided.append(path)
        elif found != locked[path].sha256:
            other.append(path)
    if splits and splits <= set(equal) and source.cheap:
        other += _changed_parts(entry, selection, source, hashes)
    if not (gone or new or other or undecided):
        return Finding("source", "same", f"{len(locked)} files of {where} are what was baked{hashes.told()}")
    words = (("changed", sorted(other)), ("new", new), ("gone", gone), ("same size, content not known", undecided))
    said = "; ".join(f"{word}: {_some(paths)}" for word, paths in words if paths)
    if gone or new or other:
        return Finding("source", "differs", f"{where}: {said}", _AGAIN)
    return Finding("source", "unknown", f"{where}: {said}", "a bake reads the files and tells")


def _changed_parts(entry: LockEntry, selection: Selection, source: WeightSource, hashes: "_Hashes") -> list[str]:
    """Files of the source whose parts, split as the bake split them, are not those that were baked."""
    try:
        fitting = reshard(selection, source, f"models/{entry.name}", entry.resharded[0].limit, ignore)
    except CorruptWeights:
        return sorted(split.path for split in entry.resharded)
    whole = {shard.path: split.original.path for split in fitting.splits for shard in split.shards}
    whole |= {part: split.path for split in entry.resharded for part in split.parts}
    baked = {file.path: file for file in entry.files if file.path in whole or file.path.endswith(_INDEX)}
    found = {file.path: file for file in fitting.selection.files if file.path in whole or file.path.endswith(_INDEX)}
    changed = {whole.get(path, path) for path in baked.keys() ^ found.keys()}
    for path in sorted(baked.keys() & found.keys()):
        if whole.get(path, path) in changed:
            continue
        if baked[path].size != found[path].size or hashes.of(found[path], fitting.source) != baked[path].sha256:
            changed.add(whole.get(path, path))
    return sorted(changed)


class _Hashes:
    """Digests of a source's files: promised, remembered, or read where reading is cheap. Says how long that took."""

    def __init__(self, cache: DigestCache, notice: Notice) -> None:
        self._cache = cache
        self._notice = notice
        self._read = 0
        self._seconds = 0.0

    def of(self, file: SourceFile, source: WeightSource) -> str | None:
        """Digest of a file as far as it can be told without a download."""
        known = self._cache.file_sha256(LayerFile(file.path, file.size, file.executable, source, file))
        if known is not None or not source.cheap:
            return known
        if file.size >= _WORTH_A_WORD:
            rate = f", about {file.size / self._read * self._seconds:.0f} s" if self._read else ""
            self._notice(f"{file.path}: reading {_gib(file.size)}, of which no digest is remembered{rate}")
        begun = time.monotonic()
        sha256 = _sha256(source, file.path)
        self._seconds += time.monotonic() - begun
        self._read += file.size
        return sha256

    def told(self) -> str:
        """How much had to be read, where that is worth a word."""
        if self._read < _WORTH_A_WORD:
            return ""
        return f" ({_gib(self._read)} read in {self._seconds:.0f} s, since no digest was remembered)"


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


def _sha256(source: WeightSource, path: str) -> str:
    state = hashlib.sha256()
    with source.open(path) as reader:
        while chunk := reader.read(CHUNK):
            state.update(chunk)
    return state.hexdigest()


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(paths[:3]) + more
