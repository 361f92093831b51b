"""Lost answers, refusals and things in use: nothing is made twice, nothing is lost, every error is one clean line."""

import asyncio
from typing import Any

import grpc
import pytest

from pulumi_runpod.provider.values import Secret
from tests.pulumi_runpod.cloud import Cloud
from tests.pulumi_runpod.engine_player import Player, State
from tests.pulumi_runpod.test_life_cycles import CREDENTIAL, ENDPOINT, TEMPLATE, VOLUME

QUIET = {**ENDPOINT, "waitForReady": False, "env": {"A": "1"}, "args": "serve 'a b'"}
KINDS: list[tuple[str, dict[str, Any], str, str]] = [
    ("NetworkVolume", VOLUME, "/v2/network-volumes", "networkVolumes"),
    ("Template", {**TEMPLATE, "cmd": ["serve"]}, "/v2/templates", "templates"),
    ("RegistryCredential", CREDENTIAL, "/v2/registries", "registries"),
    ("Endpoint", QUIET, "/v2/serverless", "endpoints"),
]


@pytest.mark.parametrize("acted", [True, False])
@pytest.mark.parametrize(("kind", "inputs", "path", "key"), KINDS)
async def test_a_lost_answer_makes_nothing_twice(
    player: Player, cloud: Cloud, kind: str, inputs: dict[str, Any], path: str, key: str, acted: bool
) -> None:
    """Whether RunPod acted before the connection broke or not: exactly one resource, and it is in the state."""
    cloud.lose.append(("POST", path, acted))
    state = State(kind, "x")
    await player.up(state, inputs)
    listed = (await cloud.call("GET", path))[key]
    assert [item["id"] for item in listed] == [state.id]
    assert len(cloud.sent("POST", path)) == (1 if acted else 2)


async def test_somebody_elses_resource_is_not_taken_for_ours(player: Player, cloud: Cloud) -> None:
    """The same name and content, but there before: a second one is made."""
    theirs = await cloud.call("POST", "/v2/network-volumes", VOLUME)
    cloud.lose.append(("POST", "/v2/network-volumes", False))
    state = State("NetworkVolume", "x")
    await player.up(state, VOLUME)
    assert state.id != theirs["id"]


async def test_two_of_the_same_name_at_once_stay_two(player: Player, cloud: Cloud) -> None:
    """Neither takes the other's lost create for its own."""
    cloud.lose.append(("POST", "/v2/network-volumes", True))
    first, second = State("NetworkVolume", "a"), State("NetworkVolume", "b")
    await asyncio.gather(player.up(first, VOLUME), player.up(second, VOLUME))
    listed = (await cloud.call("GET", "/v2/network-volumes"))["networkVolumes"]
    assert {item["id"] for item in listed} == {first.id, second.id}
    assert len(listed) == 2


@pytest.mark.parametrize("acted", [True, False])
async def test_a_lost_answer_to_an_update_is_put_right(player: Player, cloud: Cloud, acted: bool) -> None:
    """A PATCH holds values, so it is sent again."""
    state = State("NetworkVolume", "x")
    await player.up(state, VOLUME)
    cloud.lose.append(("PATCH", "/v2/network-volumes", acted))
    assert await player.up(state, {**VOLUME, "size": 90}) == "update"
    assert (await cloud.call("GET", f"/v2/network-volumes/{state.id}"))["size"] == 90


async def test_a_template_in_use_is_tried_again(player: Player, cloud: Cloud) -> None:
    """RunPod lets a template go some time after its last use."""
    state = State("Template", "t")
    await player.up(state, TEMPLATE)
    body = {"title": "Bad Request", "status": 400, "detail": "template is in use"}
    cloud.refuse += [("DELETE", "/v2/templates", 400, body), ("DELETE", "/v2/templates", 400, body)]
    await player.delete(state)
    assert any("template is in use" in line for line in player.logs)
    assert (await cloud.call("GET", "/v2/templates"))["templates"] == []


async def test_a_template_that_stays_in_use_is_an_error_in_time(player: Player, cloud: Cloud) -> None:
    """With RunPod's own words and a remedy."""
    state = State("Template", "t")
    await player.up(state, TEMPLATE)
    body = {"title": "Bad Request", "status": 400, "detail": "template is in use"}
    cloud.refuse += [("DELETE", "/v2/templates", 400, body)] * 50
    with pytest.raises(grpc.aio.AioRpcError, match=r"still refuses to delete the template .*: template is in use"):
        await player.delete(state, timeout=0.2)


async def test_the_worker_quota_has_its_own_message(player: Player, cloud: Cloud) -> None:
    """RunPod's 400 has no code; the remedy names the property."""
    state = State("Endpoint", "llm")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await player.up(state, {**QUIET, "workers": {"min": 0, "max": 11}})
    details = caught.value.details() or ""
    assert details.startswith("workers.max: it is above what the account has left of its worker quota")
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "FAILED_PRECONDITION"),
        (403, "PERMISSION_DENIED"),
        (422, "INVALID_ARGUMENT"),
        (413, "INVALID_ARGUMENT"),
        (409, "ALREADY_EXISTS"),
    ],
)
async def test_refusals_are_one_line_with_the_right_code(player: Player, cloud: Cloud, status: int, code: str) -> None:
    """RunPod's words, no traceback, no secret, a code the engine understands."""
    detail = "the value s3cret-value is no good"
    cloud.refuse.append(
        (
            "POST",
            "/v2/templates",
            status,
            {"title": "No", "status": status, "detail": detail, "errors": ["$: a", "$: b"]},
        )
    )
    state = State("Template", "t")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await player.up(state, {**TEMPLATE, "env": {"A": Secret("s3cret-value")}})
    details = caught.value.details() or ""
    assert caught.value.code() is grpc.StatusCode[code]
    assert "\n" not in details
    assert "Traceback" not in details
    assert "$: b" in details
    assert "s3cret-value" not in details


async def test_an_unknown_resource_type_is_refused(player: Player) -> None:
    """An old provider under a new program says so."""
    with pytest.raises(grpc.aio.AioRpcError, match="has no resource runpod:index:Pod"):
        await player.check(State("Pod", "p"), {})
