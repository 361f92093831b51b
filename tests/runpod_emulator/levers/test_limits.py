"""The account's budget as a lever, and the counters of calls."""

import pytest

from tests.runpod_emulator.control.support import Cloud
from tests.support.levers import LeverRefused, Levers


async def test_a_budget_is_told_and_enforced(cloud: Cloud, levers: Levers) -> None:
    """Sixty calls a minute: the headers count down, the sixty-first gets 429 with Retry-After."""
    await levers.limits(60)
    first = await cloud.get("/v2/templates")
    assert first.headers["RateLimit-Policy"].startswith('"minute";q=60;w=60, "hour"')
    assert first.headers["RateLimit"].startswith('"minute";r=59;t=60, "hour"')
    for _ in range(59):
        assert (await cloud.get("/v2/templates")).status == 200
    refused = await cloud.get("/v2/templates")
    assert refused.status == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit"].startswith('"minute";r=0;t=')
    assert refused.json["detail"] == "rate limit exceeded for the minute window"


async def test_null_gives_the_old_budget_back(cloud: Cloud, levers: Levers) -> None:
    """None returns to what the emulator was started with; every change begins a fresh window."""
    assert (await levers.limits(0))["enforced"] is True
    assert (await cloud.get("/v2/templates")).status == 429
    told = await levers.limits(None)
    assert (told["enforced"], told["requests_per_minute"]) == (False, None)
    assert (await cloud.get("/v2/templates")).headers["RateLimit"].startswith('"minute";r=5999;')


@pytest.mark.parametrize("quota", [-1, 1.5, "60"])
async def test_an_impossible_budget_is_refused(levers: Levers, quota: object) -> None:
    """Only whole numbers from 0."""
    with pytest.raises(LeverRefused, match="requests_per_minute"):
        await levers.limits(quota)  # type: ignore[arg-type]


async def test_calls_are_counted_by_route(cloud: Cloud, levers: Levers) -> None:
    """Method and template, whatever became of the call; levers and the job plane do not count."""
    made = await cloud.template()
    await levers.status(500, path="/v2/templates", times=2)
    await cloud.get("/v2/templates")
    await cloud.get("/v2/templates", key=None)
    await cloud.get(f"/v2/templates/{made['id']}")
    await cloud.get("/v2/templates/none/such")
    await cloud.get("/v2/someendpoint/health")
    assert await levers.requests() == {
        "GET /v2/templates": 2,
        "GET /v2/templates/{id}": 1,
        "GET /v2/templates/{tail}": 1,
        "POST /v2/templates": 1,
    }
    await levers.forget_requests()
    assert await levers.requests() == {}
