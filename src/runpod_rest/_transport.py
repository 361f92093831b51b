"""One try of one call over HTTP: bounded in time and size, and every failure named.

Reads go over pooled connections. Writes never do: a server that closes an idle connection at the very moment we write
on it leaves nobody able to tell whether the write arrived, and a fresh connection costs only a handshake.
"""

import asyncio
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace, TracebackType
from typing import Self

import aiohttp
from yarl import URL

from runpod_rest._errors import NetworkError, RunPodError, UnreadableAnswer
from runpod_rest._hosts import is_loopback
from runpod_rest._retry import SAFE_METHODS

_CHUNK = 64 * 1024
_MAX_ERROR_BODY = 64 * 1024
_CONNECT_TIMEOUT_S = 10.0
_STREAM_TIMEOUT_S = 5.0
_STREAM_SILENCE_S = 1.0
_MAX_STREAM_LINES = 5000


@dataclass(frozen=True)
class Answer:
    """A complete HTTP answer."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes
    sends: int = 1
    """How often the request left: aiohttp itself repeats an idempotent one whose connection broke."""


@dataclass(frozen=True)
class Broken:
    """A try without an answer. `sent` is false only if no byte of the request left this machine."""

    why: str
    sent: bool
    hopeless: bool = False
    """Waiting will not help: a certificate that is not trusted, a local port that nobody listens on."""

    def error(self, call: str, tries: int, *, write: bool) -> NetworkError:
        after = f" (after {tries} tries)" if tries > 1 else ""
        ambiguous = self.sent and write
        doubt = "\n\nhint: it may have been carried out all the same; look before you repeat it" if ambiguous else ""
        return NetworkError(f"{call}: {self.why}{after}{doubt}", ambiguous=ambiguous)


class Transport:
    """Sends requests with one set of headers. Use as an async context manager."""

    def __init__(self, headers: Mapping[str, str], max_body_bytes: int) -> None:
        self._headers = dict(headers)
        self._max_body_bytes = max_body_bytes
        self._reads: aiohttp.ClientSession | None = None
        self._writes: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._reads = self._session(force_close=False)
        self._writes = self._session(force_close=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in (self._reads, self._writes):
            if session is not None:
                await session.close()
        self._reads = self._writes = None

    def _session(self, *, force_close: bool) -> aiohttp.ClientSession:
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_count_send)
        return aiohttp.ClientSession(
            trace_configs=[trace],
            headers=self._headers,
            connector=aiohttp.TCPConnector(force_close=force_close),
            cookie_jar=aiohttp.DummyCookieJar(),
            # The whole try is bounded in `attempt`; this one tells "never connected" from "sent, no answer".
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
        )

    def session_for(self, method: str) -> aiohttp.ClientSession:
        """The session that carries `method`."""
        session = self._reads if method in SAFE_METHODS else self._writes
        if session is None:
            raise RunPodError("the client is not open; use it as `async with Client(...) as client:`")
        return session

    async def attempt(self, call: str, method: str, url: URL, body: bytes | None, timeout_s: float) -> Answer | Broken:
        """Send once. Returns what happened; raises only where an answer came back that nobody can use."""
        session = self.session_for(method)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        sends: list[str] = []
        # The foreign exception is not chained: aiohttp's carry the request's headers, and with them the key.
        try:
            async with (
                asyncio.timeout(timeout_s),
                session.request(
                    method, url, data=body, headers=headers, allow_redirects=False, trace_request_ctx=sends
                ) as response,
            ):
                limit = self._max_body_bytes if response.ok else _MAX_ERROR_BODY
                content, complete = await _read(response, limit)
                answer = Answer(response.status, response.reason or "", response.headers.copy(), content, len(sends))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return _broken(error, url, timeout_s)
        if not complete and answer.status < 300:
            raise UnreadableAnswer(
                f"{call}: the answer is larger than {self._max_body_bytes} bytes",
                status=answer.status,
                ambiguous=method not in SAFE_METHODS,
            )
        return answer

    async def event_lines(self, url: URL) -> tuple[list[str], Mapping[str, str] | None]:
        """The `line` of each event of an event stream until it falls silent, and the headers if it was answered."""
        session = self.session_for("GET")
        lines: list[str] = []
        headers: Mapping[str, str] | None = None
        try:
            async with (
                asyncio.timeout(_STREAM_TIMEOUT_S),
                session.get(url, allow_redirects=False, trace_request_ctx=[]) as answer,
            ):
                headers = answer.headers.copy()
                # Silence after the backlog means that what follows is live.
                while answer.status == 200 and len(lines) < _MAX_STREAM_LINES:
                    raw = await asyncio.wait_for(answer.content.readline(), _STREAM_SILENCE_S)
                    if not raw:
                        break
                    if line := _event_line(raw):
                        lines.append(line)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return lines, headers
        return lines, headers


def _event_line(raw: bytes) -> str:
    if not raw.startswith(b"data:"):
        return ""
    try:
        event = json.loads(raw[len(b"data:") :])
    except (ValueError, RecursionError):
        return ""
    return str(event.get("line", "")).strip() if isinstance(event, dict) else ""


async def _count_send(
    _session: aiohttp.ClientSession, context: SimpleNamespace, sent: aiohttp.TraceRequestHeadersSentParams
) -> None:
    context.trace_request_ctx.append(sent.method)


async def _read(response: aiohttp.ClientResponse, limit: int) -> tuple[bytes, bool]:
    """At most `limit` bytes of the body, and whether that was all of it."""
    content = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        content += chunk
        if len(content) > limit:
            response.close()
            return bytes(content[:limit]), False
    return bytes(content), True


def _broken(error: Exception, url: URL, timeout_s: float) -> Broken:
    place = f"{url.host}:{url.port}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError | ssl.SSLError):
        return Broken(f"{place} could not prove who it is ({_why(error)})", sent=False, hopeless=True)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Broken(f"the name {url.host} is not known here ({_why(error)})", sent=False)
    if isinstance(error, aiohttp.ClientConnectorError):
        local = is_loopback(str(url.origin()))
        hint = "\n\nhint: nothing listens there; is the emulator running?" if local else ""
        return Broken(f"cannot connect to {place} ({_why(error)}){hint}", sent=False, hopeless=local)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Broken(f"cannot connect to {place} within {_CONNECT_TIMEOUT_S:g} s", sent=False)
    if isinstance(error, TimeoutError):
        return Broken(f"no answer from {place} within {timeout_s:g} s", sent=True)
    return Broken(f"the connection to {place} broke before the answer was complete ({_why(error)})", sent=True)


def _why(error: Exception) -> str:
    inner = getattr(error, "os_error", None)
    if isinstance(inner, OSError):
        text = os.strerror(inner.errno) if inner.errno and inner.errno > 0 else str(inner.strerror or inner)
    else:
        text = str(error)
    # Only the first line, and never the whole of it: some of aiohttp's messages quote what the server sent.
    lines = text.splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
