"""Images in a registry: the distribution protocol, read only, over aiohttp.

Credentials go to the registry itself and to the token service it names, both over https or to this machine; never to
where a redirect leads. A GET that broke is repeated: it changes nothing.
"""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

import aiohttp
from aiohttp import hdrs

from redaction import redact, register_secret
from runpod_emulator.host._documents import MANIFEST_TYPES, MAX_DOCUMENT_BYTES, Descriptor, Layer, check, digest_of
from runpod_emulator.host._errors import (
    BadImage,
    DigestMismatch,
    ImageNotFound,
    RegistryRefused,
    RegistryUnreachable,
    disk_errors,
)
from runpod_emulator.host._references import RegistryReference, is_loopback

T = TypeVar("T")
_ATTEMPTS = 3
_PAUSE_S = 0.3
_MAX_REDIRECTS = 5
_CHUNK = 1024 * 1024
_CHALLENGE = re.compile(r'([A-Za-z_]+)="([^"]*)"')
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
_AGENT = "vllm-runpod-emulator"


class _Transient(Exception):
    """Worth another attempt."""


class RegistrySource:
    """One image of one registry. Implements `_documents.Source`."""

    def __init__(
        self, reference: RegistryReference, auth: tuple[str, str] | None, session: aiohttp.ClientSession
    ) -> None:
        self.image = reference.text
        self._reference, self._auth, self._session = reference, auth, session
        self._authorization: str | None = None
        self._base = f"{reference.base_url}/v2/{reference.repository}"
        if auth is not None:
            register_secret(auth[1])

    async def top(self) -> tuple[str, bytes]:
        content = await self._small(f"{self._base}/manifests/{self._reference.wanted}", "manifest", MANIFEST_TYPES)
        digest = digest_of(content)
        if self._reference.digest not in (None, digest):
            raise DigestMismatch(self.image, "its manifest", str(self._reference.digest), digest)
        return digest, content

    async def document(self, descriptor: Descriptor) -> bytes:
        if descriptor.size > MAX_DOCUMENT_BYTES:
            raise BadImage(self.image, f"document {descriptor.digest} is said to have {descriptor.size} bytes")
        manifest = descriptor.media_type in MANIFEST_TYPES
        url = f"{self._base}/{'manifests' if manifest else 'blobs'}/{descriptor.digest}"
        content = await self._small(url, f"document {descriptor.digest}", MANIFEST_TYPES if manifest else ())
        return check(self.image, f"document {descriptor.digest}", descriptor.digest, descriptor.size, content)

    async def fetch(self, layer: Layer, target: Path) -> None:
        """Write the layer's blob to `target`, hashed as it flows. A wrong byte raises DigestMismatch."""
        await self._repeated(lambda: self._fetch_once(layer, target))

    async def _fetch_once(self, layer: Layer, target: Path) -> None:
        sha256, size = hashlib.sha256(), 0
        with disk_errors(target):
            file = target.open("wb")
        with file:
            async with self._get(f"{self._base}/blobs/{layer.digest}", layer.full_name, ()) as response:
                async for chunk in response.content.iter_chunked(_CHUNK):
                    size += len(chunk)
                    if size > layer.size:
                        break

                    def keep(data: bytes = chunk) -> None:
                        sha256.update(data)
                        with disk_errors(target):
                            file.write(data)

                    await asyncio.to_thread(keep)
            with disk_errors(target):
                file.flush()
        actual = f"sha256:{sha256.hexdigest()}"
        if size < layer.size:
            raise _Transient(f"{layer.full_name} ended after {size} of {layer.size} bytes")
        if (actual, size) != (layer.digest, layer.size):
            found = f"more than {layer.size} bytes" if size > layer.size else actual
            raise DigestMismatch(self.image, layer.full_name, f"{layer.digest} ({layer.size} bytes)", found)

    async def _small(self, url: str, what: str, accept: tuple[str, ...]) -> bytes:
        async def once() -> bytes:
            async with self._get(url, what, accept) as response:
                content = await response.content.read(MAX_DOCUMENT_BYTES + 1)
                while len(content) <= MAX_DOCUMENT_BYTES and (more := await response.content.read(_CHUNK)):
                    content += more
            if len(content) > MAX_DOCUMENT_BYTES:
                raise BadImage(self.image, f"{what} is larger than {MAX_DOCUMENT_BYTES} bytes")
            return content

        return await self._repeated(once)

    async def _repeated(self, once: Callable[[], Awaitable[T]]) -> T:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await once()
            except (aiohttp.ClientError, TimeoutError, _Transient) as error:
                if attempt == _ATTEMPTS:
                    why = redact(" ".join(str(error).split())) or type(error).__name__
                    raise RegistryUnreachable(self.image, self._reference.host, why) from error
            await asyncio.sleep(_PAUSE_S * attempt)
        raise AssertionError("unreachable")

    @asynccontextmanager
    async def _get(self, url: str, what: str, accept: tuple[str, ...]) -> AsyncIterator[aiohttp.ClientResponse]:
        """A 200 answer, after authentication and redirects; anything else as a HostError."""
        headers = {hdrs.USER_AGENT: _AGENT}
        if accept:
            headers[hdrs.ACCEPT] = ", ".join(accept)
        renewed = False
        for _ in range(_MAX_REDIRECTS + 2):
            if self._authorization is not None and _origin(url) == _origin(self._base):
                headers[hdrs.AUTHORIZATION] = self._authorization
            else:
                headers.pop(hdrs.AUTHORIZATION, None)
            async with self._session.get(url, headers=headers, allow_redirects=False, timeout=_TIMEOUT) as response:
                if response.status in (301, 302, 303, 307, 308):
                    url = self._followed(url, response.headers.get(hdrs.LOCATION, ""))
                    continue
                if response.status == 401 and not renewed and _origin(url) == _origin(self._base):
                    renewed = True  # the first time, or a token that ran out during a long pull
                    self._authorization = await self._authorize(response.headers.getall(hdrs.WWW_AUTHENTICATE, []))
                    continue
                if response.status != 200:
                    raise await self._refusal(response, what)
                yield response
                return
        raise RegistryUnreachable(self.image, self._reference.host, "it redirects without end")

    def _followed(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        self._demand_safe(target)
        return target

    def _demand_safe(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.netloc.rpartition("@")[2])):
            where = f"{parts.scheme}://{parts.hostname}"
            raise RegistryUnreachable(self.image, self._reference.host, f"it sends us to {where}, which is not https")

    async def _authorize(self, challenges: list[str]) -> str:
        """The Authorization header that answers the registry's challenge. Raises RegistryRefused."""
        for challenge in challenges:
            scheme, _, rest = challenge.partition(" ")
            if scheme.lower() == "bearer":
                return f"Bearer {await self._token({key.lower(): value for key, value in _CHALLENGE.findall(rest)})}"
            if scheme.lower() == "basic":
                if self._auth is None:
                    raise self._refused("it wants a username and a password")
                return _basic(*self._auth)
        raise self._refused("it answered 401 and named no way to authenticate that is known here")

    async def _token(self, challenge: Mapping[str, str]) -> str:
        realm = challenge.get("realm", "")
        self._demand_safe(realm)
        scope = challenge.get("scope") or f"repository:{self._reference.repository}:pull"
        query = {"scope": scope} | ({"service": challenge["service"]} if "service" in challenge else {})
        headers = {hdrs.USER_AGENT: _AGENT}
        if self._auth is not None:
            headers[hdrs.AUTHORIZATION] = _basic(*self._auth)
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        async with self._session.get(url, headers=headers, allow_redirects=False, timeout=_TIMEOUT) as response:
            if response.status >= 500 or response.status == 429:
                raise _Transient(f"its token service answered {response.status}")
            if response.status != 200:
                raise self._refused(f"its token service answered {response.status}")
            try:
                answer = await response.json(content_type=None)
            except ValueError as error:
                raise _Transient("its token service did not answer with JSON") from error
        token = (answer.get("token") or answer.get("access_token")) if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token or not token.isprintable():
            raise self._refused("its token service gave no token")
        register_secret(token)
        return token

    def _refused(self, why: str) -> RegistryRefused:
        return RegistryRefused(self.image, self._reference.host, why, with_credentials=self._auth is not None)

    async def _refusal(self, response: aiohttp.ClientResponse, what: str) -> Exception:
        status = response.status
        if status == 404:
            return ImageNotFound(
                self.image,
                f"registry {self._reference.host} has no such {what}",
                "push it, or check repository and tag",
            )
        if status in (401, 403):
            return self._refused(f"{what} answered {status}")
        if status == 429 or status >= 500:
            return _Transient(f"{what} answered {status}")
        return RegistryUnreachable(self.image, self._reference.host, f"{what} answered {status}")


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
