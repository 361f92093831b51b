"""A small registry for tests: real HTTP on loopback, with the ways to authenticate, and faults on request."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

from tests.runpod_emulator.host.support import Image

USER, PASSWORD = "user", "registry-password"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@dataclass
class Registry:
    """`image` under the repository me/llm, tag 1."""

    image: Image
    auth: Literal["none", "basic", "bearer"] = "none"
    token: str = "issued-token-1"
    redirect_blobs_to: str | None = None
    fail_first: int = 0
    """Answer so many blob requests with 503."""
    cut_first: int = 0
    """Break so many blob answers off in the middle."""
    altered: bool = False
    port: int = 0
    asked: list[str] = field(default_factory=list)
    authorizations: dict[str, str | None] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        return f"127.0.0.1:{self.port}/me/llm:1"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        given = request.headers.get("Authorization")
        self.authorizations[request.path] = given
        if request.path == "/token":
            wanted = {"scope": "repository:me/llm:pull", "service": "test"}
            if given != BASIC or dict(request.query) != wanted:
                return web.Response(status=401)
            return web.json_response({"token": self.token})
        if self.auth == "basic" and given != BASIC:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="test"'})
        if self.auth == "bearer" and given != f"Bearer {self.token}":
            realm = f"http://127.0.0.1:{self.port}/token"
            challenge = f'Bearer realm="{realm}",service="test",scope="repository:me/llm:pull"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        kind, _, name = request.path.removeprefix("/v2/me/llm/").partition("/")
        if kind == "manifests" and name == "1":
            return web.Response(body=self.image.manifest, content_type=self.image.media_type)
        if name not in self.image.blobs:
            return web.json_response({"errors": [{"code": "MANIFEST_UNKNOWN"}]}, status=404)
        if kind == "manifests":
            return web.Response(body=self.image.blobs[name])
        return await self.blob(request, name)

    async def blob(self, request: web.Request, name: str) -> web.StreamResponse:
        content = self.image.blobs[name]
        if name not in self.image.layer_digests:
            return web.Response(body=content)
        if self.fail_first:
            self.fail_first -= 1
            return web.Response(status=503)
        if self.redirect_blobs_to is not None:
            return web.Response(status=307, headers={"Location": f"{self.redirect_blobs_to}/{name}"})
        if self.altered:
            content = content[:100] + bytes([content[100] ^ 1]) + content[101:]
        if self.cut_first:
            self.cut_first -= 1
            response = web.StreamResponse(headers={"Content-Length": str(len(content))})
            await response.prepare(request)
            await response.write(content[: len(content) // 2])
            assert request.transport is not None
            request.transport.close()
            return response
        return web.Response(body=content)


@asynccontextmanager
async def serving(registry: Registry) -> AsyncIterator[Registry]:
    app = web.Application()
    app.router.add_get("/{path:.*}", registry.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        registry.port = runner.addresses[0][1]
        yield registry
    finally:
        await runner.cleanup()
