"""From a worker's output pipe to its log: bytes to lines, at the pace of the event loop.

stdout and stderr share one pipe, so their order is the true one. A line's last carriage return wins, as on a
terminal: progress bars become one line each. Invalid UTF-8 is replaced.
"""

import asyncio
import os
from collections.abc import Callable, Sequence

from runpod_emulator.host._log import MAX_LINE

_CHUNK = 64 * 1024
_LONGEST = 4 * (MAX_LINE + 4096)
"""Bytes of one line that are looked at; the rest is dropped until its end."""


class Lines:
    """Cuts a stream of bytes into lines, whatever the pieces it comes in."""

    def __init__(self) -> None:
        self._open = bytearray()

    def feed(self, data: bytes) -> list[str]:
        """The lines that are complete now."""
        *whole, rest = data.split(b"\n")
        lines = []
        for piece in whole:
            self._extend(piece)
            lines.append(self._take())
        self._extend(rest)
        return lines

    def end(self) -> list[str]:
        """What was left without a line end."""
        return [self._take()] if self._open else []

    def _extend(self, piece: bytes) -> None:
        room = _LONGEST - len(self._open)
        if len(piece) > room and b"\r" in piece:  # a progress bar without a line end: only its last state counts
            piece = piece[piece.rstrip(b"\r").rfind(b"\r") + 1 :]
            self._open.clear()
            room = _LONGEST
        self._open += piece[:room]

    def _take(self) -> str:
        shown = self._open.rstrip(b"\r")
        text = bytes(shown[shown.rfind(b"\r") + 1 :]).decode("utf-8", "replace").replace("\0", "\ufffd")
        self._open.clear()
        return text


class Pump:
    """Reads a pipe until its last writer has gone. Owns the descriptor."""

    def __init__(self, descriptor: int, take: Callable[[Sequence[str]], None]) -> None:
        """`take` gets the lines, and once, at the end, none or what was left without a line end."""
        self._descriptor, self._take = descriptor, take
        self._lines = Lines()
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._ready)

    @property
    def is_ended(self) -> bool:
        return self._ended.done()

    async def ended(self, within_s: float) -> None:
        """Wait for the end; after `within_s` stop reading: somebody outside the worker still holds the pipe."""
        await asyncio.wait({self._ended}, timeout=within_s)
        self._close()

    def _ready(self) -> None:
        try:
            data = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return
        if data:
            lines = self._lines.feed(data)
            if lines:
                self._take(lines)
        else:
            self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
            self._ended.set_result(None)
            self._take(self._lines.end())
