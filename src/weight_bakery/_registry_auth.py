"""Logging in to a registry: Docker's stored logins, and the challenges that registries answer with.

A password goes only where the registry's own challenge sends it, and only over https (or to this machine). Every
password and token learned here is registered with `redaction` before it is used.
"""

import asyncio
import base64
import binascii
import json
import re
import subprocess
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from redaction import redact, register_secret
from weight_bakery._errors import BadRequest, RegistryDenied, RegistryError, RegistryUnreachable
from weight_bakery._references import DOCKER_HUB, is_loopback
from weight_bakery._request import Credentials

_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_HELPER_NAME = re.compile(r"[A-Za-z0-9._-]+")
_HELPER_TIMEOUT_S = 60.0
_DEFAULT_LIFETIME_S = 60.0  # what the token protocol says when the answer does not
_EARLY_S = 10.0
_CLOCK_S = 300.0
_CHALLENGE = re.compile(r'(?i)\b(bearer|basic)\b((?:[\s,]+[\w-]+\s*=\s*(?:"[^"]*"|[^\s,"]+))*)')
_PARAMETER = re.compile(r'([\w-]+)\s*=\s*(?:"([^"]*)"|([^\s,"]+))')


@dataclass(frozen=True)
class Challenge:
    """One way to log in that a registry offers."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """Read the WWW-Authenticate headers of a 401."""
    found = []
    for scheme, rest in (match.groups() for header in headers for match in _CHALLENGE.finditer(header)):
        parameters = {key.lower(): quoted or bare for key, quoted, bare in _PARAMETER.findall(rest)}
        found.append(Challenge(scheme.lower(), parameters))
    return found


def read_url(text: str, *, encoded: bool = True) -> URL | None:
    """An address that a server named; None where it is none."""
    try:
        url = URL(text, encoded=encoded)
        return url if url.port or not url.absolute else None
    except ValueError:
        return None


def docker_credentials(folder: Path, host: str) -> Credentials | None:
    """Return the login that Docker's config.json (or a credential helper it names) has for `host`."""
    path = folder / "config.json"
    if not path.is_file():
        return None
    try:
        config = json.loads(path.read_bytes())
        helper = (config.get("credHelpers") or {}).get(_server(host)) or (config.get("credHelpers") or {}).get(host)
        entry = _auth_entry(config.get("auths") or {}, host)
        store = config.get("credsStore")
    except (ValueError, AttributeError, OSError) as error:
        raise BadRequest(f"{path} cannot be read as Docker's configuration", "repair it, or log in again") from error
    if helper or (store and not (entry or {}).get("auth")):
        return _ask_helper(str(helper or store), _server(host))
    return _from_entry(entry, path, host) if entry else None


class Authenticator:
    """Answers one registry's challenges, and remembers the answer until it runs out."""

    def __init__(self, session: aiohttp.ClientSession, host: str, credentials: Credentials | None) -> None:
        self._session = session
        self._host = host
        self._credentials = credentials
        self._fetching = asyncio.Lock()
        self._basic = False
        self._bearer: Challenge | None = None
        self._token: str | None = None
        self._token_ends = 0.0
        self._scopes: set[str] = set()
        self._optional: set[str] = set()
        self._denied: set[str] = set()
        for secret in (credentials.password, credentials.identity_token) if credentials else ():
            register_secret(secret)

    def want(self, scope: str, *, optional: bool = False) -> None:
        """Ask for `scope` too in the next token. An optional one is left out when the login may not have it."""
        if scope not in self._scopes | self._optional | self._denied:
            (self._optional if optional else self._scopes).add(scope)
            self._token = None

    async def headers(self) -> dict[str, str]:
        """Return the Authorization header that the registry is known to want, if any."""
        if self._bearer is not None and not self._basic:
            async with self._fetching:  # several layers in flight need one token
                if self._token is None or time.monotonic() > self._token_ends:
                    await self._fetch_token(self._bearer)
        known = self._known()
        return {"Authorization": known} if known is not None else {}

    def answer(self, challenges: Sequence[Challenge], used: str | None) -> bool:
        """Take up a challenge to a request that carried `used` as its login; False when there is nothing to try.

        Several requests are under way at once: one that was sent before another one learned the login is simply sent
        again with what is known by now.
        """
        if self._known() not in (None, used):
            return True
        bearer = next((item for item in challenges if item.scheme == "bearer" and item.parameters.get("realm")), None)
        if bearer is not None:
            self._bearer, self._basic, self._token = bearer, False, None
            return True
        if any(item.scheme == "basic" for item in challenges) and self._credentials is not None and used is None:
            self._basic = True
            return True
        return False

    def _known(self) -> str | None:
        """The login as far as it is known without asking anybody."""
        if self._basic and self._credentials is not None:
            return _basic(self._credentials)
        return f"Bearer {self._token}" if self._token is not None else None

    async def _fetch_token(self, challenge: Challenge) -> None:
        where = challenge.parameters["realm"]
        realm = read_url(where, encoded=False)
        if realm is None or realm.host is None or (realm.scheme != "https" and not is_loopback(realm.host)):
            raise RegistryDenied(
                f"{self._host} wants a login at {where[:200]!r}, which is not https",
                "use a registry that logs in over https",
            )
        while True:
            optional = frozenset(self._optional)
            scopes = self._scopes | optional | (set(challenge.parameters.get("scope", "").split()) - self._denied)
            answer = await self._exchange(realm, challenge.parameters.get("service", ""), sorted(scopes), optional)
            if answer is not None:
                break
        try:
            token = answer.get("token") or answer["access_token"]
            lifetime = float(answer.get("expires_in") or _DEFAULT_LIFETIME_S)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RegistryError(f"{self._host}: its login service sent no token", "check the registry") from error
        register_secret(token)
        self._token = str(token)
        self._token_ends = time.monotonic() + max(lifetime - _EARLY_S, lifetime / 2)

    async def _exchange(self, realm: URL, service: str, scopes: Sequence[str], optional: Set[str]) -> Any:
        """Ask the realm; None when it refused and there are optional scopes, which are given up then."""
        async with await self._ask(realm, service, scopes) as response:
            if response.status in (400, 401, 403):
                if optional:
                    self._optional -= optional
                    self._denied |= optional
                    return None
                raise RegistryDenied(
                    f"{self._host} refused the login (HTTP {response.status} from {realm.host})",
                    "run `docker login` for it, or check the name and password" + clock_hint(response),
                    status=response.status,
                )
            if response.status != 200:
                passing = response.status == 429 or response.status >= 500
                raise (RegistryUnreachable if passing else RegistryError)(
                    f"{self._host}: its login service {realm.host} answered HTTP {response.status}",
                    "try again later",
                    status=response.status,
                )
            try:
                return json.loads(await response.content.read(1 << 20))
            except ValueError as error:
                raise RegistryError(f"{self._host}: its login service sent no token", "check the registry") from error

    async def _ask(self, realm: URL, service: str, scopes: Sequence[str]) -> aiohttp.ClientResponse:
        credentials = self._credentials
        if credentials is not None and credentials.identity_token:
            form = {
                "grant_type": "refresh_token",
                "service": service,
                "scope": " ".join(scopes),
                "client_id": "vllm-runpod",
                "refresh_token": credentials.identity_token,
            }
            return await self._session.post(realm, data=form, allow_redirects=False)
        query = [*realm.query.items(), *([("service", service)] if service else []), *(("scope", s) for s in scopes)]
        headers = {"Authorization": _basic(credentials)} if credentials is not None else {}
        return await self._session.get(realm.with_query(query), headers=headers, allow_redirects=False)


def clock_hint(response: aiohttp.ClientResponse) -> str:
    """What to add to a refused login when this machine's clock is wrong: tokens and certificates depend on it."""
    try:
        there = parsedate_to_datetime(response.headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError):
        return ""
    ahead = time.time() - there
    if abs(ahead) < _CLOCK_S:
        return ""
    way = "ahead of" if ahead > 0 else "behind"
    return f"; this machine's clock is {abs(ahead) / 60:,.0f} minutes {way} the registry's, so set it right first"


def _basic(credentials: Credentials) -> str:
    encoded = base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()
    register_secret(encoded)
    return f"Basic {encoded}"


def _server(host: str) -> str:
    return _DOCKER_HUB_KEY if host == DOCKER_HUB else host


def _auth_entry(auths: dict[str, Any], host: str) -> dict[str, Any] | None:
    for key, entry in auths.items():
        bare = key.removeprefix("https://").removeprefix("http://").partition("/")[0]
        if key == _server(host) or bare == host or (host == DOCKER_HUB and bare == "index.docker.io"):
            return entry if isinstance(entry, dict) else None
    return None


def _from_entry(entry: dict[str, Any], path: Path, host: str) -> Credentials | None:
    identity = str(entry.get("identitytoken") or "")
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        register_secret(str(entry["auth"]))
        try:
            username, _, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise BadRequest(f"{path}: the login for {host} is damaged", "run `docker login` again") from error
    password = password.rstrip("\0")
    if not (identity or username):
        return None
    return Credentials(username, password, identity)


def _ask_helper(name: str, server: str) -> Credentials | None:
    program = f"docker-credential-{name}"
    remedy = "repair the helper, or set the login by environment variables"
    if not _HELPER_NAME.fullmatch(name):
        raise BadRequest(f"Docker's configuration names a credential helper {name!r}", remedy)
    try:
        done = subprocess.run(
            [program, "get"], input=server.encode(), capture_output=True, timeout=_HELPER_TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        raise BadRequest(f"Docker's configuration wants {program}, which is not on PATH", remedy) from error
    except subprocess.TimeoutExpired as error:
        raise BadRequest(f"{program} did not answer within {_HELPER_TIMEOUT_S:.0f} s", remedy) from error
    if done.returncode != 0:
        said = redact((done.stdout + done.stderr).decode(errors="replace").strip())
        if "not found" in said.lower():
            return None
        raise BadRequest(f"{program} failed: {said[:200]}", remedy)
    try:
        answer = json.loads(done.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadRequest(f"{program} answered something that is not a login", remedy) from error
    register_secret(secret)
    return Credentials("", "", secret) if username == "<token>" else Credentials(username, secret)
