"""An image store in a registry: the distribution protocol. How layers get there is told in `_registry_upload`."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from weight_bakery._blobs import Blob
from weight_bakery._errors import DigestMismatch, RegistryError
from weight_bakery._events import Progress
from weight_bakery._layers import CHUNK
from weight_bakery._media import ACCEPT
from weight_bakery._references import RegistryReference
from weight_bakery._registry_http import RegistryHttp, RetryPolicy, Transient, read_up_to
from weight_bakery._registry_rules import Habits, rules_for
from weight_bakery._registry_upload import Uploader
from weight_bakery._request import Credentials
from weight_bakery._stores import Advance, ImageStore, StoredManifest

_MANIFEST_LIMIT = 4 * 1024 * 1024


class RegistryStore:
    """One repository of one registry."""

    def __init__(
        self,
        reference: RegistryReference,
        *,
        credentials: Credentials | None,
        write: bool,
        progress: Progress,
        policy: RetryPolicy | None = None,
    ) -> None:
        self.reference = reference
        self._http = RegistryHttp(reference, credentials, policy or RetryPolicy())
        self._uploader = Uploader(self._http, Habits(rules_for(reference.host)), self.has_blob, progress)
        self._http.auth.want(f"repository:{reference.repository}:{'pull,push' if write else 'pull'}")

    @property
    def http(self) -> RegistryHttp:
        """Requests to this repository, for what stands beside images."""
        return self._http

    async def read_manifest(self, target: str | None) -> StoredManifest | None:
        """Fetch a manifest or index by tag or digest."""
        response, body = await self._http.exchange(
            "GET",
            self._http.url(f"manifests/{target or 'latest'}"),
            ok=frozenset({200, 404}),
            what="to show the image",
            headers={"Accept": ACCEPT},
            redirects=True,
            limit=_MANIFEST_LIMIT,
        )
        if response.status == 404:
            return None
        if len(body) > _MANIFEST_LIMIT:
            raise RegistryError(f"{self.reference}: the manifest is larger than 4 MiB", "check the image")
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if target is not None and target.startswith("sha256:") and target != digest:
            raise DigestMismatch(f"{self.reference.host} sent another manifest than {target}", "check the registry")
        return StoredManifest(response.content_type, body, digest)

    async def read_blob(self, digest: str, limit: int) -> bytes:
        """Fetch and verify a small blob."""
        parts = bytearray()
        async with self.stream_blob(digest) as chunks:
            async for chunk in chunks:
                parts += chunk
                if len(parts) > limit:
                    raise RegistryError(f"{self.reference}: {digest} is larger than {limit} bytes", "check the image")
        if f"sha256:{hashlib.sha256(parts).hexdigest()}" != digest:
            raise DigestMismatch(f"{self.reference.host} sent other bytes than {digest}", "check the registry")
        return bytes(parts)

    @asynccontextmanager
    async def stream_blob(self, digest: str, offset: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream a blob; after a break, go on with a Range request from where it stopped."""
        chunks = self._blob_chunks(digest, offset)
        try:
            yield chunks
        finally:
            await chunks.aclose()

    async def has_blob(self, digest: str, size: int) -> bool:
        """Ask with HEAD."""
        response, _ = await self._http.exchange(
            "HEAD",
            self._http.url(f"blobs/{digest}"),
            ok=frozenset({200, 403, 404}),
            what="to say whether it has a layer",
            redirects=True,
        )
        if response.status == 403:
            if not response.history:
                raise self._http.refusal(response, b"", "to say whether it has a layer")
            return True  # it is there: signed storage often allows GET at that address, but not HEAD
        length = response.headers.get("Content-Length")
        return response.status == 200 and (length is None or int(length) == size)

    def wants_digest(self, size: int) -> bool:
        """Always: asking for a layer by its digest is how nothing is sent twice."""
        del size
        return True

    async def mount_blob(self, digest: str, other: ImageStore) -> bool:
        """Take a blob over from another repository of the same registry."""
        if not isinstance(other, RegistryStore) or other.reference.host != self.reference.host:
            return False
        return await self.mount_from(digest, other.reference.repository)

    async def mount_from(self, digest: str, repository: str) -> bool:
        """Take a blob over from `repository`; False when it is not there or may not be read."""
        self._http.auth.want(f"repository:{repository}:pull", optional=True)
        url = self._http.url("blobs/uploads/").with_query(mount=digest, **{"from": repository})

        async def attempt() -> bool:
            async with self._http.once("POST", url, headers={"Content-Length": "0"}) as response:
                if response.status == 201:
                    return True
                if response.status == 202:  # "send it yourself": the session that was opened is not used
                    await self._uploader.cancel(self._http.follow(response))
                elif response.status >= 500 or response.status == 429:
                    raise self._http.refusal(response, await read_up_to(response, 4096), "to mount a base layer")
                return False

        return await self._http.repeat(attempt)

    async def write_blob(self, blob: Blob, advance: Advance) -> str:
        """Upload a blob; a failure that may pass goes on where the registry is, or starts again."""
        return await self._uploader.upload(blob, advance)

    async def write_manifest(self, manifest: StoredManifest, tag: str) -> None:
        """Put the manifest, then ask for the tag and compare what comes back byte for byte."""
        await self._http.exchange(
            "PUT",
            self._http.url(f"manifests/{tag}"),
            ok=frozenset({200, 201, 202}),
            what="the manifest",
            headers={"Content-Type": manifest.media_type},
            data=manifest.content,
        )
        found = await self.read_manifest(tag)
        if found is None or found.digest != manifest.digest:
            raise DigestMismatch(
                f"{self.reference.host} shows {found.digest if found else None} under {tag}, not {manifest.digest}",
                "somebody else may be pushing to this tag; run the bake again",
            )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def _blob_chunks(self, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
        failures = 0
        while True:
            try:
                async with self._http.once(
                    "GET",
                    self._http.url(f"blobs/{digest}"),
                    headers={"Range": f"bytes={offset}-"} if offset else {},
                    redirects=True,
                ) as response:
                    if response.status not in (200, 206):
                        body = await read_up_to(response, 65536)
                        raise self._http.refusal(response, body, f"to hand out {digest}")
                    skip = offset if response.status == 200 else 0  # it does not know Range: read over what we have
                    async for chunk in _chunks(response, skip):
                        offset += len(chunk)
                        failures = 0
                        yield chunk
                    return
            except Transient as failure:
                failures += 1
                if failures >= self._http.policy.tries:
                    raise failure.error from failure
                await self._http.policy.pause(failures, failure.retry_after)


async def _chunks(response: aiohttp.ClientResponse, skip: int) -> AsyncIterator[bytes]:
    """Gather what the socket gives into chunks that are worth handing to a thread."""
    pending = bytearray()
    async for part in response.content.iter_any():
        fresh = part[skip:] if skip else part
        skip -= len(part) - len(fresh)
        pending += fresh
        if len(pending) >= CHUNK // 2:
            yield bytes(pending)
            pending.clear()
    if pending:
        yield bytes(pending)
