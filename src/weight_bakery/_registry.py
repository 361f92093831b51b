"""An image store in a registry: the distribution protocol, streamed.

A layer goes out as POST, one PATCH with its exact Content-Length and no Content-Range, PUT with the digest: the form
that every registry takes, since the stock clients use it. The digest is needed only at the end, so a layer is hashed
while it is sent. Nothing is spooled: a try that failed is replayed from the source.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from weight_bakery._blobs import Blob, LayerBlob
from weight_bakery._errors import DigestMismatch, RegistryDenied, RegistryError, RegistryUnreachable
from weight_bakery._events import Note, Progress
from weight_bakery._layers import CHUNK
from weight_bakery._media import ACCEPT
from weight_bakery._references import RegistryReference
from weight_bakery._registry_auth import parse_challenges
from weight_bakery._registry_http import RegistryHttp, RetryPolicy, Transient, read_up_to
from weight_bakery._request import Credentials
from weight_bakery._stores import Advance, ImageStore, StoredManifest

_MANIFEST_LIMIT = 4 * 1024 * 1024
_DIGEST_HEADER = "Docker-Content-Digest"


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
        self._progress = progress
        self._http.auth.want(f"repository:{reference.repository}:{'pull,push' if write else 'pull'}")

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
    async def stream_blob(self, digest: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Stream a blob; after a break, go on with a Range request from where it stopped."""
        chunks = self._blob_chunks(digest)
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
        self._http.auth.want(f"repository:{other.reference.repository}:pull")
        url = self._http.url("blobs/uploads/").with_query(mount=digest, **{"from": other.reference.repository})

        async def attempt() -> bool:
            async with self._http.once("POST", url, headers={"Content-Length": "0"}) as response:
                if response.status == 201:
                    return True
                if response.status == 202:  # "send it yourself": the session that was opened is not used
                    await self._cancel(response)
                elif response.status >= 500 or response.status == 429:
                    raise self._http.refusal(response, await read_up_to(response, 4096), "to mount a base layer")
                return False

        return await self._http.repeat(attempt)

    async def write_blob(self, blob: Blob, advance: Advance) -> str:
        """Upload a blob; a failure that may pass starts the blob again from its source."""
        attempts = 0

        async def attempt() -> str:
            nonlocal attempts
            attempts += 1
            if attempts > 1 and blob.digest is not None and await self._has_now(blob.digest, blob.size):
                return blob.digest  # the last answer was lost, not the blob
            moved = 0

            def count(size: int) -> None:
                nonlocal moved
                moved += size
                advance(size)

            try:
                return await self._upload(blob, count)
            except Transient as failure:
                advance(-moved)
                self._progress(Note(f"{failure.error.message}: a layer starts again"))
                raise

        return await self._http.repeat(attempt)

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

    async def _has_now(self, digest: str, size: int) -> bool:
        try:
            return await self.has_blob(digest, size)
        except RegistryError as error:
            raise Transient(error) from error

    async def _upload(self, blob: Blob, advance: Advance) -> str:
        """One try: POST, PATCH, PUT."""
        known = blob.digest is not None
        start = self._http.url("blobs/uploads/")
        async with self._http.once("POST", start, headers={"Content-Length": "0"}) as response:
            if response.status != 202:
                raise self._http.refusal(response, await read_up_to(response, 65536), "to start an upload")
            session = self._http.follow(response)
        session = await self._send(blob, session, advance, known=known)
        digest = blob.digest
        assert digest is not None
        mark = "&" if session.raw_query_string else "?"
        url = URL(f"{session}{mark}digest={digest.replace(':', '%3A')}", encoded=True)
        async with self._http.once("PUT", url, headers={"Content-Length": "0"}) as response:
            if response.status not in (200, 201, 202, 204):
                raise await self._session_refusal(response, blob, known=known)
            reported = response.headers.get(_DIGEST_HEADER)
        if reported is not None and reported != digest:
            raise DigestMismatch(
                f"{self.reference.host} stored a layer as {reported}, but {digest} was sent", "check the registry"
            )
        if reported is None and not await self._has_now(digest, blob.size):
            raise DigestMismatch(
                f"{self.reference.host} does not show the layer {digest} it took", "check the registry"
            )
        return digest

    async def _send(self, blob: Blob, session: URL, advance: Advance, *, known: bool) -> URL:
        """Send the whole blob in one PATCH; returns where the upload goes on."""
        headers = {"Content-Length": str(blob.size), "Content-Type": "application/octet-stream"}
        async with blob.open(verify=False) as chunks:
            body = _Body(chunks, advance, self._http.policy.stall_s)
            try:
                async with (
                    body.watched(self.reference.host),
                    self._http.once("PATCH", session, headers=headers, data=body) as response,
                ):
                    if response.status not in (200, 201, 202, 204):
                        raise await self._session_refusal(response, blob, known=known)
                    return self._http.follow(response)
            except Transient as failure:
                if isinstance(body.failure, DigestMismatch):  # a base layer was damaged on its way to us
                    raise Transient(body.failure) from failure
                if body.failure is not None:  # the source failed, and aiohttp calls that a broken connection
                    raise body.failure from None
                raise

    async def _session_refusal(self, response: aiohttp.ClientResponse, blob: Blob, *, known: bool) -> Exception:
        """A refusal in the middle of an upload: what ends with the session may be tried again in a new one."""
        body = await read_up_to(response, 65536)
        error = self._http.refusal(response, body, f"a layer of {blob.size:,} bytes")
        if isinstance(error, DigestMismatch):
            # Bytes that were hashed on their way out were changed after that, and a second try may go well. A digest
            # that was remembered may simply be wrong: then the same bytes would be refused again.
            remembered = known and isinstance(blob, LayerBlob)
            return error if remembered else Transient(error)
        if isinstance(error, RegistryDenied):
            challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
            used = response.request_info.headers.get("Authorization")
            if response.status == 401 and self._http.auth.answer(challenges, used):
                return Transient(error)  # the login ran out
        elif isinstance(error, RegistryError) and response.status in (404, 416):
            return Transient(error)  # the registry has forgotten the upload
        return error

    async def _cancel(self, response: aiohttp.ClientResponse) -> None:
        """Drop an upload that is not wanted. Registries clean up by themselves, so a failure here changes nothing."""
        try:
            async with self._http.once("DELETE", self._http.follow(response)):
                pass
        except (Transient, RegistryError) as error:
            self._progress(Note(f"{self.reference.host} did not take back an unused upload ({error})"))

    async def _blob_chunks(self, digest: str) -> AsyncGenerator[bytes, None]:
        offset = failures = 0
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


class _Body:
    """The body of an upload: counts what goes, remembers why it failed, and notices when nothing moves any more."""

    def __init__(self, chunks: AsyncIterator[bytes], advance: Advance, stall_s: float) -> None:
        self._chunks = chunks
        self._advance = advance
        self._stall_s = stall_s
        self._timeout: asyncio.Timeout | None = None
        self.failure: Exception | None = None

    def __aiter__(self) -> "_Body":
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            self._push_back(None)  # everything is out; how long the registry may think is another limit
            raise
        except Exception as error:
            self.failure = error
            raise
        self._advance(len(chunk))
        self._push_back(self._stall_s)
        return chunk

    @asynccontextmanager
    async def watched(self, host: str) -> AsyncIterator[None]:
        """Give up when no chunk has moved for the stall time."""
        try:
            async with asyncio.timeout(self._stall_s) as self._timeout:
                yield
        except TimeoutError as error:
            reason = RegistryUnreachable(f"{host} took no more bytes for {self._stall_s:.0f} s", "try again later")
            raise Transient(reason) from error
        finally:
            self._timeout = None

    def _push_back(self, seconds: float | None) -> None:
        if self._timeout is not None and not self._timeout.expired():
            now = asyncio.get_running_loop().time()
            self._timeout.reschedule(None if seconds is None else now + seconds)


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
