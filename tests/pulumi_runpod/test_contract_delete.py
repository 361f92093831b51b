"""Delete and Cancel: gone is gone, in use is tried again for as long as the program allows, and a stop is prompt."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import empty_pb2

from tests.pulumi_runpod.cloud import KEY, Cloud, live_cloud
from tests.pulumi_runpod.contract_samples import BASES
from tests.pulumi_runpod.engine_player import InitError, Player, State, engine
from tests.pulumi_runpod.test_contract_walk import ROUTES

pytestmark = pytest.mark.asyncio(loop_scope="module")

IN_USE = ["NetworkVolume", "Template", "RegistryCredential"]
SLOW_S = 5.0
"""What would be waited without the stop; the tests end long before."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lasting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cloud]:
    async with live_cloud(tmp_path_factory.mktemp("delete")) as cloud:
        yield cloud


@pytest_asyncio.fixture(loop_scope="module")
async def player(lasting: Cloud) -> AsyncIterator[Player]:
    lasting.refuse.clear()
    lasting.calls.clear()
    async with engine(environ={"RUNPOD_API_KEY": KEY}) as player:
        await player.configure({"apiUrl": lasting.url, "jobsUrl": f"{lasting.url}/v2"})
        yield player


def refusal(kind: str, status: int) -> tuple[str, str, int, dict[str, Any]]:
    body = {"title": "No", "status": status, "detail": "it is in use by endpoint e1"}
    return ("DELETE", ROUTES[kind], status, body)


@pytest.mark.parametrize("kind", BASES)
async def test_what_is_gone_counts_as_deleted(player: Player, lasting: Cloud, kind: str) -> None:
    """Deleted elsewhere, or by a delete whose answer was lost: no error, once or twice."""
    state = State(kind, "x")
    await player.up(state, BASES[kind])
    await lasting.call("DELETE", f"{ROUTES[kind]}/{state.id}")
    await player.delete(state)
    await player.delete(state)
    assert await player.read(state) is None


@pytest.mark.parametrize("kind", BASES)
async def test_a_delete_whose_answer_is_lost_is_sent_again(player: Player, lasting: Cloud, kind: str) -> None:
    """Whether RunPod had acted or not."""
    for acted in (True, False):
        state = State(kind, "x")
        await player.up(state, BASES[kind])
        lasting.lose.append(("DELETE", ROUTES[kind], acted))
        await player.delete(state)
        assert lasting.lose == []
        assert await player.read(state) is None


@pytest.mark.parametrize("status", [400, 409])
@pytest.mark.parametrize("kind", IN_USE)
async def test_what_is_in_use_is_tried_again(player: Player, lasting: Cloud, kind: str, status: int) -> None:
    """With RunPod's words as the status line, until it lets go."""
    state = State(kind, "x")
    await player.up(state, BASES[kind])
    lasting.refuse += [refusal(kind, status)] * 3
    await player.delete(state)
    assert player.logs.count("waiting until RunPod lets it go: it is in use by endpoint e1") == 3
    assert len(lasting.sent("DELETE", ROUTES[kind])) == 4
    assert await player.read(state) is None


@pytest.mark.parametrize("kind", IN_USE)
async def test_custom_timeouts_bound_the_tries(player: Player, lasting: Cloud, kind: str) -> None:
    """When the time is up, one line says what, why and what to do; the resource is still there."""
    state = State(kind, "x")
    await player.up(state, BASES[kind])
    lasting.refuse += [refusal(kind, 400)] * 200
    begun = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await player.delete(state, timeout=0.3)
    assert 0.3 <= time.monotonic() - begun < SLOW_S
    message = caught.value.details() or ""
    assert f"{state.id}: it is in use by endpoint e1; delete what uses it, or give more time" in message
    assert "\n" not in message
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    lasting.refuse.clear()
    assert await player.read(state) is not None
    await player.delete(state)


@pytest.mark.parametrize("kind", IN_USE)
async def test_cancel_ends_the_tries_at_once(player: Player, lasting: Cloud, kind: str) -> None:
    """Nothing more is sent, and what could not be deleted stays known."""
    state = State(kind, "x")
    await player.up(state, BASES[kind])
    lasting.refuse += [refusal(kind, 400)] * 200
    deleting = asyncio.create_task(player.delete(state, timeout=60))
    while len(lasting.sent("DELETE", ROUTES[kind])) < 2:
        await asyncio.sleep(0.01)
    begun = time.monotonic()
    await player.call("Cancel", empty_pb2.Empty())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await deleting
    assert caught.value.code() is grpc.StatusCode.CANCELLED
    assert time.monotonic() - begun < SLOW_S
    sent = len(lasting.sent("DELETE", ROUTES[kind]))
    await asyncio.sleep(0.1)
    assert len(lasting.sent("DELETE", ROUTES[kind])) == sent
    lasting.refuse.clear()
    await lasting.call("DELETE", f"{ROUTES[kind]}/{state.id}")


@pytest.mark.parametrize("changed", [False, True], ids=["create", "update"])
async def test_cancel_keeps_what_was_done(player: Player, lasting: Cloud, changed: bool) -> None:
    """An endpoint that nobody waits for any more is in the state as it is, with the reason; the next `up` goes on."""
    state, program = State("Endpoint", "x"), {**BASES["Endpoint"], "workers": {"max": 1}}
    if changed:
        await player.up(state, program)
    program |= {"image": "good:2", "waitForReady": True}
    await lasting.call("PUT", "/_emulator/capacity", {"*": 0})  # no worker can start, so nothing is ever answered
    waiting = asyncio.create_task(player.up(state, program, timeout=60))
    while not any("probe job" in line for line in player.logs):
        await asyncio.sleep(0.01)
    begun = time.monotonic()
    await player.call("Cancel", empty_pb2.Empty())
    with pytest.raises(InitError, match="cancelled while waiting until it serves"):
        await waiting
    assert time.monotonic() - begun < SLOW_S
    assert state.id
    assert state.outputs["image"] == "good:2"
    assert (await lasting.call("GET", f"{ROUTES['Endpoint']}/{state.id}"))["image"] == "good:2"
    await player.delete(state)
    await lasting.call("PUT", "/_emulator/capacity", {"*": None})
