"""A proxy that counts, in front of a registry; and a registry that misbehaves on request. Both on loopback."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

from aiohttp import web


class CountingProxy:
    """Passes TCP through and counts the bytes that a client sends."""

    def __init__(self, host: str) -> None:
        self._target, _, self._port = host.partition(":")
        self.sent = 0
        self.host = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.host = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._target, int(self._port))
        await asyncio.gather(self._pass(reader, far_writer, count=True), self._pass(far_reader, writer, count=False))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool) -> None:
        try:
            while chunk := await reader.read(65536):
                if count:
                    self.sent += len(chunk)
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            pass  # the other side went away, which ends this direction
        finally:
            writer.close()


class BreakingProxy(CountingProxy):
    """Cuts both directions each time the bytes of all clients together reach the next of `cuts`.

    After `hold_after` bytes it passes nothing on any more, and says so.
    """

    def __init__(self, host: str, cuts: list[int], *, hold_after: int | None = None) -> None:
        super().__init__(host)
        self._cuts = list(cuts)
        self._hold_after = hold_after
        self.held = asyncio.Event()
        self._over = asyncio.Event()

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        await super().__aexit__()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool) -> None:
        try:
            while chunk := await reader.read(65536):
                if count:
                    self.sent += len(chunk)
                    if self._cuts and self.sent >= self._cuts[0]:
                        self._cuts.pop(0)
                        reader._transport.abort()  # type: ignore[attr-defined]
                        break
                    if self._hold_after is not None and self.sent >= self._hold_after:
                        self.held.set()
                        await self._over.wait()
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            pass  # the other side went away, which ends this direction
        finally:
            writer.close()


Hook = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


@dataclass
class FakeRegistry:
    """A registry in memory. `hook` sees every request first and may answer it (or break the connection) instead."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    hook: Hook | None = None
    report_digest: Callable[[str], str | None] = lambda digest: digest
    seen: Counter[str] = field(default_factory=Counter)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    host: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer as the distribution specification says."""
        kind = "manifest" if "/manifests/" in request.path else "upload" if "/uploads/" in request.path else "blob"
        self.seen[f"{request.method} {kind}"] += 1
        if self.hook is not None and (answer := await self.hook(request)) is not None:
            return answer
        name = request.path.rpartition("/")[2]
        if kind == "manifest":
            return await self._manifest(request, name)
        if kind == "upload":
            return await self._upload(request, name)
        if name not in self.blobs:
            return web.Response(status=404)
        return web.Response(body=self.blobs[name], headers={"Docker-Content-Digest": name})

    async def _manifest(self, request: web.Request, name: str) -> web.StreamResponse:
        if request.method == "PUT":
            self.manifests[name] = await request.read()
            return web.Response(status=201)
        if name not in self.manifests:
            return web.Response(status=404)
        return web.Response(body=self.manifests[name], content_type="application/vnd.oci.image.manifest.v1+json")

    async def _upload(self, request: web.Request, name: str) -> web.StreamResponse:
        if request.method == "POST":
            name = f"u{self.seen['POST upload'] - 1}"
            self.uploads[name] = bytearray()
        elif request.method == "DELETE":
            del self.uploads[name]
            return web.Response(status=204)
        else:
            if name not in self.uploads:
                return web.Response(status=404, text='{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')
            if request.method == "GET":
                return web.Response(status=204, headers=self._where(name))
            start = request.headers.get("Content-Range", "").partition("-")[0]
            if start and int(start) != len(self.uploads[name]):
                return web.Response(status=416, headers=self._where(name))
            async for chunk in request.content.iter_any():
                self.uploads[name] += chunk
        if request.method == "PUT":
            digest = request.query["digest"]
            content = bytes(self.uploads.pop(name))
            if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
                return web.json_response({"errors": [{"code": "DIGEST_INVALID", "message": "no match"}]}, status=400)
            self.blobs[digest] = content
            reported = self.report_digest(digest)
            return web.Response(status=201, headers={"Docker-Content-Digest": reported} if reported else {})
        return web.Response(status=202, headers=self._where(name))

    def _where(self, name: str) -> dict[str, str]:
        # A relative address with a query of its own, as the distribution registry sends it.
        return {
            "Location": f"/v2/m/blobs/uploads/{name}?_state=a%2Fb%3D",
            "Range": f"0-{max(len(self.uploads[name]) - 1, 0)}",
        }


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """Serve a handler on a free port of loopback; yields host:port."""
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def fake_registry(hook: Hook | None = None) -> AsyncIterator[FakeRegistry]:
    """A fake registry that is running."""
    registry = FakeRegistry(hook=hook)
    async with serving(registry.handle) as host:
        registry.host = host
        yield registry
