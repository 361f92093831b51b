"""The judge itself: an answer that does not fit is noticed, so that silence in the other tests means something."""

import json
from typing import Any

import pytest

from tests.contract.support import Contract
from tests.runpod_emulator.control.support import Cloud, cloud

VOLUME = {"id": "a", "name": "v", "size": 10, "dataCenter": "US-KS-2", "type": "STANDARD"}
HEADERS = {"Content-Type": "application/json; charset=utf-8", "RateLimit": "x", "RateLimit-Policy": "x"}


def _judge(published: Contract, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> list[str]:
    return published.mistakes("GET", "/v2/network-volumes/a", status, headers or HEADERS, json.dumps(body))


def test_a_right_answer_is_right(published: Contract) -> None:
    """The unchanged answer has no mistakes."""
    assert _judge(published, VOLUME) == []


@pytest.mark.parametrize(
    "body",
    [
        {**VOLUME, "usedBytes": 1},
        {key: value for key, value in VOLUME.items() if key != "type"},
        {**VOLUME, "size": "10"},
        {**VOLUME, "type": "FAST"},
        [],
    ],
)
def test_a_wrong_body_is_noticed(published: Contract, body: Any) -> None:
    """An undeclared, missing or mistyped member each count."""
    assert _judge(published, body)


def test_a_wrong_envelope_is_noticed(published: Contract) -> None:
    """Status, content type and declared headers count too."""
    assert _judge(published, VOLUME, status=201)
    assert _judge(published, VOLUME, headers={"Content-Type": "application/json"})
    assert _judge(published, VOLUME, headers={**HEADERS, "Content-Type": "text/plain"})
    assert published.mistakes("DELETE", "/v2/network-volumes/a", 204, HEADERS, "{}")
    assert published.mistakes("GET", "/v2/nothing", 200, HEADERS, "{}")


@pytest.mark.parametrize(
    "change", [{"createdAt": "yesterday"}, {"bogus": 1}, {"requestUrls": {"run": "x"}}, {"gpu": {}}]
)
async def test_a_wrong_endpoint_is_noticed(published: Contract, tmp_path: Any, change: dict[str, Any]) -> None:
    """A real answer passes; with one change it does not, however deep the change."""
    async with cloud(tmp_path) as live:
        assert isinstance(live, Cloud)
        made = await live.endpoint()
        path = f"/v2/serverless/{made['id']}"
        answer = await live.get(path)
    assert published.mistakes("GET", path, 200, answer.headers, answer.text) == []
    assert published.mistakes("GET", path, 200, answer.headers, json.dumps({**made, **change}))
