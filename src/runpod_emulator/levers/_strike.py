"""Acting out a fault, where a network and RunPod's edge would do it: before size, key, budget and handler.

So a struck request needs no valid key, and costs the account's budget nothing unless it goes on to the service
(latency, reset after, truncate). Nothing below /_emulator/ is ever struck.
"""

import asyncio
import json
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web

from runpod_emulator.context import PEEKED
from runpod_emulator.control.problem import CONTENT_TYPE, Problem
from runpod_emulator.guard import EDGE_REFUSAL
from runpod_emulator.levers._faults import FaultBook
from runpod_emulator.model import Json

log = logging.getLogger("runpod_emulator")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PREFIX = "/_emulator/"
FAULTS: web.AppKey[FaultBook] = web.AppKey("runpod_emulator.faults", FaultBook)
_RESET: web.RequestKey[bool] = web.RequestKey("runpod_emulator.reset_after", bool)
_NOBODY_LISTENS = 499
"""For our own log: the connection is gone before this status could be sent."""


@web.middleware
async def strike(request: web.Request, handler: Handler) -> web.StreamResponse:
    book = request.app[FAULTS]
    if not book.rules or request.path.startswith(PREFIX):
        return await handler(request)
    name = await _name(request) if book.wants_name(request.method, request.path) else None
    pause_after_s = 0.0
    for rule in book.strike(request.method, request.path, name):
        fault = rule.fault
        log.info("%s %s: %s (%s)", request.method, request.path, _describe(fault), rule.id)
        match fault["kind"]:
            case "latency" if fault.get("when", "before") == "before":
                await asyncio.sleep(fault["seconds"])  # of the real clock: it is the network that is slow
            case "latency":
                pause_after_s += fault["seconds"]
            case "reset" if fault["when"] == "before":
                _reset(request)
                return web.Response(status=_NOBODY_LISTENS)
            case "reset":
                request[_RESET] = True
            case "truncate":
                _cut_after(request, int(fault["after_bytes"]))
            case "edge":
                return web.Response(status=403, text=EDGE_REFUSAL)
            case _:
                return refusal(fault)
    try:
        response = await handler(request)
    except (Problem, web.HTTPException):  # an answer too, which is shaped further out
        await asyncio.sleep(pause_after_s)
        raise
    except ConnectionResetError:
        if request.get(_RESET):  # a handler that sends its answer itself met the fault
            return web.Response(status=_NOBODY_LISTENS)
        raise
    await asyncio.sleep(pause_after_s)
    return response


async def before_answering(request: web.Request, _response: web.StreamResponse) -> None:
    """The server has acted and is about to send the first byte: the moment of a reset "after"."""
    if request.get(_RESET):
        _reset(request)
        raise ConnectionResetError("reset on request of a fault")


def refusal(fault: Json) -> web.Response:
    """The answer of a "status" fault. `bare`: no body at all, as was seen (runpod-api-live.md §3, Edge)."""
    status: int = int(fault["status"])
    headers = {}
    if fault.get("retry_after") is not None:
        headers[hdrs.RETRY_AFTER] = str(int(fault["retry_after"]))
    if fault.get("bare"):
        return web.Response(status=status, headers=headers)
    title = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown Error"
    detail = "rate limit exceeded for the minute window" if status == 429 else f"{title.lower()}, asked for by a fault"
    body = {"title": title, "status": status, "detail": detail}
    return web.Response(status=status, text=json.dumps(body), content_type=CONTENT_TYPE, headers=headers)


async def _name(request: web.Request) -> str | None:
    """The body's `name`. Reading takes the body away from the handler, so it is kept where handlers look first."""
    raw = await request.read()
    request[PEEKED] = raw
    try:
        body: Any = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    name = body.get("name") if isinstance(body, dict) else None
    return name if isinstance(name, str) else None


def _reset(request: web.Request) -> None:
    transport = request.transport
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        # Linger for no time: closing sends RST, not FIN, so that no client takes it for an orderly end.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _cut_after(request: web.Request, after_bytes: int) -> None:
    """Let `after_bytes` of the answer's body out, then close; an answer that is shorter loses its last byte.

    The limit sits on the connection's writer, because streamed answers never pass a middleware as a whole.
    """
    writer: Any = request.writer
    write, write_eof = writer.write, writer.write_eof
    sent = 0

    async def cut(chunk: Any, length: int) -> None:
        await write(bytes(chunk)[:length])
        writer.send_headers()
        if request.transport is not None:
            request.transport.close()
        raise ConnectionResetError("cut off on request of a fault")

    async def limited(chunk: Any, **options: Any) -> None:
        nonlocal sent
        if sent + len(chunk) > after_bytes:
            await cut(chunk, after_bytes - sent)
        sent += len(chunk)
        await write(chunk, **options)

    async def limited_eof(chunk: bytes = b"") -> None:
        room = after_bytes - sent
        if not sent and chunk:
            room = min(room, len(chunk) - 1)
        if len(chunk) > room:
            await cut(chunk, room)
        await write_eof(chunk)

    writer.write, writer.write_eof = limited, limited_eof


def _describe(fault: Json) -> str:
    return " ".join(str(value) for value in fault.values())
