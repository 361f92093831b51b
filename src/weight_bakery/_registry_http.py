"""Requests to one registry: addresses, login, refusals in words, and repeating only what is safe to repeat."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from yarl import URL

from weight_bakery._errors import (
    DigestMismatch,
    RegistryDenied,
    RegistryError,
    RegistryTooLarge,
    RegistryUnreachable,
)
from weight_bakery._references import RegistryReference, is_loopback
from weight_bakery._registry_auth import Authenticator, clock_hint, parse_challenges, read_url
from weight_bakery._request import Credentials

T = TypeVar("T")

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_BODY_LIMIT = 64 * 1024


@dataclass(frozen=True)
class RetryPolicy:
    """How often, and how patiently, something that may pass is tried again."""

    tries: int = 5
    first_pause_s: float = 0.5
    longest_pause_s: float = 30.0
    stall_s: float = 120.0
    """An upload of which not one chunk moves for this long is given up and started again."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def pause(self, attempt: int, retry_after: float | None = None) -> None:
        """Wait before try number `attempt` + 1; doubling, with jitter, and at least as long as the server asks."""
        limit = min(self.first_pause_s * 2**attempt, self.longest_pause_s)
        wanted = limit * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
        await self.sleep(max(wanted, min(retry_after or 0.0, 2 * self.longest_pause_s)))


class Transient(Exception):
    """A failure that may pass. `error` is what to raise when it does not."""

    def __init__(self, error: RegistryError, retry_after: float | None = None) -> None:
        self.error = error
        self.retry_after = retry_after
        super().__init__(str(error))


class RegistryHttp:
    """One registry as seen from one repository."""

    def __init__(self, reference: RegistryReference, credentials: Credentials | None, policy: RetryPolicy) -> None:
        self.reference = reference
        self.policy = policy
        self.root = URL(reference.api_url)
        self._session = aiohttp.ClientSession(
            # No total: a layer may take an hour. Reads time out; writes are watched by the upload itself.
            timeout=aiohttp.ClientTimeout(total=None, connect=60, sock_connect=30, sock_read=300),
            connector=aiohttp.TCPConnector(limit=64),
            headers={"User-Agent": "vllm-runpod-bakery"},
            auto_decompress=False,
            read_bufsize=1 << 20,
            trust_env=not is_loopback(reference.host),
        )
        self.auth = Authenticator(self._session, reference.host, credentials)

    def url(self, path: str) -> URL:
        """Address below this repository."""
        return URL(f"{self.root}/v2/{self.reference.repository}/{path}", encoded=True)

    def follow(self, response: aiohttp.ClientResponse) -> URL:
        """Address of the next step of an upload. Its query is the registry's own and must not be re-encoded."""
        location = response.headers.get("Location")
        if not location:
            raise RegistryError(
                f"{self.reference.host} started an upload without saying where",
                "check the registry",
                status=response.status,
            )
        target = read_url(location)
        if target is None:
            raise RegistryError(
                f"{self.reference.host} sends uploads to {location[:200]!r}, which is no address",
                "check the registry, and proxies on the way to it",
            )
        if not target.absolute:
            target = response.url.join(target)
        if target.scheme == "http" and not is_loopback(target.host or ""):
            if target.host != self.root.host:
                raise RegistryError(f"{self.reference.host} sends uploads to {target.host} without https", "check it")
            # A registry behind a proxy that ends TLS often does not know that it is reached by https.
            target = URL(str(target).replace("http://", "https://", 1), encoded=True)
        return target

    @asynccontextmanager
    async def once(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
        redirects: bool = False,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request. A 401 is answered with a login and sent again, unless the body is a stream."""
        try:
            for last in (False, True):
                own = url.host == self.root.host and url.port == self.root.port
                login = await self.auth.headers() if own else {}
                response = await self._session.request(
                    method, url, headers={**(headers or {}), **login}, data=data, allow_redirects=redirects
                )
                replayable = data is None or isinstance(data, bytes)
                if response.status == 401 and replayable and not last and own:
                    challenges = parse_challenges(response.headers.getall("WWW-Authenticate", []))
                    if self.auth.answer(challenges, login.get("Authorization")):
                        response.release()
                        continue
                try:
                    yield response
                finally:
                    response.release()
                return
        except RegistryUnreachable as error:  # the login service
            raise Transient(error) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Transient(self._unreachable(error)) from error

    async def exchange(
        self,
        method: str,
        url: URL,
        *,
        ok: frozenset[int],
        what: str,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        redirects: bool = False,
        limit: int = _BODY_LIMIT,
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        """Send a request that is safe to repeat, and return its answer. Statuses outside `ok` raise."""

        async def attempt() -> tuple[aiohttp.ClientResponse, bytes]:
            async with self.once(method, url, headers=headers, data=data, redirects=redirects) as response:
                body = await read_up_to(response, limit) if method != "HEAD" else b""
                if response.status not in ok:
                    raise self.refusal(response, body, what)
                return response, body

        return await self.repeat(attempt)

    async def repeat(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Make an attempt until it succeeds, fails for good, or the tries are used up."""
        for number in range(self.policy.tries):
            try:
                return await attempt()
            except Transient as failure:
                if number + 1 == self.policy.tries:
                    raise failure.error from failure
                await self.policy.pause(number, failure.retry_after)
        raise AssertionError("a policy has at least one try")

    def refusal(self, response: aiohttp.ClientResponse, body: bytes, what: str) -> Exception:
        """Put a registry's refusal into words; a `Transient` when it may pass."""
        status, host = response.status, self.reference.host
        said = _said(body)
        text = f"{host} refused {what} (HTTP {status}{': ' + said if said else ''})"
        if status in TRANSIENT:
            error = RegistryUnreachable(text, "try again later", status=status)
            return Transient(error, _seconds(response.headers.get("Retry-After")))
        if status == 401:
            remedy = f"log in with `docker login {host}`, or set the login variables{clock_hint(response)}"
            return RegistryDenied(text, remedy, status=status)
        if status == 403:
            return RegistryDenied(
                text, f"use a login that may write {self.reference.repository}, and check the name", status=status
            )
        if status == 413:
            remedy = "raise the registry's size limit, or split weight files over it with --max-layer-size"
            return RegistryTooLarge(text, remedy, status=status)
        if "DIGEST_INVALID" in said:
            return DigestMismatch(text, "run the bake again", status=status)
        if "NAME_UNKNOWN" in said or "NAME_INVALID" in said:
            return RegistryError(
                text, "check the repository's name; some registries want it created first", status=status
            )
        return RegistryError(text, "check the reference and the registry's log", status=status)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def _unreachable(self, error: Exception) -> RegistryUnreachable:
        host = self.reference.host
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
            remedy = "check the host name"
            if "not yet valid" in str(error) or "expired" in str(error):
                remedy += " and this machine's clock"
            return RegistryUnreachable(f"{host} has no certificate that is trusted here ({error})", remedy)
        if isinstance(error, aiohttp.ClientConnectorError):
            why = error.os_error.strerror or error.os_error
            remedy = "check that it runs" if is_loopback(host) else "check its name and the network"
            return RegistryUnreachable(f"{host} cannot be reached ({why})", remedy)
        reason = "it did not answer in time" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {error}"
        return RegistryUnreachable(f"the connection to {host} broke ({reason})", "try again later")


async def read_up_to(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read a whole small body; one byte more than `limit` at most."""
    parts = bytearray()
    async for chunk in response.content.iter_any():
        parts += chunk
        if len(parts) > limit:
            break
    return bytes(parts[: limit + 1])


def _said(body: bytes) -> str:
    """What the registry itself says: the error codes and messages of the distribution protocol, else the text."""
    try:
        errors = json.loads(body)["errors"]
        return "; ".join(f"{item.get('code', '')} {item.get('message', '')}".strip() for item in errors)[:300]
    except (ValueError, KeyError, TypeError, AttributeError):
        text = body.decode(errors="replace").strip()
        return "" if text.startswith("<") else text[:200]


def _seconds(value: str | None) -> float | None:
    return float(value) if value is not None and value.isdigit() else None
