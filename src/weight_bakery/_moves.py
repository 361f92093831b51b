"""Every layer of a bake on its way: is it there, can it be taken over, or must it be sent? Several at a time."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from weight_bakery._base import BaseImage, BaseLayer
from weight_bakery._blobs import LayerBlob, RemoteBlob
from weight_bakery._built import Built, built_layer
from weight_bakery._digest_cache import DigestCache
from weight_bakery._errors import BakeryError, DigestMismatch, SourceDamaged
from weight_bakery._events import LayerAdvanced, LayerFinished, Note, Outcome, Progress
from weight_bakery._image import BuiltLayer
from weight_bakery._layers import Layer, LayerDigests
from weight_bakery._layout import LayoutStore
from weight_bakery._limits import FETCHES, damaged_shard, places, split_digests
from weight_bakery._lock import LockedCaches, WeightsLock
from weight_bakery._references import ImageReference
from weight_bakery._registry import RegistryStore
from weight_bakery._reshard import Split
from weight_bakery._selection import Selection
from weight_bakery._source_image import held_by
from weight_bakery._sources import Inventory, WeightSource
from weight_bakery._stores import ImageStore
from weight_bakery._threads import Threads
from weight_bakery._turns import Turns

Moved = tuple[BuiltLayer, dict[str, str], Outcome]


@dataclass
class Parts:
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
    caches: tuple[LockedCaches, ...] = ()
    """Start-up caches that were harvested into this target and stay."""


def elsewhere(parts: Parts) -> Mapping[str, list[str]]:
    """Repositories of the target's registry that are known to hold a layer, by the layer's digest."""
    return {**places(parts.locked, parts.target), **held_by(parts.whole_source, parts.target)}


class Mover:
    """Puts the layers of one bake into one store."""

    def __init__(
        self,
        parts: Parts,
        store: ImageStore,
        cache: DigestCache,
        threads: Threads,
        flows: int,
        progress: Progress,
    ) -> None:
        self._parts = parts
        self._store = store
        self._cache = cache
        self._threads = threads
        self._progress = progress
        self._slots = asyncio.Semaphore(flows)
        self._turns = Turns(lambda: parts.source.flow_limit)
        self._elsewhere = elsewhere(parts)
        self.hashed_bytes = 0
        self.sent_bytes = 0

    async def move(self) -> tuple[list[Outcome], list[Built]]:
        """Move everything, several layers at a time; the first failure stops the others."""
        base_layers = self._parts.base.layers if self._parts.base else ()
        try:
            async with asyncio.TaskGroup() as group:
                wholes = group.create_task(
                    split_digests(
                        self._parts.whole_source,
                        self._parts.splits,
                        self._parts.locked,
                        lambda text: self._progress(Note(text)),
                    )
                )
                base = [group.create_task(self._base_layer(i, layer)) for i, layer in enumerate(base_layers)]
                ours = [
                    group.create_task(self._our_layer(i, layer))
                    for i, layer in enumerate(self._parts.layers, start=len(base_layers))
                ]
        except BaseExceptionGroup as failures:
            raise most_telling(failures) from failures
        results = [task.result() for task in ours]
        await self._mend(results, wholes.result(), first=len(base_layers))
        outcomes = [*(task.result() for task in base), *(outcome for _, _, outcome in results)]
        return outcomes, [(layer, sha256s) for layer, sha256s, _ in results]

    async def _mend(self, results: list[Moved], wholes: Mapping[str, str], first: int) -> None:
        """Fetch shards again that are not what the pass over their whole file has found."""
        for left in reversed(range(FETCHES)):
            damaged = {}
            for number, (_, sha256s, _) in enumerate(results):
                path = damaged_shard(wholes, sha256s, f"models/{self._parts.name}")
                if path is not None:
                    damaged[number] = path
                    self._cache.forget(self._parts.layers[number])
            if not damaged:
                return
            if not left:
                raise SourceDamaged(f"{next(iter(damaged.values()))} arrived damaged", "run the bake again")
            for path in damaged.values():
                self._progress(Note(f"{path} arrived damaged: it is fetched again"))
            for number in damaged:
                results[number] = await self._our_layer(first + number, self._parts.layers[number])

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
        self.sent_bytes += layer.size
        return "sent"

    async def _our_layer(self, index: int, layer: Layer) -> Moved:
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
            self.hashed_bytes += layer.size
            if await self._store.has_blob(measured.digest, layer.size):
                return measured.digest, measured.files, "present"
            if await self._mount(measured.digest):
                return measured.digest, measured.files, "mounted"
        digest = await self._send(index, blob)
        self.sent_bytes += layer.size
        if blob.result is not None:
            self._learn(layer, blob.result, begun)
            return digest, blob.result.files, "sent"
        return digest, self._cache.known(layer), "sent"

    async def _send(self, index: int, blob: LayerBlob) -> str:
        """Store a layer; one that its source damaged is fetched from there again, a few times."""
        for left in reversed(range(FETCHES)):
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


def most_telling(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """Of several layers that failed together, report one we can explain; else the first."""
    flat: list[BaseException] = []
    for failure in failures.exceptions:
        flat.append(most_telling(failure) if isinstance(failure, BaseExceptionGroup) else failure)
    return next((failure for failure in flat if isinstance(failure, BakeryError)), flat[0])
