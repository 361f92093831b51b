"""What holds for every route: who may call, how errors look, sizes, rate limits, pages."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from runpod_emulator.clock import Clock
from runpod_emulator.config import MAX_BODY_BYTES, RateWindow
from runpod_emulator.guard import names_this_machine
from tests.runpod_emulator.control import support
from tests.runpod_emulator.control.support import KEY, Cloud, endpoint_body


@pytest.mark.parametrize(
    ("header", "detail"),
    [
        (None, "missing bearer token"),
        ("", "missing bearer token"),
        (KEY, "missing bearer token"),
        (f"Basic {KEY}", "missing bearer token"),
        ("Bearer ", "missing bearer token"),
        ("Bearer rpa_wrong", "invalid bearer token"),
        ("Bearer ключ", "invalid bearer token"),
    ],
)
async def test_without_the_key_nothing_opens(cloud: Cloud, header: str | None, detail: str) -> None:
    """401 as problem+json, without rate-limit headers, on known and unknown paths alike."""
    headers = {} if header is None else {"Authorization": header}
    for path in ("/v2/serverless", "/v2/templates/x", "/v2/catalog/nothing", "/_emulator/reset"):
        answer = await cloud.get(path, key=None, headers=headers)
        assert answer.status == 401
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert answer.json == {"title": "Unauthorized", "status": 401, "detail": detail}
        assert "RateLimit" not in answer.headers


async def test_bytes_that_are_no_text_are_refused_like_any_other(cloud: Cloud) -> None:
    """Undecodable headers are a wrong key, a foreign host or a wrong cursor, never a fault."""
    port = int(cloud.ctx.base_url.rpartition(":")[2])
    good = f"Authorization: Bearer {KEY}".encode()
    made = await cloud.endpoint()
    cloud.fleet.shown[made["id"]] = [support.worker("w1")]
    logs = f"GET /v2/serverless/{made['id']}/workers/w1/logs".encode()
    for start, headers, status in (
        (b"GET /v2/serverless", [b"Host: localhost", b"Authorization: Bearer \xff\xfe"], b"401"),
        (b"GET /v2/serverless", [b"Host: \xff", good], b"40"),
        (logs, [b"Host: localhost", good, b"Last-Event-ID: \xff"], b"422"),
        (b"GET /v2/serverless?cursor=%FF%00", [b"Host: localhost", good], b"422"),
        (b"GET /v2/serverless/%FF", [b"Host: localhost", good], b"404"),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\r\n".join([start + b" HTTP/1.1", *headers, b"Connection: close", b"", b""]))
        answer = await reader.read()
        writer.close()
        assert answer.split(b" ")[1].startswith(status), answer


async def test_rate_limit_headers_come_with_every_authenticated_answer(cloud: Cloud) -> None:
    """Success and failure both tell the quota."""
    for path, status in (("/v2/serverless", 200), ("/v2/serverless/none", 404), ("/v2/serverless?limit=0", 422)):
        answer = await cloud.get(path)
        assert answer.status == status
        assert answer.headers["RateLimit-Policy"].startswith('"minute";q=6000;w=60, "hour"')
        assert answer.headers["RateLimit"].startswith('"minute";r=')


async def test_a_used_up_window_is_429_when_enforced(tmp_path: Path) -> None:
    """The refusal names the window and says when to come back; the clock alone opens it again."""
    windows = (RateWindow("minute", 2, 60), RateWindow("hour", 100, 3600))
    async with support.cloud(tmp_path, enforce_rate_limits=True, rate_windows=windows) as cloud:
        now = 1_000_000.0
        cloud.ctx.clock = Clock(lambda: now)
        assert (await cloud.get("/v2/templates")).headers["RateLimit"] == '"minute";r=1;t=60, "hour";r=99;t=3600'
        assert (await cloud.get("/v2/templates")).status == 200
        refused = await cloud.get("/v2/templates")
        assert refused.status == 429
        assert refused.json["detail"] == "rate limit exceeded for the minute window"
        assert refused.headers["Retry-After"] == "60"
        assert refused.headers["RateLimit"].startswith('"minute";r=0;t=60')
        now += 60
        assert (await cloud.get("/v2/templates")).status == 200


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v2/serverless", "GET, POST"),
        ("POST", "/v2/serverless/abc", "DELETE, GET, PATCH"),
        ("PATCH", "/v2/registries/abc", "DELETE, GET"),
        ("POST", "/v2/catalog/gpus", "GET"),
        ("POST", "/v2/serverless/abc/workers", "GET"),
        ("HEAD", "/v2/templates", "GET, POST"),
    ],
)
async def test_a_wrong_method_is_405_with_allow(cloud: Cloud, method: str, path: str, allow: str) -> None:
    """The answer says which methods there are."""
    answer = await cloud.call(method, path)
    assert answer.status == 405
    assert answer.headers["Allow"] == allow


@pytest.mark.parametrize(
    "path", ["/v2/networkvolumes", "/v2/serverless/x/update", "/v2/templates/x/run", "/v2/catalog/x/y", "/v3", "/"]
)
async def test_an_unknown_path_is_404(cloud: Cloud, path: str) -> None:
    """Old spellings too; a reserved word never reaches the job plane."""
    answer = await cloud.post(path, {})
    assert answer.status == 404
    assert answer.json["title"] == "Not Found"


@pytest.mark.parametrize(
    "path", ["/v2/clusters", "/v2/billing/pods", "/v2/account/secrets", "/v2/registries/delegations"]
)
async def test_what_is_not_emulated_says_so(cloud: Cloud, path: str) -> None:
    """501 and a sentence, never a wrong answer."""
    answer = await cloud.get(path)
    assert answer.status == 501
    assert "not emulated" in answer.json["detail"]


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ("{", 400, "not valid JSON"),
        ("", 400, "not valid JSON"),
        ('{"size": NaN}', 400, "not valid JSON"),
        (b"\xff\xfe{}", 400, "not valid JSON"),
        ("[" * 100_000, 400, "not valid JSON"),
        ('{"name": "\\ud800", "size": 10, "dataCenter": "US-KS-2"}', 400, "not valid JSON"),
        ('{"size": 1e400}', 400, "not valid JSON"),
        ('{"size": ' + "9" * 5000 + "}", 400, "not valid JSON"),
        ('{"\u2713": 1}', 422, "additional properties"),
        ('"text"', 422, "$: got string, want object"),
        ("[]", 422, "$: got array, want object"),
        ("null", 422, "$: got null, want object"),
    ],
)
async def test_a_body_that_is_no_object(cloud: Cloud, body: str | bytes, status: int, error: str) -> None:
    """Broken JSON is 400; JSON of another kind is 422 in the wording seen live."""
    answer = await cloud.post("/v2/network-volumes", body)
    assert answer.status == status
    assert error in answer.text


async def test_too_large_is_413_before_the_key_is_looked_at(cloud: Cloud) -> None:
    """Announced by Content-Length it needs no key; sent in chunks it is found while reading."""
    big = b" " * (MAX_BODY_BYTES + 1)
    assert (await cloud.post("/v2/templates", big, key=None)).status == 413

    async def chunks() -> Any:
        for _ in range(10):
            yield b" " * 20_000
            await asyncio.sleep(0)

    url = cloud.ctx.base_url + "/v2/templates"
    async with cloud.session.post(url, data=chunks(), headers={"Authorization": f"Bearer {KEY}"}) as answer:
        assert answer.status == 413
    assert (await cloud.post("/v2/templates", b" " * MAX_BODY_BYTES)).status == 400


async def test_unknown_query_parameters_are_ignored_and_known_ones_come_once(cloud: Cloud) -> None:
    """Queries are lenient about names and strict about repetition."""
    assert (await cloud.get("/v2/serverless?granularity=fine")).status == 200
    twice = await cloud.get("/v2/serverless?limit=1&limit=2")
    assert twice.status == 422
    assert twice.json["errors"] == ["parameter 'limit' is not exploded, but is specified multiple times"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8900", "", "[::1"])
async def test_another_host_name_is_refused(cloud: Cloud, host: str) -> None:
    """A web page that rebinds its name to 127.0.0.1 gets nothing, not even the status."""
    for path in ("/_emulator/status", "/v2/serverless", "/v2/abc/run"):
        assert (await cloud.get(path, headers={"Host": host})).status in (400, 403)
    answer = await cloud.get("/_emulator/status", headers={"Origin": "http://evil.example"})
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_loopback_names() -> None:
    """localhost, 127/8 and ::1, with or without a port."""
    assert all(map(names_this_machine, ("localhost", "LOCALHOST:1", "127.0.0.1", "127.9.9.9:80", "[::1]:80")))
    assert not any(map(names_this_machine, ("", "example.com", "localhost.example.com", "0.0.0.0", "::1:zz")))


@pytest.mark.parametrize("agent", ["", "Python-urllib/3.11"])
async def test_the_edge_rule_is_an_option(tmp_path: Path, agent: str) -> None:
    """With it, a faceless client gets the edge's plain text before its key counts; the status stays open."""
    async with support.cloud(tmp_path, edge_user_agent_rule=True) as cloud:
        headers = {"User-Agent": agent}
        answer = await cloud.get("/v2/serverless", headers=headers)
        assert (answer.status, answer.text) == (403, "error code: 1010")
        assert (await cloud.get("/_emulator/status", headers=headers, key=None)).status == 200
        assert (await cloud.get("/v2/serverless", headers={"User-Agent": "mine/1"})).status == 200


async def _walk(cloud: Cloud, path: str, key: str, query: str = "") -> list[Any]:
    """Follow the cursors as a client does."""
    found, cursor = [], None
    while True:
        answer = await cloud.get(f"{path}?{query}" + (f"&cursor={cursor}" if cursor else ""))
        assert answer.status == 200
        found += answer.json[key]
        marker = answer.json["pagination"]
        assert marker["hasNextPage"] == (marker["nextCursor"] is not None)
        if not marker["hasNextPage"]:
            return found
        cursor = marker["nextCursor"]


async def test_pages_show_everything_once_newest_first(tmp_path: Path) -> None:
    """Endpoints, templates and releases are cut into pages that add up to the list."""
    async with support.cloud(tmp_path, page_size=2) as cloud:
        endpoints = [await cloud.endpoint(name=f"e{n}", workers={"max": 1}) for n in range(5)]
        templates = [await cloud.template(name=f"t{n}") for n in range(4)]
        assert await _walk(cloud, "/v2/serverless", "endpoints") == endpoints[::-1]
        assert await _walk(cloud, "/v2/templates", "templates", "limit=1") == templates[::-1]
        path = f"/v2/serverless/{endpoints[0]['id']}"
        for n in range(4):
            await cloud.patch(path, {"env": {"N": str(n)}})
        releases = await _walk(cloud, path + "/releases", "releases")
        assert [release["version"] for release in releases] == [5, 4, 3, 2, 1]
        # An item made while somebody walks does not shift the pages behind the cursor.
        first = (await cloud.get("/v2/serverless")).json
        await cloud.endpoint(name="late", workers={"max": 1})
        rest = (await cloud.get(f"/v2/serverless?cursor={first['pagination']['nextCursor']}")).json
        assert rest["endpoints"] == endpoints[::-1][2:4]
        assert (await cloud.get("/v2/serverless?limit=3")).status == 422, "limit has a maximum"


async def test_a_foreign_or_forged_cursor_is_422(tmp_path: Path) -> None:
    """A cursor opens only the list that issued it."""
    async with support.cloud(tmp_path, page_size=1) as cloud:
        one = await cloud.endpoint(workers={"max": 1})
        two = await cloud.endpoint(workers={"max": 1})
        for endpoint in (one, two):
            await cloud.patch(f"/v2/serverless/{endpoint['id']}", {"env": {"A": "1"}})
        cursor = (await cloud.get("/v2/serverless")).json["pagination"]["nextCursor"]
        releases = (await cloud.get(f"/v2/serverless/{one['id']}/releases")).json["pagination"]["nextCursor"]
        wrong = [
            ("/v2/templates", cursor),
            ("/v2/serverless", releases),
            (f"/v2/serverless/{two['id']}/releases", releases),
            ("/v2/serverless", "forged"),
            ("/v2/serverless", "AAAAAAAAAAAAAAAAMQ"),
            ("/v2/serverless", "%00"),
            ("/v2/serverless", ""),
            ("/v2/serverless", cursor[:-1] + ("A" if cursor[-1] != "A" else "Q")),
        ]
        for path, value in wrong:
            assert (await cloud.get(f"{path}?cursor={value}")).status == 422, (path, value)


async def test_an_unforeseen_failure_is_a_500_without_a_traceback(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback goes to the log; the caller learns that the fault is ours."""

    def broken(endpoint_id: str) -> Any:
        raise KeyError("inside")

    made = await cloud.endpoint()
    cloud.fleet.workers = broken  # type: ignore[method-assign]
    answer = await cloud.get(f"/v2/serverless/{made['id']}/workers")
    assert answer.status == 500
    assert "inside" not in answer.text
    assert "KeyError" in caplog.text


async def test_nothing_secret_reaches_the_log(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    """env and passwords travel through the API in clear and through the log not at all."""
    caplog.set_level("DEBUG")
    await cloud.registry(password="hunter2-hunter2")
    await cloud.endpoint(env={"HF_TOKEN": "token-in-env-123"})
    await cloud.post("/v2/serverless", endpoint_body(env={"HF_TOKEN": "token-in-env-123"}, bogus=1))
    assert "/v2/serverless" in caplog.text
    for secret in ("hunter2-hunter2", "token-in-env-123", KEY):
        assert secret not in caplog.text


async def test_status_needs_no_key_and_reset_does(cloud: Cloud) -> None:
    """reset refuses while workers run, deletes everything with ?force, and leaves the emulator usable."""
    status = await cloud.get("/_emulator/status", key=None)
    assert status.json["ready"] is True
    assert Path(status.json["state_dir"]) == cloud.ctx.config.state_dir
    made, volume = await cloud.endpoint(), await cloud.volume()
    await cloud.template()
    await cloud.registry()
    (cloud.ctx.config.volume_dir(volume["id"]) / "weights").write_text("x")
    cloud.fleet.shown[made["id"]] = [support.worker("w1")]
    refused = await cloud.post("/_emulator/reset")
    assert refused.status == 409
    assert (await cloud.post("/_emulator/reset?force=1")).status == 200
    assert cloud.fleet.deleted == [made["id"]]
    for path in ("serverless", "templates", "network-volumes", "registries"):
        assert next(iter((await cloud.get(f"/v2/{path}")).json.values())) == []
    assert list(cloud.ctx.config.volumes_dir.iterdir()) == []
    await cloud.endpoint()


async def test_the_python_client_of_the_standard_library_works(cloud: Cloud) -> None:
    """Without the edge rule any client passes: the emulator is for curl too."""
    async with aiohttp.ClientSession(skip_auto_headers=["User-Agent"]) as session:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with session.get(cloud.ctx.base_url + "/v2/serverless", headers=headers) as answer:
            assert answer.status == 200
