"""Layers of one image that another one takes over: asked for, mounted, or streamed from store to store."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from weight_bakery._base import BaseLayer
from weight_bakery._blobs import RemoteBlob
from weight_bakery._errors import BakeryError
from weight_bakery._events import LayerAdvanced, LayerFinished, Outcome, Progress
from weight_bakery._stores import ImageStore


@dataclass
class Moves:
    """Where layers go, and what moved."""

    store: ImageStore
    progress: Progress
    slots: asyncio.Semaphore
    sent: dict[int, int] = field(default_factory=dict)

    async def one(self, index: int, layer: BaseLayer, source: ImageStore) -> Outcome:
        """See to one layer."""
        async with self.slots:
            outcome = await self._move(index, layer, source)
        self.progress(LayerFinished(index, outcome))
        return outcome

    async def _move(self, index: int, layer: BaseLayer, source: ImageStore) -> Outcome:
        if await self.store.has_blob(layer.digest, layer.size):
            return "present"
        if await self.store.mount_blob(layer.digest, source):
            return "mounted"
        blob = RemoteBlob(layer.digest, layer.size, lambda offset: source.stream_blob(layer.digest, offset))
        await self.store.write_blob(blob, lambda size: self.progress(LayerAdvanced(index, "sending", size)))
        self.sent[index] = layer.size
        return "sent"


async def carry_all(moves: Moves, layers: Sequence[tuple[BaseLayer, ImageStore]]) -> list[Outcome]:
    """See to all layers, several at a time; the first failure stops the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(moves.one(i, layer, source)) for i, (layer, source) in enumerate(layers)]
    except BaseExceptionGroup as failures:
        raise next((error for error in failures.exceptions if isinstance(error, BakeryError)), failures) from failures
    return [task.result() for task in tasks]
