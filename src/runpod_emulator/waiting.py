"""Wakes everyone who waits for a change. Check the state, then wait, with no `await` between: nothing is missed."""

import asyncio


class Signal:
    """A condition without a lock, for one event loop."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def fire(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def wait(self, timeout_s: float) -> bool:
        """True when fired, False when the time is over."""
        return await wait_any(timeout_s, self)

    def _future(self) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        return future

    def _forget(self, future: asyncio.Future[None]) -> None:
        self._waiting.discard(future)
        future.cancel()


async def wait_any(timeout_s: float, *signals: Signal) -> bool:
    """True as soon as one of the signals fires, False when none did in time."""
    futures = [(signal, signal._future()) for signal in signals]
    try:
        done, _ = await asyncio.wait(
            [future for _, future in futures], timeout=max(0.0, timeout_s), return_when=asyncio.FIRST_COMPLETED
        )
        return bool(done)
    finally:
        for signal, future in futures:
            signal._forget(future)
