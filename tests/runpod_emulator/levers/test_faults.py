"""Faults over real HTTP: what the client sees, and what the server did."""

import asyncio
import errno
import socket
import time
from typing import Any

import aiohttp
import pytest

from tests.runpod_emulator.control.support import IMAGE, KEY, Cloud
from tests.runpod_emulator.jobs.support import endpoint
from tests.runpod_emulator.jobs.support import live as live_jobs
from tests.support.levers import LeverRefused, Levers

TEMPLATE = {"name": "t", "image": IMAGE}
LOST = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


async def names(cloud: Cloud) -> list[str]:
    return [template["name"] for template in (await cloud.get("/v2/templates")).json["templates"]]


async def test_a_reset_before_leaves_nothing_behind(cloud: Cloud, levers: Levers) -> None:
    """The connection breaks and the service never saw the request."""
    await levers.connection_reset("before", method="post", path="/v2/templates")
    with pytest.raises(LOST):
        await cloud.post("/v2/templates", TEMPLATE)
    assert await names(cloud) == []
    assert (await cloud.post("/v2/templates", TEMPLATE)).status == 201


async def test_a_reset_after_leaves_the_thing_made(cloud: Cloud, levers: Levers) -> None:
    """The connection breaks although the service has committed."""
    await levers.connection_reset("after", method="POST", path="/v2/templates")
    with pytest.raises(LOST):
        await cloud.post("/v2/templates", TEMPLATE)
    assert await names(cloud) == ["t"]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_reset_is_a_reset_and_no_byte_comes(cloud: Cloud, levers: Levers, when: Any) -> None:
    """The peer gets ECONNRESET without a byte, not an orderly end."""
    await levers.connection_reset(when, path="/v2/templates")
    loop = asyncio.get_running_loop()
    address = cloud.ctx.base_url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1]))) as raw:
        raw.setblocking(False)
        request = f"GET /v2/templates HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        await loop.sock_sendall(raw, request.encode())
        with pytest.raises(OSError) as caught:
            await loop.sock_recv(raw, 1)
    assert caught.value.errno == errno.ECONNRESET


async def test_a_reset_after_strikes_a_log_stream_too(cloud: Cloud, levers: Levers) -> None:
    """An answer that its handler sends piece by piece ends before its headers."""
    made = await cloud.endpoint()
    cloud.host.logs("w1").append("system", "hello")
    # Until removed: aiohttp's client repeats a GET by itself when a connection that it had used before breaks.
    await levers.connection_reset("after", path=".*/logs", times=None)
    with pytest.raises(LOST):
        await cloud.get(f"/v2/serverless/{made['id']}/workers/w1/logs")


async def test_a_status_looks_like_the_services_own(cloud: Cloud, levers: Levers) -> None:
    """problem+json with Retry-After, or nothing at all when bare."""
    await levers.status(429, retry_after=7, path="/v2/templates")
    await levers.status(502, bare=True, path="/v2/templates")
    await levers.status(524, path="/v2/templates")
    limited, bare, edge = [await cloud.get("/v2/templates") for _ in range(3)]
    assert (limited.status, limited.headers["Retry-After"]) == (429, "7")
    assert limited.headers["Content-Type"].startswith("application/problem+json")
    assert limited.json == {
        "title": "Too Many Requests", "status": 429, "detail": "rate limit exceeded for the minute window",
    }  # fmt: skip
    assert (bare.status, bare.text, bare.headers["Content-Length"]) == (502, "", "0")
    assert (edge.status, edge.json["status"]) == (524, 524)
    assert (await cloud.get("/v2/templates")).status == 200


async def test_the_edge_page_is_no_problem_document(cloud: Cloud, levers: Levers) -> None:
    """403 with Cloudflare's words, whatever the key."""
    await levers.edge(times=None)
    for key in (KEY, None):
        answer = await cloud.get("/v2/templates", key=key)
        assert (answer.status, answer.text) == (403, "error code: 1010")


async def test_latency_comes_before_or_after_the_act(cloud: Cloud, levers: Levers) -> None:
    """The answer is late; latencies add up, and with `after` the thing is there meanwhile."""
    await levers.latency(0.1, method="POST")
    await levers.latency(0.1, method="POST", when="after")
    began = time.monotonic()
    call = asyncio.create_task(cloud.post("/v2/templates", TEMPLATE))
    seen_after_s = 0.0
    while not call.done():
        if not seen_after_s and await names(cloud):
            seen_after_s = time.monotonic() - began
        await asyncio.sleep(0.005)
    assert (await call).status == 201
    assert time.monotonic() - began >= 0.2
    assert 0.1 <= seen_after_s < time.monotonic() - began


async def test_a_refusal_is_late_too(cloud: Cloud, levers: Levers) -> None:
    """Latency after the act holds back a 404 and a 422 like any answer."""
    await levers.latency(0.1, when="after", times=None)
    for path, status in (("/v2/templates/none", 404), ("/v2/templates?limit=x", 422)):
        began = time.monotonic()
        assert (await cloud.get(path)).status == status
        assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize("after_bytes", [0, 5, 10_000])
async def test_a_truncated_answer_never_comes_whole(cloud: Cloud, levers: Levers, after_bytes: int) -> None:
    """Its headers promise more than comes; a short answer loses its last byte."""
    await levers.truncate(after_bytes, path="/v2/catalog/data-centers|/v2/templates")
    with pytest.raises(aiohttp.ClientPayloadError):
        await cloud.get("/v2/templates")
    assert (await cloud.get("/v2/templates")).json["templates"] == []


async def test_a_truncated_stream_ends_in_the_middle(cloud: Cloud, levers: Levers) -> None:
    """A log stream is cut after so many bytes."""
    made = await cloud.endpoint()
    cloud.host.logs("w1").append("system", "a line that is longer than ten bytes")
    await levers.truncate(10, path=".*/logs")
    url = f"{cloud.ctx.base_url}/v2/serverless/{made['id']}/workers/w1/logs"
    async with cloud.session.get(url, headers={"Authorization": f"Bearer {KEY}"}) as answer:
        assert await answer.content.readexactly(10)
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.content.read()


async def test_a_rule_matches_method_path_and_name(cloud: Cloud, levers: Levers) -> None:
    """The path as a whole, the body's name exactly; the body still reaches the handler."""
    await levers.status(500, method="POST", path="/v2/(templates|serverless)", name="b", times=None)
    made = [await cloud.post("/v2/templates", {**TEMPLATE, "name": name}) for name in ("a", "b", "bb")]
    assert [answer.status for answer in made] == [201, 500, 201]
    assert (await cloud.post("/v2/templates", "{no json")).status == 400
    assert (await cloud.get("/v2/templates")).status == 200
    assert sorted(await names(cloud)) == ["a", "bb"]


async def test_skip_and_times_count_matching_requests(cloud: Cloud, levers: Levers) -> None:
    """Two go through, two are struck, the rest goes through; the list tells."""
    rule = await levers.status(503, path="/v2/templates", skip=2, times=2)
    statuses = [(await cloud.get("/v2/templates")).status for _ in range(6)]
    assert statuses == [200, 200, 503, 503, 200, 200]
    (shown,) = await levers.faults()
    assert (shown["id"], shown["fired"], shown["seen"]) == (rule, 2, 4)
    assert shown["match"] == {"method": None, "path": "/v2/templates", "name": None}


async def test_chance_repeats_with_its_seed(cloud: Cloud, levers: Levers) -> None:
    """The same seed strikes the same requests; roughly the asked share of them."""
    await levers.status(503, path="/v2/templates", times=None, chance=0.5)

    async def row() -> list[int]:
        await levers.seed(11)
        return [(await cloud.get("/v2/templates")).status for _ in range(40)]

    first = await row()
    assert first == await row()
    assert 8 <= first.count(503) <= 32


async def test_removed_rules_strike_no_more(cloud: Cloud, levers: Levers) -> None:
    """One by its id, all without one; an unknown id is a 404."""
    one = await levers.status(500, times=None)
    await levers.status(503, times=None)
    await levers.clear(one)
    assert (await cloud.get("/v2/templates")).status == 503
    await levers.clear()
    assert (await cloud.get("/v2/templates")).status == 200
    with pytest.raises(LeverRefused) as refused:
        await levers.clear(one)
    assert refused.value.status == 404


async def test_levers_are_never_struck_and_need_the_key(cloud: Cloud, levers: Levers) -> None:
    """A rule for every path leaves /_emulator/ alone."""
    await levers.status(500, times=None)
    assert len(await levers.faults()) == 1
    assert (await cloud.get("/_emulator/faults", key=None)).status == 401
    assert (await cloud.get("/_emulator/status", key=None)).status == 200


async def test_job_and_worker_plane_are_struck_alike(tmp_path: Any) -> None:
    """A fault in front of the job plane keeps the job out; after it, the job is there."""
    async with live_jobs(tmp_path, endpoint(workers_max=0)) as jobs, Levers(jobs.ctx.base_url, "test-key") as levers:
        await levers.status(502, path="/v2/[^/]+/run")
        await levers.connection_reset("after", path="/v2/[^/]+/run")
        await jobs.call("POST", "run", status=502, json={"input": 1})
        with pytest.raises(LOST):
            await jobs.call("POST", "run", json={"input": 1})
        assert (await jobs.call("GET", "health"))["jobs"]["inQueue"] == 1


WRONG: list[tuple[Any, str]] = [
    ({}, "missing property 'fault'"),
    ({"fault": {"kind": "edge"}, "time": 3}, "additional properties 'time' not allowed"),
    ({"fault": {"kind": "storm"}}, "$.fault.kind: value must be one of 'latency', 'reset'"),
    ({"fault": {"kind": "reset"}}, "$.fault: missing property 'when'"),
    ({"fault": {"kind": "reset", "when": "now"}}, "$.fault.when: value must be one of 'before', 'after'"),
    ({"fault": {"kind": "latency", "seconds": 1e9}}, "$.fault.seconds: maximum"),
    ({"fault": {"kind": "status", "status": 200}}, "$.fault.status: minimum"),
    ({"fault": {"kind": "edge", "status": 403}}, "$.fault: additional properties 'status'"),
    ({"fault": {"kind": "edge"}, "match": {"path": "("}}, "$.match.path: '(' is no regular expression"),
    ({"fault": {"kind": "edge"}, "match": {"path": "/v2/(a+)+"}}, "$.match.path: '/v2/(a+)+' repeats a group"),
    ({"fault": {"kind": "edge"}, "match": {"verb": "GET"}}, "$.match: additional properties 'verb'"),
    ({"fault": {"kind": "edge"}, "chance": 2}, "$.chance: maximum"),
    ({"fault": {"kind": "edge"}, "times": 0}, "$.times: minimum"),
    ([], "$: got array, want object"),
]


async def test_a_wrong_rule_is_refused_with_its_field(cloud: Cloud, levers: Levers) -> None:
    """Unknown, missing and impossible fields are named, and no rule is made."""
    for body, said in WRONG:
        answer = await cloud.post("/_emulator/faults", body)
        assert answer.status == 422, body
        assert any(said in error for error in answer.json["errors"]), (said, answer.json)
    assert await levers.faults() == []
