"""A server that behaves like the Hugging Face Hub: metadata, resolve route, signed addresses on another origin."""

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.weight_bakery.proxy import serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LFS_FROM = 1000
"""Files from this size on are LFS (Xet) files."""


@dataclass
class Hub:
    """One repository, `owner/Tiny`, with one commit."""

    files: Mapping[str, bytes]
    token: str | None = None
    """What a reader of files must present."""
    drop_after: int | None = None
    """Break every payload connection after so many bytes."""
    ignore_range: bool = False
    failures: list[int] = field(default_factory=list)
    """Statuses to answer before anything else, one per request."""
    storage_failures: list[int] = field(default_factory=list)
    """Statuses that the storage answers before anything else, one per request."""
    corrupt: str | None = None
    """Flip a byte of this file."""
    corrupt_times: int | None = None
    """How many times; None means always."""
    short: int = 0
    """Announce and send so many bytes less than a file has; one request's worth."""
    collapse_after: int | None = None
    """Payload connections that began at a file's start trickle from this byte on."""
    refusal: tuple[int, dict[str, str]] | None = None
    """Status and headers of every answer about the repository."""
    commit: str = COMMIT
    """The commit that the resolve route claims to serve."""
    etag: str | None = None
    """The digest that the resolve route claims for every LFS file."""
    extra: dict[str, object] = field(default_factory=dict)
    """More fields of the repository's description."""
    seen: Counter[str] = field(default_factory=Counter)
    leaked: list[str] = field(default_factory=list)
    """Authorization headers that reached the storage origin; there must be none."""
    ranges: list[str] = field(default_factory=list)
    origin: str = ""
    storage: str = ""
    _signed: dict[str, tuple[str, str | None]] = field(default_factory=dict)

    async def serve_hub(self, request: web.Request) -> web.StreamResponse:
        """The Hub itself."""
        if self.failures:
            return web.Response(status=self.failures.pop(0))
        if self.refusal is not None:
            return web.Response(status=self.refusal[0], headers=self.refusal[1])
        if request.path.startswith("/api/models/owner/Tiny/tree/"):
            return web.json_response([self._tree_entry(path) for path in self.files])
        if request.path.startswith("/api/models/"):
            self.seen["info"] += 1
            return self._info(request)
        match = re.fullmatch(r"/owner/Tiny/resolve/([^/]+)/(.+)", request.path)
        if match is None or match[1] != COMMIT or match[2] not in self.files:
            return web.Response(status=404, headers={"X-Error-Code": "EntryNotFound"})
        self.seen["resolve"] += 1
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=403, headers={"X-Error-Code": "GatedRepo"}, text="Access is restricted")
        path = match[2]
        if len(self.files[path]) < LFS_FROM:
            named = {"ETag": f'"{git_oid(self.files[path])}"', "X-Repo-Commit": self.commit}
            if request.method == "HEAD":
                return web.Response(headers={**named, "Content-Length": str(len(self.files[path]))})
            return await self._send(request, path)
        # The address is good for exactly the range that it was asked for, and once.
        key = f"{path}?sig={len(self._signed)}"
        self._signed[key] = (path, request.headers.get("Range"))
        digest = self.etag or hashlib.sha256(self.files[path]).hexdigest()
        headers = {
            "Location": f"http://{self.storage}/{key}",
            "X-Linked-Etag": f'"{digest}"',
            "X-Linked-Size": str(len(self.files[path])),
            "X-Repo-Commit": self.commit,
            "X-Xet-Hash": digest[::-1],
        }
        return web.Response(status=302, headers=headers)

    async def serve_storage(self, request: web.Request) -> web.StreamResponse:
        """Where payload lives."""
        if "Authorization" in request.headers:
            self.leaked.append(request.headers["Authorization"])
        path, granted = self._signed.pop(str(request.rel_url)[1:], (None, None))
        if path is None or granted != request.headers.get("Range"):
            return web.Response(status=403)
        self.seen["storage"] += 1
        if self.storage_failures:
            return web.Response(status=self.storage_failures.pop(0))
        return await self._send(request, path)

    def _info(self, request: web.Request) -> web.Response:
        revision = request.path.partition("/revision/")[2] or "main"
        if not request.path.startswith("/api/models/owner/Tiny"):
            return web.json_response(
                {"error": "Repository not found"}, status=404, headers={"X-Error-Code": "RepoNotFound"}
            )
        if revision not in ("main", "v1", COMMIT):
            return web.json_response(
                {"error": f"Invalid rev id: {revision}"}, status=404, headers={"X-Error-Code": "RevisionNotFound"}
            )
        return web.json_response(
            {"id": "owner/Tiny", "modelId": "owner/Tiny", "sha": COMMIT, "private": False, "tags": [],
             "siblings": [self._sibling(path) for path in self.files], **self.extra}
        )  # fmt: skip

    def _sibling(self, path: str) -> dict[str, object]:
        content = self.files[path]
        entry: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": git_oid(content)}
        if len(content) >= LFS_FROM:
            entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return entry

    def _tree_entry(self, path: str) -> dict[str, object]:
        """A file as the tree route describes it; huggingface_hub's own downloader asks for it."""
        content = self.files[path]
        entry: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": git_oid(content)}
        if len(content) >= LFS_FROM:
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return entry

    async def _send(self, request: web.Request, path: str) -> web.StreamResponse:
        content = self.files[path]
        if path == self.corrupt and self.corrupt_times != 0:
            self.corrupt_times = None if self.corrupt_times is None else self.corrupt_times - 1
            content = content[:-1] + bytes([content[-1] ^ 1])
        total, wanted = len(content), request.headers.get("Range")
        headers, status = {}, 200
        if wanted and not self.ignore_range:
            self.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
            content, status = content[start:], 206
        if self.short:
            content, self.short = content[: -self.short], 0
        if self.collapse_after is not None and status == 200 and len(content) > self.collapse_after:
            return await self._trickle(request, content)
        if self.drop_after is None or len(content) <= self.drop_after:
            return web.Response(status=status, body=content, headers=headers)
        response = web.StreamResponse(status=status, headers={**headers, "Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[: self.drop_after])
        await asyncio.sleep(0.02)
        assert request.transport is not None
        request.transport.close()
        return response

    async def _trickle(self, request: web.Request, content: bytes) -> web.StreamResponse:
        """Fast at first, then next to nothing; the connection itself stays sound."""
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        assert self.collapse_after is not None
        step = self.collapse_after // 20
        for start in range(0, self.collapse_after, step):
            await response.write(content[start : start + step])
            await asyncio.sleep(0.01)
        for start in range(self.collapse_after, len(content), 50):
            await response.write(content[start : start + 50])
            await asyncio.sleep(0.02)
        return response


def git_oid(content: bytes) -> str:
    """Git's name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@asynccontextmanager
async def running_hub(files: Mapping[str, bytes]) -> AsyncIterator[Hub]:
    """A Hub and its storage, on two origins."""
    hub = Hub(files)
    async with AsyncExitStack() as stack:
        hub.origin = "http://" + await stack.enter_async_context(serving(hub.serve_hub))
        hub.storage = await stack.enter_async_context(serving(hub.serve_storage))
        yield hub
