"""A load balancer's worker: a small HTTP server on PORT (and PORT_HEALTH) that does what its paths say.

Its first argument says how it starts: `plain` is healthy at once, `slow` says 204 until the file `go` is there, `never`
says 503, `deaf` listens on PORT alone. The file `ping` in its HOME, if there is one, holds what /ping answers.
"""

import asyncio
import os
import sys
from pathlib import Path

from aiohttp import web

HOW, HOME = sys.argv[1], Path(os.environ["HOME"])


async def ping(_request: web.Request) -> web.Response:
    status = HOME / "ping"
    if HOW == "never":
        return web.Response(status=503)
    if HOW == "slow" and not (HOME / "go").exists():
        return web.Response(status=204)
    return web.Response(status=int(status.read_text()) if status.exists() else 200)


async def tell(request: web.Request) -> web.Response:
    body = await request.read()
    return web.json_response(
        {
            "pid": os.getpid(),
            "method": request.method,
            "target": request.raw_path,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "size": len(body),
            "environment": dict(os.environ),
        },
        status=int(request.query.get("status", "200")),
    )


async def echo(request: web.Request) -> web.StreamResponse:
    """Every piece comes back before the next one is read."""
    response = web.StreamResponse()
    await response.prepare(request)
    async for piece in request.content.iter_any():
        await response.write(b"got " + piece)
    await response.write_eof()
    return response


async def big(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    if "announced" in request.query:
        response.content_length = 31 * 1024 * 1024
    await response.prepare(request)
    for _ in range(31):
        await response.write(b"x" * 1024 * 1024)
    await response.write_eof()
    return response


async def die(request: web.Request) -> web.StreamResponse:
    if "first" in request.query:
        os._exit(3)
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"the beginning")
    await asyncio.sleep(0.1)
    os._exit(3)


async def hang(request: web.Request) -> web.Response:
    (HOME / "hanging").touch()
    try:
        await asyncio.sleep(60)
    finally:
        (HOME / "let-go").touch()
    return web.Response()


async def main() -> None:
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_get("/ping", ping)
    for path, handler in (("/echo", echo), ("/big", big), ("/die", die), ("/hang", hang), ("/{tail:.*}", tell)):
        app.router.add_route("*", path, handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    names = ("PORT",) if HOW == "deaf" else ("PORT", "PORT_HEALTH")
    for port in {int(os.environ[name]) for name in names}:
        await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


asyncio.run(main())
