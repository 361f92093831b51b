"""The bake itself: read, plan, put every layer where it belongs, then make the image visible in one last step."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from weight_bakery._attach import attest
from weight_bakery._attached import Attached
from weight_bakery._base import read_base
from weight_bakery._blobs import BytesBlob, LayerBlob
from weight_bakery._built import known_layers, locked_files
from weight_bakery._checks import check_model
from weight_bakery._digest_cache import DigestCache
from weight_bakery._events import LayerFinished, LayerPlanned, Note, Planned, Progress, silent
from weight_bakery._harvest_layers import built_caches, fitting_model, lost_caches, standing_caches, title
from weight_bakery._image import BuiltLayer, Document, ModelIdentity, build_config, build_manifest
from weight_bakery._layer_rule import LAYER_RULE
from weight_bakery._layout import LayoutStore
from weight_bakery._limits import check_sizes, layer_limit, locked_splits
from weight_bakery._lock import (
    LockedCaches,
    LockedFile,
    LockedLayer,
    LockEntry,
    check_lock_place,
    content_revision,
    lock_source,
    lock_target,
    read_lock,
    update_lock,
)
from weight_bakery._moves import Mover, Parts, elsewhere
from weight_bakery._open import mountable, open_source, open_store
from weight_bakery._plan import code_layer, deps_layer, model_layers
from weight_bakery._references import check_name, image_name, parse_image, parse_model, parse_target
from weight_bakery._request import BakePlan, BakeReceipt, BakeRequest, LayerReceipt, PlannedFile, PlannedLayer
from weight_bakery._reshard import reshard
from weight_bakery._selection import select
from weight_bakery._source_image import known_to
from weight_bakery._stores import ImageStore, StoredManifest
from weight_bakery._threads import Threads, abandonable
from weight_bakery._turns import notices


def bake(request: BakeRequest, *, progress: Progress = silent) -> BakeReceipt:
    """Bake a model into an image and return what was done.

    Blocks until the image is visible under its tag; on any failure the tag is what it was before, and layers that
    were finished stay where they are, so the next bake goes on from there. Raises BakeryError. Inside a running event
    loop use `bake_async`.
    """
    return asyncio.run(bake_async(request, progress=progress))


def plan_bake(request: BakeRequest) -> BakePlan:
    """Return what `bake` would do. Reads inventories and asks the target what it has; no payload moves."""
    return asyncio.run(plan_bake_async(request))


async def bake_async(request: BakeRequest, *, progress: Progress = silent) -> BakeReceipt:
    """`bake` for callers that have an event loop. Cancelling it is safe at any moment."""
    started = time.monotonic()
    async with _opened(request, create=True, progress=progress) as job:
        receipt = await job.run()
    return replace(receipt, seconds=round(time.monotonic() - started, 3))


async def plan_bake_async(request: BakeRequest) -> BakePlan:
    """`plan_bake` for callers that have an event loop."""
    async with _opened(request, create=False, progress=silent) as job:
        return await job.plan()


@asynccontextmanager
async def _opened(request: BakeRequest, *, create: bool, progress: Progress) -> AsyncIterator["_Job"]:
    """Resolve a request; closes everything it opened, and keeps what was learned even when the bake fails."""
    target = parse_target(request.to)
    base_reference = parse_image(request.base, option="--base") if request.base else None
    model = parse_model(request.model, request.source)
    if request.name is not None:
        check_name(request.name)
    locked = read_lock(request.lock) if request.lock else None
    workers = ([deps_layer(request.worker_deps)] if request.worker_deps else []) + (
        [code_layer(request.worker_code)] if request.worker_code else []
    )
    notice = notices(progress)
    source = await abandonable(lambda: open_source(model, request, notice))
    store: ImageStore | None = None
    stores: list[ImageStore] = []
    threads = Threads(request.flows)
    cache = DigestCache(None)
    try:
        inventory = await abandonable(source.inventory)
        selection = select(inventory, include=request.include, exclude=request.exclude)
        name = request.name or image_name(inventory.model)
        limit = layer_limit(target, request.max_layer_size)
        fitting = await abandonable(lambda: reshard(selection, source, f"models/{name}", limit, notice))
        selection, whole_source, source = fitting.selection, source, fitting.source
        store = open_store(target, request, target=True, create=create, progress=progress)
        if store is not None:
            stores.append(store)
        base_store = base = None
        if base_reference is not None:
            base_store = open_store(base_reference, request, target=False, create=False, progress=progress)
            assert base_store is not None
            stores.append(base_store)
            wanted = base_reference.digest or base_reference.tag
            base = await read_base(base_store, wanted, str(base_reference))
        named = (request.base, base.digest if base else None)
        caches, told = await standing_caches(locked, target, request.lock, named, name, store)
        for line in told:
            progress(Note(line))
        layers = (
            model_layers(
                selection,
                source,
                name,
                base_layers=len(base.layers) if base else 0,
                extra=len(workers) + len(caches),
                limit=limit,
            )
            + workers
        )
        check_sizes(layers, target)
        layout_cache = store.cache_file if isinstance(store, LayoutStore) else None
        cache = DigestCache(request.cache or layout_cache)
        if cache.note:
            progress(Note(cache.note))
        for key, digest in (locked.known_layers() if locked else {}).items():
            cache.learn_layer(key, digest)
        for key, digest in known_to(whole_source).items():
            cache.learn_layer(key, digest)
        unknown = {file.origin.path for layer in layers if cache.layer_digest(layer) is None for file in layer.files}
        await check_model(selection, source, unknown, threads)
        parts = Parts(
            target=target,
            source=source,
            inventory=inventory,
            selection=selection,
            name=name,
            served_name=request.served_name or inventory.model,
            base=base,
            base_store=base_store,
            layers=layers,
            splits=fitting.splits,
            whole_source=whole_source,
            locked=locked,
            caches=tuple(caches),
        )
        yield _Job(request, parts, store, cache, threads, progress, told)
    finally:
        source.close()
        for opened in stores:
            await opened.close()
        threads.close()
        # A layout that was never begun is not begun for the sake of its memory.
        if create and (request.cache or not isinstance(store, LayoutStore) or store.exists):
            try:
                cache.save()
            except OSError as error:
                progress(Note(f"the digests could not be remembered ({error.strerror})"))


class _Job:
    """One bake of resolved parts into one store."""

    def __init__(
        self,
        request: BakeRequest,
        parts: Parts,
        store: ImageStore | None,
        cache: DigestCache,
        threads: Threads,
        progress: Progress,
        told: Sequence[str],
    ) -> None:
        self._told = told
        self._request = request
        self._parts = parts
        self._store_or_none = store
        self._cache = cache
        self._threads = threads
        self._progress = progress

    @property
    def _store(self) -> ImageStore:
        assert self._store_or_none is not None
        return self._store_or_none

    async def plan(self) -> BakePlan:
        """Describe the bake."""
        await self._look_again()
        parts = self._parts
        chosen = [PlannedFile(file.path, file.size) for file in parts.selection.files]
        left = [PlannedFile(item.file.path, item.file.size, item.reason) for item in parts.selection.left_out]
        layers = [
            PlannedLayer(
                "base",
                self._base_label(number),
                layer.size,
                0,
                layer.digest,
                await self._present(layer.digest, layer.size),
                mountable(self._store_or_none, parts.base_store),
            )
            for number, layer in enumerate(parts.base.layers if parts.base else (), start=1)
        ]
        held = elsewhere(parts)
        for layer in parts.layers:
            digest = self._cache.layer_digest(layer)
            present = await self._present(digest, layer.size) if digest else None
            at_hand = digest in held
            files = len(layer.files)
            layers.append(PlannedLayer(layer.role, layer.label, layer.size, files, digest, present, at_hand))
        layers += [
            PlannedLayer("caches", title(item), item.size, item.files, item.digest, True) for item in parts.caches
        ]
        known = known_layers(parts.layers, self._cache)
        standing = await self._store.read_manifest(parts.target.tag) if self._store_or_none is not None else None
        return BakePlan(
            target=str(parts.target),
            kind=parts.inventory.kind,
            model=parts.inventory.model,
            revision=parts.inventory.revision,
            name=parts.name,
            served_name=parts.served_name,
            base_digest=parts.base.digest if parts.base else None,
            files=tuple(sorted([*chosen, *left], key=lambda file: file.path)),
            layers=tuple(layers),
            licence=parts.inventory.licence,
            gated=parts.inventory.gated,
            digest=None if known is None else self._documents(known)[-1].digest,
            standing=standing.digest if standing else None,
            notes=await self._left_out(known),
        )

    async def _look_again(self) -> None:
        """Read the worker's layers where they alone leave the image's digest unknown.

        Their files are remembered by times that others change too: an installer that links one more environment to its
        cache changes the ctime of every file. Without this a preview would then show an update that is none.
        """
        unknown = [layer for layer in self._parts.layers if self._cache.layer_digest(layer) is None]
        if all(layer.role in ("deps", "code") for layer in unknown):
            for layer in unknown:
                begun = time.time()
                measured = await LayerBlob(layer, self._threads, None).measure(lambda _: None)
                self._cache.learn(layer, measured, begun)

    async def _left_out(self, known: Sequence[tuple[BuiltLayer, dict[str, str]]] | None) -> tuple[str, ...]:
        """A line for each set of caches that the target's image has and this bake would not keep."""
        parts = self._parts
        files = [] if known is None else locked_files(parts.selection.files, parts.name, known)
        other_model = fitting_model(parts.caches, files)[1] if known is not None else []
        lost = (
            await lost_caches(parts.locked, parts.target, self._request.lock, self._store)
            if self._store_or_none
            else []
        )
        return (*self._told, *other_model, *lost)

    async def run(self) -> BakeReceipt:
        """Put every layer in place, then config, manifest, tag and lock entry, in this order."""
        parts = self._parts
        if self._request.lock is not None:
            check_lock_place(self._request.lock)
        base_layers = parts.base.layers if parts.base else ()
        planned = [
            *(LayerPlanned(i, "base", self._base_label(i + 1), layer.size) for i, layer in enumerate(base_layers)),
            *(
                LayerPlanned(i, layer.role, layer.label, layer.size)
                for i, layer in enumerate(parts.layers, start=len(base_layers))
            ),
        ]
        first = len(planned)
        planned += [LayerPlanned(i, "caches", title(item), item.size) for i, item in enumerate(parts.caches, first)]
        self._progress(Planned(str(parts.target), tuple(planned)))
        await self._check_space()
        mover = Mover(parts, self._store, self._cache, self._threads, self._request.flows, self._progress)
        outcomes, built = await mover.move()
        files, revision, config, manifest = self._documents(built)
        flat = [layer for layer, _ in built]
        kept, told = fitting_model(parts.caches, files)
        for line in told:
            self._progress(Note(line))
        for number, _ in enumerate(parts.caches, first):
            self._progress(LayerFinished(number, "present"))
        entry = self._entry(manifest.digest, revision, files, built, kept)
        for line in await lost_caches(parts.locked, parts.target, self._request.lock, self._store):
            self._progress(Note(line))
        attached = await self._publish(config, manifest, entry)
        if self._request.lock is not None:
            update_lock(self._request.lock, lock_target(parts.target, self._request.lock), entry)
        receipts = [
            *(
                LayerReceipt("base", item.label, layer.digest, layer.size, 0, outcome)
                for item, layer, outcome in zip(planned, base_layers, outcomes, strict=False)
            ),
            *(
                LayerReceipt(layer.role, item.label, layer.digest, layer.size, len(layer.paths), outcome)
                for item, layer, outcome in zip(
                    planned[len(base_layers) : first], flat, outcomes[len(base_layers) :], strict=True
                )
            ),
            *(LayerReceipt("caches", title(item), item.digest, item.size, item.files, "present") for item in kept),
        ]
        return BakeReceipt(
            image=f"{parts.target}@{manifest.digest}",
            digest=manifest.digest,
            config_digest=config.digest,
            kind=parts.inventory.kind,
            model=parts.inventory.model,
            revision=revision,
            name=parts.name,
            served_name=parts.served_name,
            base_digest=parts.base.digest if parts.base else None,
            layers=tuple(receipts),
            size=sum(item.size for item in receipts),
            sent_bytes=mover.sent_bytes,
            hashed_bytes=mover.hashed_bytes,
            seconds=0.0,
            attached=attached,
        )

    async def _publish(self, config: Document, manifest: Document, entry: LockEntry) -> tuple[Attached, ...]:
        if not await self._store.has_blob(config.digest, config.size):
            await self._store.write_blob(BytesBlob(config.content), lambda _: None)
        stored = StoredManifest(manifest.media_type, manifest.content, manifest.digest)
        attached = await attest(self._store, stored, entry, self._progress) if self._request.attest else ()
        assert self._parts.target.tag is not None
        await self._store.write_manifest(stored, self._parts.target.tag)
        return attached

    async def _check_space(self) -> None:
        store = self._store
        if not isinstance(store, LayoutStore):
            return
        needed = 0
        base = [(layer.digest, layer.size) for layer in (self._parts.base.layers if self._parts.base else ())]
        ours = [(self._cache.layer_digest(layer), layer.size) for layer in self._parts.layers]
        for digest, size in [*base, *ours]:
            known = digest is not None and await store.has_blob(digest, size)
            if not known and not (digest is None and store.wants_digest(size)):
                needed += size
        store.require_space(needed)

    async def _present(self, digest: str, size: int) -> bool | None:
        return await self._store.has_blob(digest, size) if self._store_or_none is not None else False

    def _documents(
        self, built: Sequence[tuple[BuiltLayer, dict[str, str]]]
    ) -> tuple[list[LockedFile], str, Document, Document]:
        """The model's files, its revision, and the image's config and manifest."""
        parts = self._parts
        files = locked_files(parts.selection.files, parts.name, built)
        revision = parts.inventory.revision or content_revision(files)
        known = parts.inventory
        identity = ModelIdentity(parts.name, parts.served_name, known.model, revision, known.licence, known.gated)
        kept, _ = fitting_model(parts.caches, files)
        flat = [*(layer for layer, _ in built), *(built_caches(item) for item in kept)]
        config = build_config(identity, flat, parts.base)
        return files, revision, config, build_manifest(config, identity, flat, parts.base)

    def _entry(
        self,
        image_digest: str,
        revision: str,
        files: Sequence[LockedFile],
        built: Sequence[tuple[BuiltLayer, dict[str, str]]],
        caches: Sequence[LockedCaches],
    ) -> LockEntry:
        parts, request = self._parts, self._request
        layers = []
        for planned, (layer, sha256s) in zip(parts.layers, built, strict=True):
            content = planned.key(sha256s)
            assert content is not None
            layers.append(LockedLayer(layer.role, layer.digest, layer.size, content))
        return LockEntry(
            kind=parts.inventory.kind,
            model=parts.inventory.model,
            revision=revision,
            name=parts.name,
            served_name=parts.served_name,
            layer_rule=LAYER_RULE,
            files=tuple(files),
            layers=tuple(layers),
            image_digest=image_digest,
            base_digest=parts.base.digest if parts.base else None,
            source=lock_source(request.model, request.lock, request.source) if request.lock else None,
            base=self._request.base,
            include=self._request.include,
            exclude=self._request.exclude,
            licence=parts.inventory.licence,
            gated=parts.inventory.gated,
            resharded=locked_splits(parts.splits),
            caches=tuple(caches),
        )

    def _base_label(self, number: int) -> str:
        assert self._parts.base is not None
        return f"base layer {number} of {len(self._parts.base.layers)}"
