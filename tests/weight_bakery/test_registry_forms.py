"""Local servers with the quirks of the registries people use: which form of upload each of them gets."""

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from redaction import forget_secrets
from tests.weight_bakery.proxy import FakeRegistry, fake_registry, serving
from tests.weight_bakery.support import payload, write_model
from tests.weight_bakery.test_registry_faults import store_for
from weight_bakery import BakeRequest, Credentials, RegistryError, RegistryTooLarge, bake_async
from weight_bakery._blobs import BytesBlob, LayerBlob
from weight_bakery._layers import Layer, LayerFile
from weight_bakery._registry_rules import RANGE_BYTES, Habits, RegistryRules, rules_for
from weight_bakery._source_folder import FolderSource
from weight_bakery._sources import SourceFile
from weight_bakery._threads import Threads

SIZE = 9_000_000
CONTENT = payload(SIZE)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
Answer = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


async def upload(registry: FakeRegistry, *, rules: RegistryRules | None = None, notes: list[str] | None = None) -> None:
    """Upload the test content; what is stored must be it."""
    store = store_for(registry, notes=notes)
    if rules is not None:
        store._uploader.habits = Habits(rules)
    try:
        assert await store.write_blob(BytesBlob(CONTENT), lambda _: None) == DIGEST
    finally:
        await store.close()
    assert registry.blobs[DIGEST] == CONTENT


def refusing(status: int, *, method: str = "PATCH", longer_than: int = 0, ranged: bool | None = None) -> Answer:
    """A hook that refuses requests by method, length and whether they carry a Content-Range."""

    async def hook(request: web.Request) -> web.StreamResponse | None:
        wrong = request.method == method and "/uploads/" in request.path
        if ranged is not None:
            wrong = wrong and ("Content-Range" in request.headers) is ranged
        if wrong and (request.content_length or 0) > longer_than:
            async for _ in request.content.iter_any():
                pass
            return web.Response(status=status)
        return None

    return hook


@pytest.mark.parametrize("status", [405, 411, 415, 501])
async def test_a_registry_without_patch_gets_one_put(status: int) -> None:
    """Google's Artifact Registry takes monolithic uploads: the layer goes as the body of the closing PUT."""
    async with fake_registry(refusing(status)) as registry:
        await upload(registry)
    assert registry.seen["PATCH upload"] == 1
    assert registry.seen["PUT upload"] == 1


async def test_a_put_of_a_layer_whose_digest_is_not_known_reads_it_first(tmp_path: Path) -> None:
    """The digest must stand in the PUT's address; the layer is read once for it, and never spooled."""
    (tmp_path / "w").write_bytes(payload(3_000_000))
    source = FolderSource(tmp_path)
    layer = Layer("weights", (LayerFile("models/m/w", 3_000_000, False, source, SourceFile("w", 3_000_000)),))
    threads = Threads(1)
    notes: list[str] = []
    async with fake_registry(refusing(405)) as registry:
        store = store_for(registry, notes=notes)
        digest = await store.write_blob(LayerBlob(layer, threads), lambda _: None)
        await store.close()
    threads.close()
    assert len(registry.blobs[digest]) == layer.size
    assert any("wants the digest first" in note for note in notes)


async def test_a_front_end_that_limits_bodies_gets_ranges() -> None:
    """413 to the whole layer, although the registry behind would take it: PATCHes of 4 MiB with Content-Range."""
    lengths: list[int] = []
    ranges: list[str] = []

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if request.method in ("PATCH", "PUT") and (request.content_length or 0) > 5_000_000:
            return web.Response(status=413, text="<html>Request Entity Too Large</html>")
        if request.method == "PATCH":
            lengths.append(request.content_length or 0)
            ranges.append(request.headers["Content-Range"])
        return None

    async with fake_registry(hook) as registry:
        await upload(registry)
    assert lengths == [RANGE_BYTES, RANGE_BYTES, SIZE - 2 * RANGE_BYTES]
    assert ranges[1] == f"{RANGE_BYTES}-{2 * RANGE_BYTES - 1}"


async def test_the_registrys_least_range_is_kept() -> None:
    """OCI-Chunk-Min-Length in the answer to POST makes ranges longer than ours."""
    lengths: list[int] = []

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if request.method == "POST":
            answer = await registry._upload(request, "")
            answer.headers["OCI-Chunk-Min-Length"] = "5000000"
            return answer
        if request.method == "PATCH":
            lengths.append(request.content_length or 0)
        return None

    async with fake_registry(hook) as registry:
        await upload(registry, rules=RegistryRules(forms=("ranged",)))
    assert lengths == [5_000_000, 4_000_000]


async def test_a_layer_that_is_too_large_in_any_form_is_one_line() -> None:
    """413 for the whole and 413 for a range that goes over the limit: refused with the way out, no third form."""

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if request.method != "PATCH":
            return None
        name = request.path.rpartition("/")[2]
        over = len(registry.uploads[name]) + (request.content_length or 0) > 6_000_000
        return web.Response(status=413) if over else None

    async with fake_registry(hook) as registry:
        with pytest.raises(RegistryTooLarge, match=r"a layer of 9,000,000 bytes \(HTTP 413\)"):
            await upload(registry)
    assert registry.blobs == {}
    assert registry.seen["PUT upload"] == 0


async def test_ghcr_goes_on_in_short_ranges() -> None:
    """A ranged PATCH over 4 MiB is answered 416 there; after a break the rest goes in ranges of 4 MiB."""
    broken = [1]

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if request.method != "PATCH":
            return None
        if broken:
            broken.pop()
            registry.uploads["u0"] += await request.content.readexactly(1_000_000)
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if "Content-Range" in request.headers and (request.content_length or 0) > RANGE_BYTES:
            return web.Response(status=416, text="maximum permissible limit of 4.00MiB")
        return None

    async with fake_registry(hook) as registry:
        await upload(registry, rules=rules_for("ghcr.io"))
        assert registry.seen == {"POST upload": 1, "PATCH upload": 3, "GET upload": 1, "PUT upload": 1}
    broken.append(1)
    async with fake_registry(hook) as registry:
        await upload(registry)  # a registry of the same kind under a name that is not in the table
        assert registry.seen == {"POST upload": 1, "PATCH upload": 4, "GET upload": 2, "PUT upload": 1}


async def test_ecr_is_never_asked_to_go_on() -> None:
    """It answers 201 to the PATCH and an old Range to everything: one PATCH, and after a break the layer again."""
    broken = [1]

    async def hook(request: web.Request) -> web.StreamResponse | None:
        name = request.path.rpartition("/")[2]
        if request.method != "PATCH":
            return None
        if broken:
            broken.pop()
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        registry.uploads[name] += await request.read()
        return web.Response(status=201, headers={"Location": request.path, "Range": "0-0"})

    async with fake_registry(hook) as registry:
        await upload(registry, rules=rules_for("123456789012.dkr.ecr.eu-central-1.amazonaws.com"))
    assert registry.seen["POST upload"] == 2
    assert registry.seen["GET upload"] == 0


async def test_a_stale_range_in_the_middle_of_ranges_is_noticed() -> None:
    """A registry that loses ranges is not trusted with more of them."""

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if request.method != "PATCH" or "Content-Range" not in request.headers:
            return None
        await request.read()
        return web.Response(status=202, headers={"Location": request.path, "Range": "0-99"})

    async with fake_registry(hook) as registry:
        await upload(registry, rules=RegistryRules(forms=("ranged", "put")))
    assert registry.seen["PATCH upload"] == 1


async def test_harbor_behind_a_front_end_that_loses_sessions(tmp_path: Path) -> None:
    """The closing PUT meets a node that does not know the upload: the next try needs one request less, and lands."""
    calls: list[str] = []

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if "/uploads/" in request.path and request.method in ("PATCH", "PUT", "GET"):
            calls.append(request.method)
            # Every second request of a session reaches the other node.
            if request.method == "PUT" and not request.content_length:
                return web.json_response({"errors": [{"code": "BLOB_UPLOAD_UNKNOWN"}]}, status=404)
        return None

    async with fake_registry(hook) as registry:
        receipt = await bake_async(
            BakeRequest(model=str(write_model(tmp_path / "Tiny", shards=1)), to=f"{registry.host}/m:v1", flows=1)
        )
        assert registry.manifests
    assert all(layer.digest in registry.blobs for layer in receipt.layers)
    assert calls.count("PATCH") == 1, "learnt from the first layer"


async def test_every_form_refused_is_one_line() -> None:
    """Whole, PUT and ranges: the last refusal is told, and nothing is stored."""

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if request.method in ("PATCH", "PUT"):
            await request.read()
            return web.Response(status=405, text="not here")
        return None

    async with fake_registry(hook) as registry:
        with pytest.raises(RegistryError, match=r"HTTP 405: not here") as caught:
            await upload(registry)
    assert "\n" not in str(caught.value)
    assert registry.blobs == {}


@pytest.mark.parametrize(
    ("host", "limit", "resumable", "ranges"),
    [
        ("ghcr.io", 10_000_000_000, True, RANGE_BYTES),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com", 52_000 * 2**20, False, None),
        ("public.ecr.aws", 10_000 * 2**20, False, None),
        ("europe-docker.pkg.dev", None, False, None),
        ("eu.gcr.io", None, False, None),
        ("me.azurecr.io", 200 * 2**30, True, None),
        ("quay.io", 20 * 2**30, True, None),
        ("docker.io", None, True, None),
        ("127.0.0.1:5000", None, True, None),
    ],
)
def test_the_table_of_registries(host: str, limit: int | None, resumable: bool, ranges: int | None) -> None:
    """What is known beforehand about a host."""
    rules = rules_for(host)
    assert (rules.max_layer, rules.resumable, rules.range_bytes) == (limit, resumable, ranges)


class TokenService:
    """A token realm as Docker Hub has it: a token is good for the scopes it was asked for, and for nothing else."""

    def __init__(self, allowed: set[str]) -> None:
        self.host = ""
        self.allowed = allowed
        self.tokens: dict[str, set[str]] = {}
        self.fail = 0
        self.refuse_other = False

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Hand out a token for those of the scopes that the login has."""
        if self.fail:
            self.fail -= 1
            return web.Response(status=503)
        wanted = set(request.query.getall("scope", []))
        if self.refuse_other and wanted - self.allowed:
            return web.Response(status=403)
        name = f"token-{len(self.tokens)}-with-some-length"
        self.tokens[name] = wanted & self.allowed
        return web.json_response({"access_token": name})

    async def check(self, request: web.Request) -> web.StreamResponse | None:
        """Refuse requests whose token does not cover them, as the registry does: 401 with the missing scope."""
        repository = request.path.removeprefix("/v2/").rpartition("/blobs/")[0]
        repository = repository or request.path.removeprefix("/v2/").rpartition("/manifests/")[0]
        action = "pull" if request.method in ("GET", "HEAD") else "pull,push"
        needed = {f"repository:{repository}:{action}"}
        had = self.tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "), set())
        if any(scope in had or scope.replace(":pull", ":pull,push") in had for scope in needed):
            return None
        challenge = f'Bearer realm="http://{self.host}/token",service="registry",scope="{min(needed)}"'
        return web.Response(status=401, headers={"WWW-Authenticate": challenge})


LOGIN = Credentials("me", "pass-word")


async def mounted(service: TokenService) -> tuple[bool, FakeRegistry]:
    """Try to mount the content from repository `base` into `m`."""
    async with serving(service.serve) as service.host, fake_registry() as registry:

        async def hook(request: web.Request) -> web.StreamResponse | None:
            refused = await service.check(request)
            if refused is None and request.method == "POST" and "mount" in request.query:
                token = request.headers["Authorization"].removeprefix("Bearer ")
                if f"repository:{request.query['from']}:pull" in service.tokens[token]:
                    return web.Response(status=201)
            return refused

        registry.hook = hook
        store = store_for(registry, credentials=LOGIN)
        done = await store.mount_from(DIGEST, "base")
        await store.has_blob(DIGEST, 1)  # the store goes on working with what it may do
        await store.close()
        return done, registry


async def test_a_mount_asks_for_the_other_repository_too() -> None:
    """One token with both scopes: write here, read there."""
    service = TokenService({"repository:m:pull,push", "repository:base:pull"})
    done, _ = await mounted(service)
    assert done
    assert {"repository:m:pull,push", "repository:base:pull"} in service.tokens.values()


@pytest.mark.parametrize("refuse", [False, True])
async def test_a_repository_that_may_not_be_read_is_not_mounted_from(refuse: bool) -> None:
    """No token for it, or a token without it: the layer is sent instead, and the login goes on working."""
    service = TokenService({"repository:m:pull,push"})
    service.refuse_other = refuse
    done, registry = await mounted(service)
    assert not done
    assert registry.seen["HEAD blob"] >= 1


async def test_a_login_service_that_stumbles_is_asked_again() -> None:
    """503 from the realm is waited for like any other."""
    service = TokenService({"repository:m:pull,push"})
    service.fail = 1
    async with serving(service.serve) as service.host, fake_registry(service.check) as registry:
        store = store_for(registry, credentials=LOGIN)
        assert await store.write_blob(BytesBlob(CONTENT), lambda _: None) == DIGEST
        await store.close()


async def test_a_clock_that_is_wrong_is_named(tmp_path: Path) -> None:
    """A refused login beside a registry whose date is hours away says so."""

    async def hook(_: web.Request) -> web.StreamResponse | None:
        return web.Response(status=401, headers={"WWW-Authenticate": "Basic", "Date": "Wed, 01 Jan 2020 00:00:00 GMT"})

    async with fake_registry(hook) as registry:
        with pytest.raises(RegistryError, match=r"this machine's clock is .* ahead of the registry's") as caught:
            await bake_async(
                BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"{registry.host}/m:v1", credentials=LOGIN)
            )
    assert "\n" not in str(caught.value)


@pytest.fixture(autouse=True)
def _forget() -> None:
    forget_secrets()
