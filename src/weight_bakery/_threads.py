"""Threads for work that blocks, such that an interrupted bake never waits for a network that does not answer.

Reading happens in daemon threads that may be left behind: they only read, so nothing depends on their end. Hashing
happens in an ordinary pool: its jobs are short and never wait.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class DaemonPool(Executor):
    """A thread pool whose threads do not hold up the end of the process."""

    def __init__(self, size: int, name: str) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, daemon=True, name=f"{name}-{number}") for number in range(size)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call in one of the threads."""
        future: Future[T] = Future()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function(*args, **kwargs)
            except BaseException as error:  # noqa: BLE001 - handed over to whoever waits
                future.set_exception(error)
            else:
                future.set_result(result)

        self._jobs.put(job)
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        """Let every thread end after its current job."""
        del cancel_futures  # whoever asked has stopped waiting; a job that still runs only reads
        for _ in self._threads:
            self._jobs.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


class Threads:
    """The two pools of a bake: one for reading, one for hashing."""

    def __init__(self, flows: int) -> None:
        self.readers = DaemonPool(flows, "bakery-read")
        self.hashers = ThreadPoolExecutor(2 * flows, thread_name_prefix="bakery-hash")

    def close(self) -> None:
        """Take no more work. A read that waits for a network ends by itself, without anybody waiting for it."""
        self.readers.shutdown()
        self.hashers.shutdown(wait=False)


async def abandonable(call: Callable[[], T]) -> T:
    """Run a call that only asks in a thread of its own; a caller that is cancelled does not wait for it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(act: Callable[[Any], None], value: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
            loop.call_soon_threadsafe(lambda: None if future.done() else act(value))

    def run() -> None:
        try:
            result = call()
        except Exception as error:  # noqa: BLE001 - handed over to whoever awaits
            deliver(future.set_exception, error)
        else:
            deliver(future.set_result, result)

    threading.Thread(target=run, daemon=True, name="bakery-open").start()
    return await future
