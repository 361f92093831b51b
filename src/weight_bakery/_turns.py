"""Layers take turns when their source asks for fewer flows than the bake was given; and its notices reach the loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from weight_bakery._events import Note, Progress
from weight_bakery._sources import Notice


class Turns:
    """Lets as many layers at once begin as the limit says now. It may fall at any time; those under way go on."""

    def __init__(self, limit: Callable[[], int | None]) -> None:
        self._limit = limit
        self._changed = asyncio.Condition()
        self._active = 0

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a turn, and give it back at the end."""
        async with self._changed:
            await self._changed.wait_for(self._free)
            self._active += 1
        try:
            yield
        finally:
            async with self._changed:
                self._active -= 1
                self._changed.notify_all()

    def _free(self) -> bool:
        limit = self._limit()
        return limit is None or self._active < limit


def notices(progress: Progress) -> Notice:
    """Return a callable that shows a line from any thread, in the event loop that runs now."""
    loop = asyncio.get_running_loop()

    def tell(text: str) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is watching any more
            loop.call_soon_threadsafe(progress, Note(text))

    return tell
