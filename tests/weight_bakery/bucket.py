"""A server that answers like a bucket: listing, heads and conditional ranged reads; and misbehaves on request."""

import asyncio
import base64
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from aiohttp import web

from tests.weight_bakery.proxy import serving


@dataclass
class Bucket:
    """One bucket, `models`, whose objects lie below `org/Tiny/`."""

    files: dict[str, bytes]
    page: int = 3
    """Keys per page of a listing."""
    checksums: bool = False
    """Keep a sha256 for every object."""
    failures: list[int] = field(default_factory=list)
    """Statuses to answer before anything else, one per read."""
    drop_after: int | None = None
    change: str | None = None
    """Overwrite this object once its reading has begun."""
    refusal: tuple[int, str] | None = None
    """Status and code of every answer."""
    seen: Counter[str] = field(default_factory=Counter)
    ranges: list[str] = field(default_factory=list)
    origin: str = ""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Path-style addresses: /models, /models/<key>."""
        if self.refusal is not None:
            return _error(*self.refusal)
        if request.path.rstrip("/") != "/models" and not request.path.startswith("/models/org/"):
            return _error(404, "NoSuchBucket")
        if "list-type" in request.query:
            self.seen["list"] += 1
            return self._list(request)
        content = self.files.get(request.path.removeprefix("/models/org/Tiny/"))
        if content is None:
            return _error(404, "NoSuchKey")
        self.seen[request.method] += 1
        if request.method == "HEAD":
            digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
            return web.Response(headers={"x-amz-checksum-sha256": digest, "ETag": _etag(content)})
        return await self._read(request, content)

    def _list(self, request: web.Request) -> web.Response:
        prefix = request.query.get("prefix", "")
        keys = sorted(key for key in (f"org/Tiny/{path}" for path in self.files) if key.startswith(prefix))
        start = int(request.query.get("continuation-token", "0"))
        kept = "<ChecksumAlgorithm>SHA256</ChecksumAlgorithm>" if self.checksums else ""
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size>"
            f"<ETag>{escape(_etag(content))}</ETag>{kept}</Contents>"
            for key in keys[start : start + self.page]
            for content in [self.files[key.removeprefix("org/Tiny/")]]
        )
        more = start + self.page < len(keys)
        token = f"<NextContinuationToken>{start + self.page}</NextContinuationToken>" if more else ""
        return web.Response(
            content_type="application/xml",
            text=f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{entries}</ListBucketResult>",
        )

    async def _read(self, request: web.Request, content: bytes) -> web.StreamResponse:
        if self.failures:
            return _error(self.failures.pop(0), "SlowDown")
        if request.headers.get("If-Match", _etag(content)) != _etag(content):
            return _error(412, "PreconditionFailed")
        etag, total, headers, status = _etag(content), len(content), {}, 200
        if wanted := request.headers.get("Range"):
            self.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            headers, status = {"Content-Range": f"bytes {start}-{total - 1}/{total}"}, 206
            content = content[start:]
        response = web.StreamResponse(
            status=status, headers={**headers, "ETag": etag, "Content-Length": str(len(content))}
        )
        await response.prepare(request)
        if self.change is not None and request.path.endswith(self.change):
            self.files[self.change] = bytes(len(self.files[self.change]))
        await response.write(content[: self.drop_after])
        if self.drop_after is not None and len(content) > self.drop_after:
            await asyncio.sleep(0.02)
            assert request.transport is not None
            request.transport.close()
        return response


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'


def _error(status: int, code: str) -> web.Response:
    text = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
    return web.Response(status=status, content_type="application/xml", text=text)


@asynccontextmanager
async def running_bucket(files: Mapping[str, bytes]) -> AsyncIterator[Bucket]:
    """A bucket on a free port of loopback."""
    bucket = Bucket(dict(files))
    async with serving(bucket.serve) as host:
        bucket.origin = f"http://{host}"
        yield bucket
