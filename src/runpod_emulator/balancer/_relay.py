"""One request to a worker and its answer back, piece by piece both ways."""

from collections.abc import AsyncIterator, Mapping

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from runpod_emulator.context import PEEKED
from runpod_emulator.jobs import JobRequestError
from runpod_emulator.workers import HttpPorts

MEGABYTE = 1024 * 1024
BODY_LIMIT = 30 * MEGABYTE
"""Of a request and of an answer (runpod-api.md §2.2)."""
WORKER_ID = "X-Runpod-Worker-Id"
TOO_LARGE = JobRequestError(413, f"request body is larger than {BODY_LIMIT // MEGABYTE} MB")

_CONNECTION_ONLY = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer"}
    | {"transfer-encoding", "upgrade"}
)
_NOT_FOR_WORKERS = frozenset({"authorization", "expect", "host", WORKER_ID.lower()})
"""The key is the account's: a container has no business with it (our assumption)."""


class BrokenOff(ConnectionResetError):
    """The answer had begun and cannot be ended: the caller's connection was closed, so that it sees that."""


class Relay:
    """`run` once. `response` is there as soon as the worker has begun to answer."""

    def __init__(self, http: aiohttp.ClientSession, request: web.Request, ports: HttpPorts, worker_id: str) -> None:
        self._http, self._request, self._worker_id = http, request, worker_id
        self._url = URL(f"http://127.0.0.1:{ports.app}{_target(request)}", encoded=True)
        self._too_large = False
        self.response: web.StreamResponse | None = None

    async def run(self) -> web.StreamResponse:
        """Raises JobRequestError for what the caller is told, BrokenOff once it is too late for that."""
        request = self._request
        if (request.content_length or 0) > BODY_LIMIT:
            raise TOO_LARGE
        headers = passed_on(request.headers, _NOT_FOR_WORKERS)
        try:
            async with self._http.request(
                request.method,
                self._url,
                headers=headers,
                data=self._body() if request.body_exists else None,
                allow_redirects=False,
            ) as upstream:
                return await self._answer(upstream)
        except aiohttp.ClientError as error:
            if self.response is not None:
                raise self.broken_off(f"the worker broke off: {error}") from error
            if self._too_large:
                raise TOO_LARGE from None
            raise JobRequestError(
                502, f"worker {self._worker_id} did not answer: {error or type(error).__name__}"
            ) from error

    async def _body(self) -> AsyncIterator[bytes]:
        size = 0
        peeked = self._request.get(PEEKED)
        if peeked:
            yield peeked
        async for piece in self._request.content.iter_any():
            size += len(piece)
            if size > BODY_LIMIT:
                self._too_large = True
                raise ValueError("larger than the balancer takes")
            yield piece

    async def _answer(self, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        if (upstream.content_length or 0) > BODY_LIMIT and self._request.method != hdrs.METH_HEAD:
            raise JobRequestError(502, f"the worker's answer is larger than {BODY_LIMIT // MEGABYTE} MB")
        headers = passed_on(upstream.headers, ())
        headers[WORKER_ID] = self._worker_id
        self.response = web.StreamResponse(status=upstream.status, reason=upstream.reason, headers=headers)
        await self.response.prepare(self._request)
        size = 0
        async for piece in upstream.content.iter_any():
            size += len(piece)
            if size > BODY_LIMIT:
                raise self.broken_off("the answer is too large")
            await self._send(piece)
        await self.response.write_eof()
        return self.response

    async def _send(self, piece: bytes) -> None:
        assert self.response is not None
        try:
            await self.response.write(piece)
        except aiohttp.ClientError as error:  # the same class as the worker's own failures, but this is the caller's
            raise ConnectionResetError("the caller has gone") from error

    def broken_off(self, why: str) -> BrokenOff:
        """End the caller's connection in the middle of its answer."""
        if self._request.transport is not None:
            self._request.transport.abort()
        return BrokenOff(why)


def passed_on(
    headers: "Mapping[str, str] | CIMultiDictProxy[str]", dropped: frozenset[str] | tuple[()]
) -> CIMultiDict[str]:
    """Without those that speak of one connection only, the ones that `Connection` names included."""
    named = {name.strip().lower() for name in headers.get(hdrs.CONNECTION, "").split(",")}
    kept = CIMultiDict[str]()
    for name, value in headers.items():
        if name.lower() not in _CONNECTION_ONLY and name.lower() not in dropped and name.lower() not in named:
            kept.add(name, value)
    return kept


def _target(request: web.Request) -> str:
    """Path and query behind `/lb/<endpoint>`, byte for byte as they came."""
    rest = request.rel_url.raw_path.split("/", 3)[3:]
    query = request.rel_url.raw_query_string
    return "/" + "".join(rest) + (f"?{query}" if query else "")
