"""Long work on an event loop of its own, so that reading folders and hashing hold up no other call of the engine."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")
_Running = tuple[asyncio.AbstractEventLoop, "asyncio.Task[Any]"]


async def on_own_loop(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Await `work()` in a thread with a loop of its own. Cancelling cancels the work, and waits until it has ended."""
    result: concurrent.futures.Future[Result] = concurrent.futures.Future()
    running: concurrent.futures.Future[_Running] = concurrent.futures.Future()

    async def main() -> Result:
        task = asyncio.current_task()
        assert task is not None
        running.set_result((asyncio.get_running_loop(), task))
        return await work()

    def run() -> None:
        try:
            result.set_result(asyncio.run(main()))
        except asyncio.CancelledError:
            result.cancel()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the waiting side gets it
            result.set_exception(error)

    # A daemon: a read that never returns must not keep the plugin alive.
    threading.Thread(target=run, daemon=True, name="bakery").start()
    ended = asyncio.wrap_future(result)
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        loop, task = await asyncio.wrap_future(running)
        if not result.done():
            loop.call_soon_threadsafe(task.cancel)
            await asyncio.wait({ended})
        raise
