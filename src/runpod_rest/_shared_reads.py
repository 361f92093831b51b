"""Reads of single items that are answered from one list where many are asked for at about the same time.

A refresh reads every resource by itself, many in parallel, and RunPod allows few calls a minute. So a read waits a
moment for company; from the third different item on, one list answers all of them, and those that follow.

How old an answer may be:
- never older than the last write of this client to that kind: a write throws away what was listed before or during it;
- never older than `MAX_AGE_S`. That is long enough for a refresh of a large stack, and there is no other way for an
  old answer to live on: a client lives as long as one run of the engine, so what somebody changed before the run began
  is always seen;
- one list answers for one item once. Who asks again wants to know anew.

An item that is missing in a list is asked for by itself before anybody is told that it is gone: a list may lag behind.
RunPod's lists hold whole items, the same ones that a GET gives (runpod-openapi-v2: each list is of the item's schema).
"""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

MAX_AGE_S = 30.0
GATHER_S = 0.01
"""How long a read waits for company. Calls that an engine makes at once arrive within this."""
LIST_FROM = 3
"""Up to two items are cheaper to get one by one: a list brings the whole account."""


@dataclass
class _Listed:
    begun: float
    items: dict[str, Json]
    told: set[str] = field(default_factory=set)


class SharedReads:
    """One kind of resource. `list_all` and `get_one` ask RunPod."""

    def __init__(
        self,
        clock: Callable[[], float],
        list_all: Callable[[], Awaitable[list[Json]]],
        get_one: Callable[[str], Awaitable[Json]],
    ) -> None:
        self._clock, self._list_all, self._get_one = clock, list_all, get_one
        self._writes = 0
        """Under way."""
        self._era = 0
        """Counts beginnings and ends of writes; nothing asked for in an earlier era is used."""
        self._listed: _Listed | None = None
        self._listing: tuple[int, asyncio.Task[None]] | None = None
        self._asked: dict[str, float] = {}
        self._looked_up: dict[str, tuple[int, float, asyncio.Task[Json]]] = {}

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around every write to this kind: what was read before or meanwhile is not used afterwards."""
        self._writes += 1
        self._next_era()
        try:
            yield
        finally:
            self._writes -= 1
            self._next_era()

    async def read(self, resource_id: str) -> Json:
        """The item as it is now, or NotFound."""
        now = self._clock()
        self._asked = {key: when for key, when in self._asked.items() if now - when < MAX_AGE_S}
        self._asked[resource_id] = now
        await asyncio.sleep(GATHER_S)
        if (found := self._from_list(resource_id)) is not None:
            return found
        if len(self._asked) >= LIST_FROM and not self._writes:
            await self._refill(resource_id)
            if (found := self._from_list(resource_id)) is not None:
                return found
        return await self._get_one(resource_id)

    async def look_up(self, resource_id: str) -> Json:
        """The item, or NotFound. As `read`, but who asks again within `MAX_AGE_S` may get the same answer again."""
        era, begun, task = self._looked_up.get(resource_id, (-1, 0.0, None))
        if task is None or era != self._era or self._writes or self._clock() - begun > MAX_AGE_S or _failed(task):
            task = asyncio.create_task(_fetched(self.read(resource_id)))
            self._looked_up[resource_id] = (self._era, self._clock(), task)
        # One who gives up must not take the answer away from the others.
        return copy.deepcopy(await asyncio.shield(task))

    def _next_era(self) -> None:
        self._era += 1
        self._listed = None
        self._asked.clear()

    def _from_list(self, resource_id: str) -> Json | None:
        listed = self._listed
        if listed is None or self._clock() - listed.begun > MAX_AGE_S or resource_id in listed.told:
            return None
        item = listed.items.get(resource_id)
        if item is not None:
            listed.told.add(resource_id)
        return copy.deepcopy(item)

    async def _refill(self, resource_id: str) -> None:
        """List, unless a list is under way or there that this item has not been told from."""
        listed = self._listed
        if listed is not None and self._clock() - listed.begun <= MAX_AGE_S and resource_id not in listed.told:
            return  # it is missing there
        if self._listing is None or self._listing[0] != self._era or self._listing[1].done():
            self._listing = (self._era, asyncio.create_task(self._list(self._era)))
        await asyncio.shield(self._listing[1])

    async def _list(self, era: int) -> None:
        begun = self._clock()
        items = await self._list_all()
        # Here and not by those who wait: one that comes between this end and their turn must not list again.
        if era == self._era:
            self._listed = _Listed(begun, {str(item.get("id")): item for item in items})


async def _fetched(reading: Awaitable[Json]) -> Json:
    return await reading


def _failed(task: "asyncio.Task[Json]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
