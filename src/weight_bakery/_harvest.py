"""`bake harvest`: what a worker compiled at its first start becomes a small layer of the image, one for each key.

Config and manifest are edited as a rebase does it; the layers below stay the blobs they are. Caches of other keys stay
beside the new ones, those of the same key are replaced, those of another vLLM are left out with a word. The result does
not depend on the order of harvests.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from weight_bakery._attach import attest
from weight_bakery._baked import Baked, entry_of, label_of, read_baked
from weight_bakery._base import BaseLayer
from weight_bakery._blobs import BytesBlob, LayerBlob
from weight_bakery._carry import Moves, carry_all
from weight_bakery._errors import BadRequest, HarvestError
from weight_bakery._events import (
    LayerAdvanced,
    LayerFinished,
    LayerPlanned,
    Note,
    Outcome,
    Planned,
    Progress,
    silent,
)
from weight_bakery._harvest_checks import check_contents
from weight_bakery._harvest_find import find_caches
from weight_bakery._harvest_layers import (
    built_caches,
    caches_layer,
    caches_of,
    in_order,
    locked_caches,
    title,
)
from weight_bakery._harvest_request import HarvestedCaches, HarvestPlan, HarvestReceipt, HarvestRequest
from weight_bakery._harvest_tree import Caches
from weight_bakery._image import BuiltLayer, Document, build_config, build_manifest
from weight_bakery._layers import Layer, Role
from weight_bakery._layout import LayoutStore
from weight_bakery._lock import LockedCaches, LockEntry, lock_target, read_lock, update_lock
from weight_bakery._media import LAYER
from weight_bakery._open import open_store
from weight_bakery._plan import MAX_LAYERS
from weight_bakery._references import ImageReference, parse_image, parse_target
from weight_bakery._request import BakeRequest
from weight_bakery._stores import ImageStore, StoredManifest
from weight_bakery._threads import Threads, abandonable


def harvest(request: HarvestRequest, *, progress: Progress = silent) -> HarvestReceipt:
    """Harvest and return what was done. Raises BakeryError; inside an event loop use `harvest_async`."""
    return asyncio.run(harvest_async(request, progress=progress))


def plan_harvest(request: HarvestRequest, *, progress: Progress = silent) -> HarvestPlan:
    """Return what `harvest` would do. Caches are read and checked, nothing is written."""
    return asyncio.run(plan_harvest_async(request, progress=progress))


async def harvest_async(request: HarvestRequest, *, progress: Progress = silent) -> HarvestReceipt:
    """`harvest` for callers that have an event loop. The tag changes last, as in a bake."""
    started = time.monotonic()
    async with _opened(request, progress, create=True) as job:
        receipt = await job.run()
    return replace(receipt, seconds=round(time.monotonic() - started, 3))


async def plan_harvest_async(request: HarvestRequest, *, progress: Progress = silent) -> HarvestPlan:
    """`plan_harvest` for callers that have an event loop."""
    async with _opened(request, progress, create=False) as job:
        return await job.plan()


@asynccontextmanager
async def _opened(request: HarvestRequest, progress: Progress, *, create: bool) -> AsyncIterator["_Job"]:
    reference = parse_image(request.image, option="IMAGE")
    if request.to is None and reference.tag is None and reference.digest is not None:
        raise BadRequest(f"IMAGE {reference} names no tag", "say with --to where the result goes")
    target = parse_target(request.to or request.image.partition("@")[0])
    locked = read_lock(request.lock).images if request.lock else {}
    options = BakeRequest(
        model="", to=str(target), credentials=request.credentials, docker_config=request.docker_config
    )
    stores: list[ImageStore] = []
    threads = Threads(request.flows)
    try:
        with tempfile.TemporaryDirectory(prefix="harvest-") as scratch:
            source = open_store(reference, options, target=False, create=False, progress=progress)
            assert source is not None
            stores.append(source)
            baked = await read_baked(source, reference)
            entry = entry_of(locked, reference, request.lock, baked.image.digest) if request.lock else None
            # The volume may be far and silent: a wait for it can be left.
            found = await abandonable(lambda: find_caches(request, Path(scratch), lambda text: progress(Note(text))))
            _check_keys(found, baked, entry, request.max_size)
            store = open_store(target, options, target=True, create=create, progress=progress)
            if store is not None:
                stores.append(store)
            yield _Job(request, reference, target, source, store, baked, entry, found, threads, progress)
    finally:
        for opened in stores:
            await opened.close()
        threads.close()


@dataclass(frozen=True)
class _New:
    """Caches on their way into the image."""

    caches: Caches
    layer: Layer
    blob: LayerBlob
    locked: LockedCaches


@dataclass(frozen=True)
class _Built:
    """The image as it will be."""

    news: tuple[_New, ...]
    kept: tuple[LockedCaches, ...]
    """Caches of other keys."""
    ours: tuple[BuiltLayer, ...]
    notes: tuple[str, ...]
    config: Document
    manifest: Document


class _Job:
    """One harvest, everything about it resolved."""

    def __init__(
        self,
        request: HarvestRequest,
        reference: ImageReference,
        target: ImageReference,
        source: ImageStore,
        store: ImageStore | None,
        baked: Baked,
        entry: LockEntry | None,
        found: Sequence[Caches],
        threads: Threads,
        progress: Progress,
    ) -> None:
        self._request = request
        self._reference = reference
        self._target = target
        self._source = source
        self._store = store
        self._baked = baked
        self._entry = entry
        self._found = found
        self._threads = threads
        self._progress = progress

    async def plan(self) -> HarvestPlan:
        """Read and check the caches, and say what would become of them."""
        built = await self._build({})
        there = [
            self._store is not None and await self._store.has_blob(new.locked.digest, new.layer.size)
            for new in built.news
        ]
        outcomes: list[Outcome | None] = ["present" if present else None for present in there]
        return HarvestPlan(
            str(self._target),
            self._harvested(built, outcomes),
            built.kept,
            built.notes,
            self._baked.image.digest,
            built.manifest.digest,
        )

    async def run(self) -> HarvestReceipt:
        """Put the layers in place, then config, manifest, tag and lock entry, in this order."""
        store = self._store
        assert store is not None
        layers = [caches_layer(caches) for caches in self._found]
        below = self._kept_layers()
        events = [
            *(LayerPlanned(i, role, label, layer.size) for i, (layer, role, label) in enumerate(below)),
            *(LayerPlanned(len(below) + i, "caches", layer.label, layer.size) for i, layer in enumerate(layers)),
        ]
        self._progress(Planned(str(self._target), tuple(events)))
        built = await self._build({id(caches): len(below) + i for i, caches in enumerate(self._found)})
        for note in built.notes:
            self._progress(Note(note))
        await self._check_room(store, below, built.news)
        moves = Moves(store, self._progress, asyncio.Semaphore(self._request.flows))
        await carry_all(moves, [(layer, self._source) for layer, _, _ in below])
        outcomes = [await self._send(store, len(below) + i, new) for i, new in enumerate(built.news)]
        moved = sum(new.layer.size for new, outcome in zip(built.news, outcomes, strict=True) if outcome == "sent")
        await self._publish(store, built)
        weights = sum(moves.sent.values())
        return HarvestReceipt(
            image=f"{self._target}@{built.manifest.digest}",
            digest=built.manifest.digest,
            previous_digest=self._baked.image.digest,
            caches=self._harvested(built, outcomes),
            kept=built.kept,
            sent_bytes=moved + weights,
            weight_bytes=weights,
            seconds=0.0,
        )

    async def _build(self, numbers: Mapping[int, int]) -> _Built:
        """Read all caches once, for secrets and digests, and make the image's documents."""
        news = []
        for caches in self._found:
            number = numbers.get(id(caches))
            await asyncio.to_thread(check_contents, caches)
            layer = caches_layer(caches)
            blob = LayerBlob(layer, self._threads)

            def advance(size: int, number: int | None = number) -> None:
                if number is not None:
                    self._progress(LayerAdvanced(number, "hashing", size))

            measured = await blob.measure(advance)
            news.append(_New(caches, layer, blob, locked_caches(caches, layer, measured.digest)))
        kept, notes = self._kept([new.locked for new in news])
        own = [layer for layer in self._baked.ours if layer.role != "caches"]
        ours = [*own, *(built_caches(item) for item in in_order([*kept, *(new.locked for new in news)]))]
        base = self._baked.below
        count = (len(base.layers) if base else 0) + len(ours)
        if count > MAX_LAYERS:
            raise BadRequest(
                f"{self._reference} would have {count} layers, more than {MAX_LAYERS}",
                "bake it anew on a squashed base, or with fewer layers",
            )
        config = build_config(self._baked.identity, ours, base)
        manifest = build_manifest(config, self._baked.identity, ours, base)
        return _Built(tuple(news), tuple(kept), tuple(ours), tuple(notes), config, manifest)

    def _kept(self, news: Sequence[LockedCaches]) -> tuple[list[LockedCaches], list[str]]:
        """The image's caches that stay; a line for each that does not and is not replaced."""
        replaced = {item.id for item in news}
        versions = {item.vllm for item in news}
        kept, notes = [], []
        for item in caches_of(self._baked.ours):
            if item.id in replaced:
                continue
            if item.vllm in versions:
                kept.append(item)
            else:
                notes.append(f"{title(item)} are left out: the image has vLLM {', '.join(sorted(versions))}")
        return kept, notes

    def _kept_layers(self) -> list[tuple[BaseLayer, Role, str]]:
        """Layers that the image has and keeps, with what to call them."""
        image, ours = self._baked.image, self._baked.ours
        below = image.layers[: len(image.layers) - len(ours)]
        staying = {item.digest for item in self._kept([_as_locked(caches) for caches in self._found])[0]}
        return [
            *((layer, "base", f"base layer {i}") for i, layer in enumerate(below, start=1)),
            *(
                (BaseLayer(LAYER, layer.digest, layer.size), layer.role, label_of(layer))
                for layer in ours
                if layer.role != "caches" or layer.digest in staying
            ),
        ]

    def _harvested(self, built: _Built, outcomes: Sequence[Outcome | None]) -> tuple[HarvestedCaches, ...]:
        before = {item.id: item.digest for item in caches_of(self._baked.ours)}
        return tuple(
            HarvestedCaches(
                new.locked.id, new.locked.gpu, new.locked.vllm, new.caches.key_file.facts.get("driver", ""),
                len(new.caches.key_file.files), new.layer.size, new.locked.digest, outcome,
                before.get(new.locked.id),
            )
            for new, outcome in zip(built.news, outcomes, strict=True)
        )  # fmt: skip

    async def _send(self, store: ImageStore, number: int, new: _New) -> Outcome:
        there = any(layer.digest == new.locked.digest for layer in self._baked.ours)
        outcome: Outcome = "present"
        if not await store.has_blob(new.locked.digest, new.layer.size):
            if there and await store.mount_blob(new.locked.digest, self._source):
                outcome = "mounted"
            else:
                await store.write_blob(new.blob, lambda size: self._progress(LayerAdvanced(number, "sending", size)))
                outcome = "sent"
        self._progress(LayerFinished(number, outcome))
        return outcome

    async def _check_room(
        self, store: ImageStore, below: Sequence[tuple[BaseLayer, Role, str]], news: Sequence[_New]
    ) -> None:
        if not isinstance(store, LayoutStore):
            return
        wanted = [
            *((layer.digest, layer.size) for layer, _, _ in below),
            *((n.locked.digest, n.layer.size) for n in news),
        ]
        missing = [size for digest, size in wanted if not await store.has_blob(digest, size)]
        store.require_space(sum(missing))

    async def _publish(self, store: ImageStore, built: _Built) -> None:
        config, manifest = built.config, built.manifest
        if not await store.has_blob(config.digest, config.size):
            await store.write_blob(BytesBlob(config.content), lambda _: None)
        stored = StoredManifest(manifest.media_type, manifest.content, manifest.digest)
        entry = self._entry
        if entry is not None:
            caches = in_order([*built.kept, *(new.locked for new in built.news)])
            entry = replace(entry, image_digest=manifest.digest, caches=tuple(caches))
            await attest(store, stored, entry, self._progress)
        assert self._target.tag is not None
        await store.write_manifest(stored, self._target.tag)
        if self._request.lock is None:
            return
        if entry is None:
            self._progress(
                Note(
                    f"{self._request.lock} has no entry for {self._reference} with digest"
                    f" {self._baked.image.digest}; left as it is"
                )
            )
        else:
            update_lock(self._request.lock, lock_target(self._target, self._request.lock), entry)


def _as_locked(caches: Caches) -> LockedCaches:
    key = caches.key_file
    return LockedCaches(key.id, key.gpu, key.vllm, key.model_config, "", 0, 0)


def _check_keys(found: Sequence[Caches], baked: Baked, entry: LockEntry | None, max_size: int) -> None:
    """Caches must be of this image's model, of one vLLM, and of keys that differ. Raises HarvestError."""
    path = f"/models/{baked.identity.name}"
    config = next((file.sha256 for file in entry.files if file.path == "config.json"), None) if entry else None
    seen: dict[str, str] = {}
    for caches in found:
        key = caches.key_file
        if key.model_path != path:
            raise HarvestError(
                f"{caches.where} was made with the model {key.model_path}, and the image holds {path}",
                "name the image that the worker ran",
            )
        if config is not None and key.model_config not in (None, config):
            raise HarvestError(
                f"{caches.where} was made with another config.json than the image's",
                "name the image that the worker ran",
            )
        if key.size > max_size:
            raise HarvestError(
                f"{caches.where} holds {key.size} bytes, more than {max_size}", "raise --max-size if that is right"
            )
        if key.id in seen:
            raise HarvestError(f"{caches.where} and {seen[key.id]} are both for the key {key.id}", "give one of them")
        seen[key.id] = caches.where
    versions = sorted({caches.key_file.vllm for caches in found})
    if len(versions) > 1:
        raise HarvestError(
            f"there are caches of vLLM {' and '.join(versions)}, and an image has one vLLM",
            "give only those of the image's version",
        )
