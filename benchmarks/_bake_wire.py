"""What stands between the bakery and a registry or a Hub: a proxy that counts by layer, and damage in transit."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
from aiohttp import web

Kind = Literal["flip", "truncate", "short"]
KINDS: tuple[Kind, ...] = ("flip", "truncate", "short")
_HEAD = 2048
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "expect"})
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Fault:
    """Damage to one body: a flipped bit, a connection that ends in the middle, or bytes that are left out."""

    kind: Kind
    at: int
    """Where, in bytes from the body's start."""
    bit: int
    length: int
    """How many bytes are left out."""


@dataclass
class Quota:
    """How many faults may still be fired, by all who share it."""

    left: int


class Faults:
    """Damages bodies by chance, from a seed, and counts what it did."""

    def __init__(self, seed: int, chance: float, quota: Quota) -> None:
        self._random = random.Random(seed)
        self._chance = chance
        self._quota = quota
        self.fired: dict[str, int] = {}

    def next(self, where: str, size: int) -> Fault | None:
        """What happens to the next body of `size` bytes."""
        if size == 0 or self._quota.left == 0 or self._random.random() >= self._chance:
            return None
        self._quota.left -= 1
        at = self._random.randrange(size)
        kind = self._random.choice(KINDS)
        name = f"{kind} {where}"
        self.fired[name] = self.fired.get(name, 0) + 1
        return Fault(kind, at, self._random.randrange(8), min(self._random.randrange(1, 4096), size - at))


class CutOff(Exception):
    """The connection ends here."""


async def damaged(chunks: AsyncIterator[bytes], fault: Fault | None) -> AsyncIterator[bytes]:
    """The chunks of a body as they come out of a bad line."""
    position = 0
    async for chunk in chunks:
        start, position = position, position + len(chunk)
        if fault is None or position <= fault.at or start >= fault.at + fault.length:
            yield chunk
            continue
        at = max(fault.at - start, 0)
        if fault.kind == "truncate":
            yield chunk[:at]
            raise CutOff
        if fault.kind == "flip":
            broken = bytearray(chunk)
            if start <= fault.at:
                broken[at] ^= 1 << fault.bit
            yield bytes(broken)
        else:
            yield chunk[:at] + chunk[max(fault.at + fault.length - start, 0) :]


def announced(size: int, fault: Fault | None) -> int:
    """The length that the far side is told."""
    return size - fault.length if fault is not None and fault.kind == "short" else size


@dataclass
class Upload:
    """One upload session, as it went through the proxy."""

    repository: str
    sent: int = 0
    head: bytes = b""
    """The first bytes: of a layer, its tar headers, which name its files."""
    digest: str | None = None
    """What it was closed with; None while it is open."""

    @property
    def named(self) -> bool:
        """Whether enough went through to tell which layer it is."""
        return len(self.head) == _HEAD


@dataclass
class Proxy:
    """In front of a registry: counts uploads, damages bodies, and tells how much has passed."""

    target: str
    faults: Faults | None = None
    uploads: dict[str, Upload] = field(default_factory=dict)
    passed: Callable[[int], None] = lambda _: None
    """Called with the length of every piece of an upload."""
    host: str = ""
    _session: aiohttp.ClientSession | None = None

    def sent(self, digests: set[str] | None = None) -> int:
        """Bytes of uploads; only of those that were closed with one of `digests`, where these are given."""
        return sum(item.sent for item in self.uploads.values() if digests is None or item.digest in digests)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        """Listen on a free port of loopback."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=60)
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as self._session,
            serving(self._handle) as self.host,
        ):
            yield self

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        size = int(request.headers.get("Content-Length", "0"))
        is_upload = "/blobs/uploads/" in request.path and request.method in ("PATCH", "PUT")
        fault = self.faults.next("to the registry", size) if self.faults and is_upload else None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        body: AsyncIterator[bytes] | None = None
        if size:
            headers["Content-Length"] = str(announced(size, fault))
            chunks = request.content.iter_chunked(1 << 16)
            body = damaged(self._counted(request, chunks) if is_upload else chunks, fault)
        try:
            async with self._session.request(
                request.method, f"http://{self.target}{request.raw_path}",
                headers=headers, data=body, allow_redirects=False,
            ) as answer:  # fmt: skip
                if is_upload and request.method == "PUT" and answer.status == 201:
                    self._upload(request).digest = request.query.get("digest")
                return await self._pass_back(request, answer)
        except (aiohttp.ClientError, CutOff, ConnectionError):
            _hang_up(request)
            return web.Response(status=502)

    async def _pass_back(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        size = int(answer.headers.get("Content-Length", "0"))
        is_blob = request.method == "GET" and "/blobs/sha256:" in request.path and answer.status in (200, 206)
        fault = self.faults.next("from the registry", size) if self.faults and is_blob else None
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
        if "Content-Length" in headers and request.method != "HEAD":
            headers["Content-Length"] = str(announced(size, fault))
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        async for chunk in damaged(answer.content.iter_any(), fault):
            await response.write(chunk)
        await response.write_eof()
        return response

    async def _counted(self, request: web.Request, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        upload = self._upload(request)
        async for chunk in chunks:
            upload.sent += len(chunk)
            if len(upload.head) < _HEAD:
                upload.head += chunk[: _HEAD - len(upload.head)]
            self.passed(len(chunk))
            yield chunk

    def _upload(self, request: web.Request) -> Upload:
        before, _, name = request.path.partition("/blobs/uploads/")
        return self.uploads.setdefault(name, Upload(before.removeprefix("/v2/")))


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Serve a handler on a free port of loopback; yields host:port."""

    async def safe(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except CutOff:
            _hang_up(request)
            return web.Response(status=500)
        except (ConnectionError, asyncio.CancelledError):  # whoever asked has gone, perhaps by kill -9
            return web.Response(status=499)

    app = web.Application(client_max_size=1 << 40)
    app.router.add_route("*", "/{tail:.*}", safe)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
