"""One layer on its way into a registry: the form that the registry takes, and going on where a connection broke.

An upload is POST, then the bytes, then PUT with the digest, which is needed only at the end: a layer is hashed while
it is sent. Nothing is spooled. After a break the registry is asked how far it has come (GET on the upload), and the
rest is read from the source again, from that byte on; the hashes of what went before are still in memory. Where that
is refused the layer starts again.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from weight_bakery._blobs import Blob, LayerBlob
from weight_bakery._errors import (
    BakeryError,
    DigestMismatch,
    RegistryDenied,
    RegistryError,
    RegistryTooLarge,
    RegistryUnreachable,
)
from weight_bakery._events import Note, Progress
from weight_bakery._registry_auth import parse_challenges
from weight_bakery._registry_http import RegistryHttp, Transient, read_up_to
from weight_bakery._registry_rules import RANGE_BYTES, Form, Habits
from weight_bakery._stores import Advance

_DIGEST_HEADER = "Docker-Content-Digest"
_TAKEN = (200, 201, 202, 204)
_OTHER_FORM = frozenset({405, 411, 413, 415, 501})
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")
_WORTH_BYTES = 1024 * 1024
"""A try that moved the upload this much further is not counted among the failures."""
_PIECE = 512 * 1024
"""Bytes per write to a connection. What a socket does not take at once is copied, so it is not given much more."""
_MISSES = 3
"""So many refused ranges are not counted among the failures either."""

HasBlob = Callable[[str, int], Awaitable[bool]]


@dataclass
class _Session:
    """An upload that the registry keeps for us."""

    url: URL
    form: Form
    range_bytes: int | None
    offset: int = 0
    """Where the next byte goes."""
    alive: bool = True
    """False once the registry has said that it does not know it."""
    resumed_at: int | None = None


class _NextForm(Exception):
    """The registry does not take this form, but there is another one."""


class _Count:
    """Bytes of a blob that have gone out, as they are shown to people."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self.moved = 0

    def add(self, size: int) -> None:
        self.moved += size
        self._advance(size)

    def back_to(self, offset: int) -> None:
        if self.moved != offset:
            self._advance(offset - self.moved)
            self.moved = offset


class Uploader:
    """Uploads blobs into one repository; all its uploads learn from each other what the registry takes."""

    def __init__(self, http: RegistryHttp, habits: Habits, has_blob: HasBlob, progress: Progress) -> None:
        self.habits = habits
        self._http = http
        self._has_blob = has_blob
        self._progress = progress
        self._host = http.reference.host

    async def upload(self, blob: Blob, advance: Advance) -> str:
        """Store a blob and return its digest. A failure that may pass is tried again, from where the registry is."""
        count = _Count(advance)
        session: _Session | None = None
        tries = failures = furthest = misses = 0
        known = blob.digest is not None
        while True:
            tries += 1
            try:
                # The last answer may have been lost, and not the blob.
                if tries > 1 and session is None and blob.digest is not None and await self._has(blob):
                    count.back_to(blob.size)
                    return blob.digest
                if session is None:
                    count.back_to(0)
                    session = await self._start(blob)
                return await self._send(session, blob, count, known=known)
            except _NextForm as other:
                self._progress(Note(f"{other}: trying another form of upload"))
                await self._drop(session)
                session = None
            except Transient as failure:
                if failure.error.status == 416 and misses < _MISSES:
                    misses += 1  # nothing is broken, we only stand elsewhere than the registry
                else:
                    failures += 1
                    if failures >= self._http.policy.tries:
                        raise failure.error from failure
                    await self._http.policy.pause(failures - 1, failure.retry_after)
                session = await self._continue(session, count, failure)
                if session is None:
                    self._progress(Note(f"{failure.error.message}: a layer starts again"))
                    continue
                count.back_to(session.offset)
                self._progress(Note(f"{failure.error.message}: a layer goes on at {session.offset:,} of {blob.size:,}"))
                if session.offset >= furthest + _WORTH_BYTES:
                    furthest, failures = session.offset, 0

    async def _has(self, blob: Blob) -> bool:
        assert blob.digest is not None
        try:
            return await self._has_blob(blob.digest, blob.size)
        except RegistryError as error:
            raise Transient(error) from error

    async def _start(self, blob: Blob) -> _Session:
        form = self.habits.form(digest_known=blob.digest is not None)
        async with self._http.once("POST", self._http.url("blobs/uploads/"), headers=_EMPTY) as response:
            if response.status != 202:
                raise self._http.refusal(response, await read_up_to(response, 65536), "to start an upload")
            least = response.headers.get("OCI-Chunk-Min-Length", "")
            length = max(RANGE_BYTES, int(least) if least.isdigit() else 0) if form == "ranged" else None
            return _Session(self._http.follow(response), form, length)

    async def _send(self, session: _Session, blob: Blob, count: _Count, *, known: bool) -> str:
        if session.form == "put":
            if blob.digest is None:
                assert isinstance(blob, LayerBlob), "only a layer's digest is not known beforehand"
                self._progress(
                    Note(f"{self._host} wants the digest first: {blob.layer.label} is read once more for it")
                )
                await blob.measure(lambda _: None)
            async with (
                blob.open(verify=False) as chunks,
                self._request("PUT", session, _Pieces(chunks), blob.size, blob, count, known) as response,
            ):
                return await self._stored(response, blob)
        await self._patches(session, blob, count, known=known)
        assert blob.digest is not None
        async with self._http.once("PUT", _closing(session, blob.digest), headers=_EMPTY) as response:
            if response.status not in _TAKEN:
                if response.status == 404:
                    self.habits.wanders = True  # it took the bytes a moment ago, and does not know them now
                raise await self._refused(response, blob, session, known=known)
            return await self._stored(response, blob)

    async def _patches(self, session: _Session, blob: Blob, count: _Count, *, known: bool) -> None:
        """Send from the session's offset to the end: in one PATCH, or in as many as its ranges need."""
        async with blob.open(verify=False, offset=session.offset) as chunks:
            pieces = _Pieces(chunks)
            first = session.offset == 0
            while session.offset < blob.size or first:
                first = False
                length = min(session.range_bytes or blob.size, blob.size - session.offset)
                async with self._request("PATCH", session, pieces, length, blob, count, known) as response:
                    url = self._http.follow(response)
                    took = _taken(response)
                end = session.offset + length
                if session.range_bytes and took is not None and took != end and end < blob.size:
                    error = RegistryError(
                        f"{self._host} says it has {took:,} bytes of a layer after {end:,} were sent in ranges",
                        "check the registry",
                    )
                    raise self._other_form(session, error, too_large=False)
                session.url, session.offset = url, end
            await pieces.end()

    @asynccontextmanager
    async def _request(
        self, method: str, session: _Session, pieces: "_Pieces", length: int, blob: Blob, count: _Count, known: bool
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send `length` bytes and yield an answer that takes them."""
        url = session.url
        headers = {"Content-Length": str(length), "Content-Type": "application/octet-stream"}
        if method == "PUT":
            assert blob.digest is not None
            url = _closing(session, blob.digest)
        elif (session.range_bytes is not None or session.offset) and length:
            headers["Content-Range"] = f"{session.offset}-{session.offset + length - 1}"
        body = _Body(pieces.take(length), count.add, self._http.policy.stall_s)
        try:
            async with body.watched(self._host), self._http.once(method, url, headers=headers, data=body) as response:
                if response.status not in _TAKEN:
                    raise await self._refused(response, blob, session, known=known)
                yield response
        except Transient as failure:
            if isinstance(body.failure, DigestMismatch):  # a base layer was damaged on its way to us
                session.alive = False
                raise Transient(body.failure) from failure
            if body.failure is not None:  # the source failed, and aiohttp calls that a broken connection
                raise body.failure from None
            raise

    async def _stored(self, response: aiohttp.ClientResponse, blob: Blob) -> str:
        """Make sure that what was stored is what was sent."""
        digest = blob.digest
        assert digest is not None
        reported = response.headers.get(_DIGEST_HEADER)
        if reported is not None and reported != digest:
            raise DigestMismatch(
                f"{self._host} stored a layer as {reported}, but {digest} was sent", "check the registry"
            )
        if reported is None and not await self._has(blob):
            raise DigestMismatch(f"{self._host} does not show the layer {digest} it took", "check the registry")
        return digest

    async def _refused(
        self, response: aiohttp.ClientResponse, blob: Blob, session: _Session, *, known: bool
    ) -> Exception:
        """A refusal in the middle of an upload: for good, for this form, for this session, or for this moment."""
        body = await read_up_to(response, 65536)
        error = self._http.refusal(response, body, f"a layer of {blob.size:,} bytes")
        status = response.status
        if isinstance(error, DigestMismatch):
            session.alive = False
            # Bytes that were hashed on their way out were changed after that, and a second try may go well. A digest
            # that was remembered may simply be wrong: then the same bytes would be refused again.
            if isinstance(blob, LayerBlob):
                if known:
                    return error
                blob.forget()
            return Transient(error)
        if isinstance(error, RegistryDenied):
            challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
            used = response.request_info.headers.get("Authorization")
            if status == 401 and self._http.auth.answer(challenges, used):
                return Transient(error)  # the login ran out
            return error
        if not isinstance(error, RegistryError):
            return error
        if status == 404:
            session.alive = False
            return Transient(error)  # the registry has forgotten the upload
        if status == 416:
            if session.form == "ranged" and session.offset == 0:
                session.alive = False
            return Transient(error)  # it stands elsewhere than we thought, or does not want this range
        if status in _OTHER_FORM or "UNSUPPORTED" in error.message:
            return self._other_form(session, error, too_large=status == 413, size=blob.size)
        return error

    def _other_form(
        self, session: _Session, error: BakeryError, *, too_large: bool, size: int | None = None
    ) -> Exception:
        session.alive = False
        if too_large and (size or 0) <= RANGE_BYTES:
            return error  # shorter pieces than this one there are not
        if isinstance(error, RegistryTooLarge) and session.offset:
            return error  # it is the layer that is too large, not the request
        return _NextForm(error.message) if self.habits.refuse(session.form, too_large=too_large) else error

    async def _continue(self, session: _Session | None, count: _Count, failure: Transient) -> _Session | None:
        """Ask the registry how far an upload has come; None where it must start again."""
        refused = failure.error.status == 416
        if (
            session is None
            or session.form == "put"
            or not session.alive
            or not self.habits.resumable
            or not count.moved
        ):
            await self._drop(session)
            return None
        url = session.url

        async def attempt() -> tuple[URL, int | None] | None:
            async with self._http.once("GET", url) as response:
                if response.status in (408, 425, 429) or response.status >= 500:
                    raise self._http.refusal(response, b"", "to say how far an upload has come")
                if response.status not in (200, 202, 204):
                    return None
                return (self._http.follow(response) if "Location" in response.headers else url), _taken(response)

        try:
            answer = await self._http.repeat(attempt)
        except RegistryError:
            answer = None  # what is wrong shows when the layer starts again
        if answer is None:
            session.alive = False
            return None
        where, offset = answer
        if refused and offset == session.resumed_at:
            self.habits.refuse_resume()  # it was asked, it was believed, and it refused
        if offset is None or not 0 < offset <= count.moved or not self.habits.resumable:
            session.url = where
            await self._drop(session)
            return None
        length = session.range_bytes if session.form == "ranged" else self.habits.range_bytes
        return _Session(where, session.form, length, offset, resumed_at=offset)

    async def _drop(self, session: _Session | None) -> None:
        """Give up a session. Registries clean up by themselves, so a failure here changes nothing."""
        if session is not None and session.alive:
            await self.cancel(session.url)

    async def cancel(self, url: URL) -> None:
        """Tell the registry that an upload is not wanted any more."""
        try:
            async with self._http.once("DELETE", url):
                pass
        except (Transient, RegistryError) as error:
            self._progress(Note(f"{self._host} did not take back an unused upload ({error})"))


_EMPTY = {"Content-Length": "0"}


def _closing(session: _Session, digest: str) -> URL:
    mark = "&" if session.url.raw_query_string else "?"
    return URL(f"{session.url}{mark}digest={digest.replace(':', '%3A')}", encoded=True)


def _taken(response: aiohttp.ClientResponse) -> int | None:
    """How many bytes an upload holds, by its Range header. `0-0` is what an empty one says."""
    match = _RANGE.fullmatch(response.headers.get("Range", "").strip())
    if match is None:
        return None
    return int(match[1]) + 1 if int(match[1]) else 0


class _Pieces:
    """A stream of chunks, handed out in bodies of given lengths."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks
        self._left = memoryview(b"")

    async def take(self, length: int) -> AsyncIterator[memoryview]:
        """The next `length` bytes."""
        while length:
            if not self._left:
                self._left = memoryview(await anext(self._chunks, b""))
                if not self._left:
                    return  # the length that was announced is not reached, which breaks the request
            size = min(length, _PIECE)
            piece, self._left = self._left[:size], self._left[size:]
            length -= len(piece)
            yield piece

    async def end(self) -> None:
        """Run the stream to its end, where its hashes are finished."""
        async for chunk in self._chunks:
            assert not chunk, "the blob is longer than its size"


class _Body:
    """The body of an upload: counts what goes, remembers why it failed, and notices when nothing moves any more."""

    def __init__(self, chunks: AsyncIterator[memoryview], advance: Advance, stall_s: float) -> None:
        self._chunks = chunks
        self._advance = advance
        self._stall_s = stall_s
        self._timeout: asyncio.Timeout | None = None
        self.failure: Exception | None = None

    def __aiter__(self) -> "_Body":
        return self

    async def __anext__(self) -> memoryview:
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
