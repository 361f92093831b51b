"""The bake itself: read, plan, put every layer where it belongs, then make the image visible in one last step."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace

from weight_bakery._attach import attest
from weight_bakery._attached import Attached
from weight_bakery._base import BaseImage, BaseLayer, read_base
from weight_bakery._blobs import BytesBlob, LayerBlob, RemoteBlob
from weight_bakery._built import built_layer, known_layers, locked_files
from weight_bakery._checks import check_model
from weight_bakery._digest_cache import DigestCache
from weight_bakery._errors import BakeryError, DigestMismatch, SourceDamaged
from weight_bakery._events import LayerAdvanced, LayerFinished, LayerPlanned, Note, Outcome, Planned, Progress, silent
from weight_bakery._image import BuiltLayer, Document, ModelIdentity, build_config, build_manifest
from weight_bakery._layer_rule import LAYER_RULE
from weight_bakery._layers import Layer, LayerDigests
from weight_bakery._layout import LayoutStore
from weight_bakery._limits import check_sizes, compare_shards, layer_limit, locked_splits, places, split_digests
from weight_bakery._lock import (
    LockedFile,
    LockedLayer,
    LockEntry,
    WeightsLock,
    content_revision,
    lock_source,
    lock_target,
    read_lock,
    update_lock,
)
from weight_bakery._open import mountable, open_source, open_store
from weight_bakery._plan import code_layer, deps_layer, model_layers
from weight_bakery._references import ImageReference, check_name, image_name, parse_image, parse_model, parse_target
from weight_bakery._registry import RegistryStore
from weight_bakery._request import BakePlan, BakeReceipt, BakeRequest, LayerReceipt, PlannedFile, PlannedLayer
from weight_bakery._reshard import Split, reshard
from weight_bakery._selection import Selection, select
from weight_bakery._sources import Inventory, WeightSource
from weight_bakery._stores import ImageStore, StoredManifest
from weight_bakery._threads import Threads, abandonable
from weight_bakery._turns import Turns, notices

_FETCHES = 3
"""A file whose bytes are not what its source promised is fetched so often before the bake gives up."""


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


@dataclass
class _Parts:
    """Everything that was resolved before the first layer moves."""

    target: ImageReference
    source: WeightSource
    inventory: Inventory
    selection: Selection
    name: str
    served_name: str
    base: BaseImage | None
    base_store: ImageStore | None
    layers: list[Layer]
    splits: tuple[Split, ...]
    whole_source: WeightSource
    """The source before files were split."""
    locked: WeightsLock | None


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
        layers = (
            model_layers(selection, source, name, base_layers=len(base.layers) if base else 0, extra=len(workers))
            + workers
        )
        check_sizes(layers, target)
        layout_cache = store.cache_file if isinstance(store, LayoutStore) else None
        cache = DigestCache(request.cache or layout_cache)
        if cache.note:
            progress(Note(cache.note))
        for key, digest in (locked.known_layers() if locked else {}).items():
            cache.learn_layer(key, digest)
        unknown = {file.origin.path for layer in layers if cache.layer_digest(layer) is None for file in layer.files}
        await check_model(selection, source, unknown, threads)
        parts = _Parts(
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
        )
        yield _Job(request, parts, store, cache, threads, progress)
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
        parts: _Parts,
        store: ImageStore | None,
        cache: DigestCache,
        threads: Threads,
        progress: Progress,
    ) -> None:
        self._request = request
        self._parts = parts
        self._store_or_none = store
        self._cache = cache
        self._threads = threads
        self._progress = progress
        self._slots = asyncio.Semaphore(request.flows)
        self._turns = Turns(lambda: parts.source.flow_limit)
        self._elsewhere = places(parts.locked, parts.target)
        self._hashed_bytes = 0
        self._sent_bytes = 0

    @property
    def _store(self) -> ImageStore:
        assert self._store_or_none is not None
        return self._store_or_none

    async def plan(self) -> BakePlan:
        """Describe the bake."""
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
        for layer in parts.layers:
            digest = self._cache.layer_digest(layer)
            present = await self._present(digest, layer.size) if digest else None
            layers.append(PlannedLayer(layer.role, layer.label, layer.size, len(layer.files), digest, present))
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
        )

    async def run(self) -> BakeReceipt:
        """Put every layer in place, then config, manifest, tag and lock entry, in this order."""
        parts = self._parts
        base_layers = parts.base.layers if parts.base else ()
        planned = [
            *(LayerPlanned(i, "base", self._base_label(i + 1), layer.size) for i, layer in enumerate(base_layers)),
            *(
                LayerPlanned(i, layer.role, layer.label, layer.size)
                for i, layer in enumerate(parts.layers, start=len(base_layers))
            ),
        ]
        self._progress(Planned(str(parts.target), tuple(planned)))
        await self._check_space()
        outcomes, built = await self._move_layers(base_layers)
        files, revision, config, manifest = self._documents(built)
        flat = [layer for layer, _ in built]
        entry = self._entry(manifest.digest, revision, files, built)
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
                    planned[len(base_layers) :], flat, outcomes[len(base_layers) :], strict=True
                )
            ),
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
            size=sum(item.size for item in planned),
            sent_bytes=self._sent_bytes,
            hashed_bytes=self._hashed_bytes,
            seconds=0.0,
            attached=attached,
        )

    async def _move_layers(
        self, base_layers: Sequence[BaseLayer]
    ) -> tuple[list[Outcome], list[tuple[BuiltLayer, dict[str, str]]]]:
        """Move everything, several layers at a time; the first failure stops the others."""
        try:
            async with asyncio.TaskGroup() as group:
                wholes = group.create_task(
                    split_digests(self._parts.whole_source, self._parts.splits, self._parts.locked)
                )
                base = [group.create_task(self._base_layer(i, layer)) for i, layer in enumerate(base_layers)]
                ours = [
                    group.create_task(self._our_layer(i, layer))
                    for i, layer in enumerate(self._parts.layers, start=len(base_layers))
                ]
        except BaseExceptionGroup as failures:
            raise _most_telling(failures) from failures
        results = [task.result() for task in ours]
        outcomes = [*(task.result() for task in base), *(outcome for _, _, outcome in results)]
        for layer, (_, sha256s, _) in zip(self._parts.layers, results, strict=True):
            try:
                compare_shards(wholes.result(), sha256s, f"models/{self._parts.name}")
            except SourceDamaged:
                self._cache.forget(layer)
                raise
        return outcomes, [(layer, sha256s) for layer, sha256s, _ in results]

    async def _base_layer(self, index: int, layer: BaseLayer) -> Outcome:
        async with self._slots:
            outcome = await self._move_base_layer(index, layer)
        self._progress(LayerFinished(index, outcome))
        return outcome

    async def _move_base_layer(self, index: int, layer: BaseLayer) -> Outcome:
        source = self._parts.base_store
        assert source is not None
        if await self._store.has_blob(layer.digest, layer.size):
            return "present"
        if await self._store.mount_blob(layer.digest, source):
            return "mounted"
        blob = RemoteBlob(layer.digest, layer.size, lambda offset: source.stream_blob(layer.digest, offset))
        await self._store.write_blob(blob, lambda size: self._progress(LayerAdvanced(index, "sending", size)))
        self._sent_bytes += layer.size
        return "sent"

    async def _our_layer(self, index: int, layer: Layer) -> tuple[BuiltLayer, dict[str, str], Outcome]:
        async with self._slots, self._turns.one():
            try:
                digest, sha256s, outcome = await self._move_our_layer(index, layer)
            except DigestMismatch:
                if self._cache.layer_digest(layer) is None:
                    raise
                # The remembered digest no longer fits the bytes: forget it and look at the bytes again, once.
                self._progress(Note(f"{layer.label}: the remembered digest is wrong, hashing again"))
                self._cache.forget(layer)
                digest, sha256s, outcome = await self._move_our_layer(index, layer)
        self._progress(LayerFinished(index, outcome))
        return built_layer(layer, digest, sha256s), sha256s, outcome

    async def _move_our_layer(self, index: int, layer: Layer) -> tuple[str, dict[str, str], Outcome]:
        digest = self._cache.layer_digest(layer)
        if digest is not None and await self._store.has_blob(digest, layer.size):
            return digest, self._cache.known(layer), "present"
        if digest is not None and await self._mount(digest):
            return digest, self._cache.known(layer), "mounted"
        blob = LayerBlob(layer, self._threads, digest)
        begun = time.time()
        cheap = not any(file.source is self._parts.source for file in layer.files) or self._parts.source.cheap
        if digest is None and cheap and self._store.wants_digest(layer.size):
            measured = await blob.measure(lambda size: self._progress(LayerAdvanced(index, "hashing", size)))
            self._learn(layer, measured, begun)
            self._hashed_bytes += layer.size
            if await self._store.has_blob(measured.digest, layer.size):
                return measured.digest, measured.files, "present"
            if await self._mount(measured.digest):
                return measured.digest, measured.files, "mounted"
        digest = await self._send(index, blob)
        self._sent_bytes += layer.size
        if blob.result is not None:
            self._learn(layer, blob.result, begun)
            return digest, blob.result.files, "sent"
        return digest, self._cache.known(layer), "sent"

    async def _send(self, index: int, blob: LayerBlob) -> str:
        """Store a layer; one that its source damaged is fetched from there again, a few times."""
        for left in reversed(range(_FETCHES)):
            moved = 0

            def advance(size: int) -> None:
                nonlocal moved
                moved += size
                self._progress(LayerAdvanced(index, "sending", size))

            try:
                return await self._store.write_blob(blob, advance)
            except SourceDamaged as damage:
                if not left or self._parts.source.cheap:
                    raise
                advance(-moved)
                self._progress(Note(f"{damage.message}: it is fetched again"))
        raise AssertionError("the last round returns or raises")

    async def _mount(self, digest: str) -> bool:
        """Take a layer over from another repository that the lock file says has it."""
        store = self._store
        if not isinstance(store, RegistryStore):
            return False
        for repository in self._elsewhere.get(digest, ()):
            if await store.mount_from(digest, repository):
                return True
        return False

    def _learn(self, layer: Layer, digests: LayerDigests, begun: float) -> None:
        self._cache.learn(layer, digests, begun)
        # Written down at once: a bake that is killed later knows it when it runs again.
        if not isinstance(self._store, LayoutStore) or self._store.exists:
            with suppress(OSError):  # a note is made of it when the bake ends
                self._cache.save()

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
        flat = [layer for layer, _ in built]
        config = build_config(identity, flat, parts.base)
        return files, revision, config, build_manifest(config, identity, flat, parts.base)

    def _entry(
        self,
        image_digest: str,
        revision: str,
        files: Sequence[LockedFile],
        built: Sequence[tuple[BuiltLayer, dict[str, str]]],
    ) -> LockEntry:
        parts = self._parts
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
            source=lock_source(self._request.model, self._request.lock) if self._request.lock else None,
            base=self._request.base,
            include=self._request.include,
            exclude=self._request.exclude,
            licence=parts.inventory.licence,
            gated=parts.inventory.gated,
            resharded=locked_splits(parts.splits),
        )

    def _base_label(self, number: int) -> str:
        assert self._parts.base is not None
        return f"base layer {number} of {len(self._parts.base.layers)}"


def _most_telling(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Of several layers that failed together, report one we can explain; else the first."""
    flat: list[BaseException] = []
    for failure in failures.exceptions:
        flat.append(_most_telling(failure) if isinstance(failure, BaseExceptionGroup) else failure)
    return next((failure for failure in flat if isinstance(failure, BakeryError)), flat[0])
