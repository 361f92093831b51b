"""Many small events become few pieces: each piece of a job's stream is a request to the platform.

What comes first is passed on at once, since somebody waits for it; later pieces are gathered for a moment, a longer one
the longer the stream is.
"""

import asyncio
from collections.abc import AsyncIterator

AT_ONCE = 2
"""Pieces without a pause between them: vLLM's first event names the role, the second one carries the first token."""
PAUSE_S = 0.05
GROWTH = 1.25
LONGEST_PAUSE_S = 0.25
PIECE_BYTES = 64 * 1024
"""So much goes on at once."""


def pause_s(given: int) -> float:
    """From one piece to the next, when so many have been given."""
    if given < AT_ONCE:
        return 0.0
    # The exponent is bounded: a long stream has many pieces.
    return float(min(PAUSE_S * GROWTH ** min(given - AT_ONCE, 64), LONGEST_PAUSE_S))


async def coalesced(source: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Give what `source` gives, in its order, joined to fewer pieces; its end and its failure are not delayed.

    A pause begins when a piece is handed over, so that the time which the receiver takes counts: a source that is
    slower than the pauses is never held up.
    """
    loop = asyncio.get_running_loop()
    held = bytearray()
    given, due = 0, 0.0
    reading: asyncio.Task[bytes | None] | None = None
    try:
        while True:
            # One that is waited for stays: to cancel it would end the source.
            reading = reading or loop.create_task(_next(source))
            await asyncio.wait({reading}, timeout=max(0.0, due - loop.time()) if held else None)
            if reading.done():
                read, reading = reading, None
                error = read.exception()
                more = None if error is not None else read.result()
                if more is None:
                    if held:
                        yield bytes(held)
                    if error is not None:
                        raise error
                    return
                held += more
                if len(held) < PIECE_BYTES:
                    continue  # what is there already belongs to the same piece
            piece = bytes(held)
            held.clear()
            given, due = given + 1, loop.time() + pause_s(given + 1)
            yield piece
    finally:
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _next(source: AsyncIterator[bytes]) -> bytes | None:
    return await anext(source, None)
