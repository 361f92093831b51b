"""Long work on files, off the event loop, that ends soon after its task is cancelled."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[[threading.Event], T]) -> T:
    """Run `work` in a thread. When the task is cancelled the event is set, and the thread's end is waited for: whoever
    cleans up afterwards finds nobody still writing."""
    stop = threading.Event()
    # A future of the executor, not a task: the end of the event loop cancels tasks, and a thread cannot be cancelled.
    future = asyncio.get_running_loop().run_in_executor(None, work, stop)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({future})
        if not future.cancelled():
            future.exception()
        raise
