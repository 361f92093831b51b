"""A registry that misbehaves: what is repeated, what is not, and what people read about it."""

import asyncio
import base64
import hashlib
import json
from pathlib import Path

import pytest
from aiohttp import web

from redaction import forget_secrets
from tests.weight_bakery.proxy import FakeRegistry, fake_registry, serving
from tests.weight_bakery.support import payload, write_model
from weight_bakery import (
    BakeRequest,
    Credentials,
    DigestMismatch,
    RegistryDenied,
    RegistryError,
    RegistryTooLarge,
    RegistryUnreachable,
    bake_async,
)
from weight_bakery._blobs import BytesBlob
from weight_bakery._events import Event, Note
from weight_bakery._references import RegistryReference
from weight_bakery._registry import RegistryStore
from weight_bakery._registry_auth import docker_credentials, parse_challenges
from weight_bakery._registry_http import RetryPolicy

CONTENT = payload(3_000_000)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


async def _no_pause(_: float) -> None:
    await asyncio.sleep(0)


def store_for(registry: FakeRegistry, *, notes: list[str] | None = None, stall_s: float = 10.0,
              credentials: Credentials | None = None) -> RegistryStore:  # fmt: skip
    """A store for repository `m` that does not wait between tries."""

    def progress(event: Event) -> None:
        if notes is not None and isinstance(event, Note):
            notes.append(event.text)

    return RegistryStore(
        RegistryReference(registry.host, "m", "v1"),
        credentials=credentials,
        write=True,
        progress=progress,
        policy=RetryPolicy(tries=3, sleep=_no_pause, stall_s=stall_s),
    )


async def upload(registry: FakeRegistry, **options: object) -> tuple[str, int]:
    """Upload the test content; returns its digest and the sum of progress."""
    store = store_for(registry, **options)  # type: ignore[arg-type]
    moved: list[int] = []
    try:
        return await store.write_blob(BytesBlob(CONTENT), moved.append), sum(moved)
    finally:
        await store.close()


async def test_an_upload_is_post_one_patch_and_put() -> None:
    """The whole blob goes in one PATCH with its exact length and no Content-Range."""
    headers: list[dict[str, str]] = []

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if request.method == "PATCH":
            headers.append(dict(request.headers))
            assert request.rel_url.raw_query_string == "_state=a%2Fb%3D", (
                "the registry's own query comes back untouched"
            )
        return None

    async with fake_registry(hook) as registry:
        assert await upload(registry) == (DIGEST, len(CONTENT))
        assert registry.blobs[DIGEST] == CONTENT
    assert registry.seen == {"POST upload": 1, "PATCH upload": 1, "PUT upload": 1}
    assert headers[0]["Content-Length"] == str(len(CONTENT))
    assert "Content-Range" not in headers[0]


async def test_a_connection_that_drops_in_mid_stream_is_replayed() -> None:
    """A new session, the content from its start, progress taken back in between."""
    drops = [1]

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if request.method == "PATCH" and drops:
            drops.pop()
            await request.content.readexactly(100_000)
            assert request.transport is not None
            request.transport.close()
            await asyncio.sleep(0.05)
            return web.Response()
        return None

    notes: list[str] = []
    async with fake_registry(hook) as registry:
        assert await upload(registry, notes=notes) == (DIGEST, len(CONTENT))
        assert registry.blobs[DIGEST] == CONTENT
    assert len(notes) == 1
    assert "starts again" in notes[0]


async def test_a_lost_answer_is_not_a_second_upload() -> None:
    """When the blob is there although the answer to PUT never came, it is not sent again."""
    lost = [1]

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if request.method == "PUT" and "/uploads/" in request.path and lost:
            lost.pop()
            registry.blobs[DIGEST] = CONTENT
            return web.Response(status=504)
        return None

    async with fake_registry(hook) as registry:
        await upload(registry)
    assert registry.seen["PATCH upload"] == 1


async def test_a_forgotten_session_starts_again() -> None:
    """404 BLOB_UPLOAD_UNKNOWN to the PATCH (a restarted registry) leads to a new session."""
    forgotten = [1]

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if request.method == "PATCH" and forgotten:
            forgotten.pop()
            registry.uploads.clear()
        return None

    async with fake_registry(hook) as registry:
        assert (await upload(registry))[0] == DIGEST
    assert registry.seen["POST upload"] == 2


async def test_a_busy_registry_is_asked_again_later() -> None:
    """429 with Retry-After is waited for, then the same question is repeated."""
    pauses: list[float] = []

    async def remember(seconds: float) -> None:
        pauses.append(seconds)

    async def hook(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=429, headers={"Retry-After": "7"}) if not pauses else None

    async with fake_registry(hook) as registry:
        store = store_for(registry)
        store._http.policy = RetryPolicy(tries=3, sleep=remember)
        assert await store.has_blob(DIGEST, 1) is False
        await store.close()
    assert pauses == [7.0]


async def test_a_registry_that_takes_nothing_is_given_up() -> None:
    """A connection on which no byte moves any more does not hang for ever."""
    open_calls: list[asyncio.Event] = []

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if request.method == "PATCH":
            open_calls.append(asyncio.Event())
            await asyncio.wait_for(open_calls[-1].wait(), 5)
        return None

    big = payload(40_000_000)  # more than any socket buffer swallows
    async with fake_registry(hook) as registry:
        store = store_for(registry, stall_s=0.3)
        with pytest.raises(RegistryUnreachable, match="took no more bytes"):
            await store.write_blob(BytesBlob(big), lambda _: None)
        await store.close()
        for call in open_calls:
            call.set()
    assert len(open_calls) == 3


async def test_a_wrong_digest_in_the_answer_is_an_error() -> None:
    """What the registry says it stored is compared with what was sent."""
    async with fake_registry() as registry:
        registry.report_digest = lambda _: "sha256:" + "0" * 64
        with pytest.raises(DigestMismatch, match="stored a layer as sha256:000"):
            await upload(registry)


async def test_a_silent_registry_is_asked_whether_the_blob_is_there() -> None:
    """Without a digest in the answer, HEAD must show the blob."""
    async with fake_registry() as registry:
        registry.report_digest = lambda _: None
        await upload(registry)
    assert registry.seen["HEAD blob"] == 1


async def test_a_tag_that_shows_another_manifest_is_an_error(tmp_path: Path) -> None:
    """The manifest is asked for again after it was put, and compared."""

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if request.method == "GET" and "/manifests/" in request.path:
            return web.Response(body=b"{}", content_type="application/vnd.oci.image.manifest.v1+json")
        return None

    async with fake_registry(hook) as registry:
        request = BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"{registry.host}/m:v1")
        with pytest.raises(DigestMismatch, match="under v1, not sha256:"):
            await bake_async(request)


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (401, b"", RegistryDenied, r"refused .* \(HTTP 401\).*docker login"),
        (403, b'{"errors":[{"code":"DENIED","message":"no"}]}', RegistryDenied, r"HTTP 403: DENIED no"),
        (413, b"<html>too large</html>", RegistryTooLarge, r"HTTP 413\); raise the registry's size limit"),
        (404, b'{"errors":[{"code":"NAME_UNKNOWN"}]}', RegistryError, r"check the repository's name"),
        (405, b"nope", RegistryError, r"HTTP 405: nope"),
    ],
)
async def test_refusals_come_with_what_to_do(
    tmp_path: Path, status: int, body: bytes, error: type[RegistryError], message: str
) -> None:
    """One line each, at once, and nothing is tagged."""

    async def hook(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=status, body=body) if request.method == "POST" else None

    async with fake_registry(hook) as registry:
        request = BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"{registry.host}/m:v1")
        with pytest.raises(error, match=message) as caught:
            await bake_async(request)
        assert registry.manifests == {}
    assert caught.value.status == status
    assert "\n" not in str(caught.value)
    assert type(caught.value) is error


async def test_a_layer_over_the_limit_is_refused_once(tmp_path: Path) -> None:
    """413 to the PATCH is not repeated."""

    async def hook(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=413) if request.method == "PATCH" else None

    async with fake_registry(hook) as registry:
        with pytest.raises(RegistryTooLarge, match="a layer of 3,000,000 bytes"):
            await upload(registry)
    assert registry.seen["PATCH upload"] == 1


async def test_nobody_at_the_address_is_one_line(tmp_path: Path) -> None:
    """A port where nothing listens."""
    async with serving(_not_found) as host:
        pass
    store = RegistryStore(
        RegistryReference(host, "m", "v1"), credentials=None, write=True, progress=lambda _: None,
        policy=RetryPolicy(tries=2, sleep=_no_pause),
    )  # fmt: skip
    with pytest.raises(RegistryUnreachable, match=f"{host} cannot be reached .*check that it runs"):
        await store.has_blob(DIGEST, 1)
    await store.close()


async def _not_found(_: web.Request) -> web.StreamResponse:
    return web.Response(status=404)


class TokenRegistry:
    """A registry that wants a bearer token from a realm, which wants a password."""

    def __init__(self) -> None:
        self.realm = ""
        self.scopes: list[list[str]] = []
        self.valid: set[str] = set()

    async def serve_realm(self, request: web.Request) -> web.StreamResponse:
        """Hand out a token."""
        expected = base64.b64encode(b"me:pass-word").decode()
        if request.headers.get("Authorization") != f"Basic {expected}":
            return web.Response(status=401)
        self.scopes.append(sorted(request.query.getall("scope")))
        token = f"token-{len(self.scopes)}"
        self.valid.add(token)
        return web.json_response({"token": token, "expires_in": 300})

    async def hook(self, request: web.Request) -> web.StreamResponse | None:
        """Refuse whoever has no valid token."""
        if request.headers.get("Authorization", "").removeprefix("Bearer ") in self.valid:
            return None
        challenge = f'Bearer realm="http://{self.realm}/token",service="reg",scope="repository:m:pull"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})


async def test_a_token_is_fetched_and_renewed() -> None:
    """The challenge is answered with the stored login; a token that ran out in the middle costs one replay."""
    tokens = TokenRegistry()
    ended: list[int] = []

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if request.method == "PATCH" and not ended:
            ended.append(1)
            tokens.valid.clear()
        return await tokens.hook(request)

    async with serving(tokens.serve_realm) as tokens.realm, fake_registry(hook) as registry:
        await upload(registry, credentials=Credentials("me", "pass-word"))
        assert registry.blobs[DIGEST] == CONTENT
    assert tokens.scopes == [["repository:m:pull", "repository:m:pull,push"]] * 2


async def test_a_refused_login_is_said_without_the_password() -> None:
    """The realm's refusal names the registry and not the secret."""
    tokens = TokenRegistry()
    async with serving(tokens.serve_realm) as tokens.realm, fake_registry(tokens.hook) as registry:
        with pytest.raises(RegistryDenied, match="refused the login") as caught:
            await upload(registry, credentials=Credentials("me", "wrong-word"))
    assert "wrong-word" not in str(caught.value)


async def test_basic_login_is_answered() -> None:
    """A registry that wants a name and password gets them, after it asked."""
    expected = "Basic " + base64.b64encode(b"me:pass-word").decode()
    first: list[str | None] = []

    async def hook(request: web.Request) -> web.StreamResponse | None:
        first.append(request.headers.get("Authorization"))
        if request.headers.get("Authorization") == expected:
            return None
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="registry"'})

    async with fake_registry(hook) as registry:
        await upload(registry, credentials=Credentials("me", "pass-word"))
    assert first[:2] == [None, expected]


async def test_a_password_is_not_sent_to_a_plain_http_realm() -> None:
    """A challenge cannot make us send a login in clear to another machine."""

    async def hook(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=401, headers={"WWW-Authenticate": 'Bearer realm="http://elsewhere.example/t"'})

    async with fake_registry(hook) as registry:
        with pytest.raises(RegistryDenied, match="not https"):
            await upload(registry, credentials=Credentials("me", "pass-word"))


@pytest.mark.parametrize("address", ["http://[bad", "https://127.0.0.1:99999/x", "not an address", "://"])
async def test_an_address_that_is_none_is_the_servers_mistake(address: str) -> None:
    """Of a login or of an upload: one line that names it, not a fault of ours."""
    realm = web.Response(status=401, headers={"WWW-Authenticate": f'Bearer realm="{address}"'})
    started = web.Response(status=202, headers={"Location": address})
    for answer in (realm, started):

        async def hook(request: web.Request, answer: web.Response = answer) -> web.StreamResponse | None:
            if request.method == "HEAD":
                return web.Response(status=404)
            return web.Response(status=answer.status, headers=answer.headers)

        async with fake_registry(hook) as registry:
            with pytest.raises(RegistryError):
                await upload(registry)


async def test_a_login_does_not_follow_an_upload_to_another_host() -> None:
    """Where the upload's address is another origin (signed storage), no Authorization goes along."""
    seen: list[str | None] = []

    async def storage(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        await request.read()
        return web.Response(status=202 if request.method == "PATCH" else 201,
                            headers={"Location": str(request.url), "Docker-Content-Digest": DIGEST})  # fmt: skip

    async with serving(storage) as elsewhere:

        async def hook(request: web.Request) -> web.StreamResponse | None:
            if "Authorization" not in request.headers:
                return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
            return web.Response(status=202, headers={"Location": f"http://{elsewhere}/put?sig=x"})

        async with fake_registry(hook) as registry:
            await upload(registry, credentials=Credentials("me", "pass-word"))
    assert seen == [None, None]


async def test_a_login_does_not_follow_a_download_to_another_host() -> None:
    """Registries redirect blobs to signed storage; the login stays behind."""
    seen: list[str | None] = []

    async def storage(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        return web.Response(body=CONTENT)

    async with serving(storage) as elsewhere:

        async def hook(request: web.Request) -> web.StreamResponse | None:
            if "Authorization" not in request.headers:
                return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
            return web.Response(status=307, headers={"Location": f"http://{elsewhere}/blob?sig=x"})

        async with fake_registry(hook) as registry:
            store = store_for(registry, credentials=Credentials("me", "pass-word"))
            assert await store.has_blob(DIGEST, len(CONTENT))
            assert await store.read_blob(DIGEST, len(CONTENT)) == CONTENT
            await store.close()
    assert seen == [None, None]


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_base_layer_that_breaks_off_goes_on(ranges: bool) -> None:
    """The rest is asked for with Range; a registry that does not know Range is read over."""
    asked: list[str | None] = []

    async def hook(request: web.Request) -> web.StreamResponse | None:
        wanted = request.headers.get("Range")
        asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and ranges else 0
        part = CONTENT[start:]
        response = web.StreamResponse(status=206 if start else 200, headers={"Content-Length": str(len(part))})
        await response.prepare(request)
        if len(asked) == 1:
            await response.write(part[:2_000_000])
            await asyncio.sleep(0.02)
            assert request.transport is not None
            request.transport.close()
        else:
            await response.write(part)
        return response

    async with fake_registry(hook) as registry:
        store = store_for(registry)
        assert await store.read_blob(DIGEST, len(CONTENT)) == CONTENT
        await store.close()
    assert asked[0] is None
    assert asked[1] is not None


def test_challenges_are_read_in_all_their_forms() -> None:
    """Several headers, several schemes in one header, quoted commas."""
    found = parse_challenges(
        ['Bearer realm="https://auth.example/token",service="a",scope="repository:x:pull,push", Basic realm="r"']
    )
    assert [(item.scheme, item.parameters) for item in found] == [
        (
            "bearer",
            {"realm": "https://auth.example/token", "service": "a", "scope": "repository:x:pull,push"},
        ),
        ("basic", {"realm": "r"}),
    ]
    assert [item.scheme for item in parse_challenges(["Basic", 'Bearer realm="x"'])] == ["basic", "bearer"]


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("ghcr.io", "ghcr.io"),
        ("ghcr.io", "https://ghcr.io"),
        ("127.0.0.1:5000", "127.0.0.1:5000"),
        ("docker.io", "https://index.docker.io/v1/"),
    ],
)
def test_dockers_stored_logins_are_found(tmp_path: Path, host: str, key: str) -> None:
    """In each of the forms in which docker writes them."""
    auth = base64.b64encode(b"me:pass-word").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {key: {"auth": auth}, "other": {"auth": "x"}}}))
    assert docker_credentials(tmp_path, host) == Credentials("me", "pass-word")
    assert docker_credentials(tmp_path, "elsewhere.example") is None
    assert docker_credentials(tmp_path / "missing", host) is None


def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The helper gets the server's name and answers with a login, an identity token or nothing."""
    helper = tmp_path / "docker-credential-test"
    helper.write_text(
        '#!/bin/sh\nread server\ncase "$server" in\n'
        ' a.example) echo \'{"Username":"me","Secret":"pass-word"}\';;\n'
        ' b.example) echo \'{"Username":"<token>","Secret":"identity-token"}\';;\n'
        ' *) echo "credentials not found in native keychain"; exit 1;;\nesac\n'
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "config.json").write_text(json.dumps({"credsStore": "test", "auths": {"a.example": {}}}))
    assert docker_credentials(tmp_path, "a.example") == Credentials("me", "pass-word")
    assert docker_credentials(tmp_path, "b.example") == Credentials("", "", "identity-token")
    assert docker_credentials(tmp_path, "c.example") is None


@pytest.fixture(autouse=True)
def _forget() -> None:
    forget_secrets()
