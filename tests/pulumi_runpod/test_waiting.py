"""Reads and waits as an engine sees them: few calls, and a word on each wait for RunPod's rate limit."""

import asyncio
from typing import Any

from tests.pulumi_runpod.cloud import KEY, Cloud
from tests.pulumi_runpod.engine_player import Player, State, engine
from tests.pulumi_runpod.test_faults import QUIET
from tests.pulumi_runpod.test_life_cycles import TEMPLATE, VOLUME

PATHS = {"Endpoint": "/v2/serverless", "Template": "/v2/templates", "NetworkVolume": "/v2/network-volumes"}


async def made(player: Player, kind: str, inputs: dict[str, Any], count: int) -> list[State]:
    states = [State(kind, f"{kind}-{number}") for number in range(count)]
    await asyncio.gather(*(player.up(state, {**inputs, "name": state.name}) for state in states))
    return states


async def test_a_refresh_lists_each_kind_once(player: Player, cloud: Cloud) -> None:
    """Ten of each: one list per kind, at most two by id before it, and no drift."""
    idle = {**QUIET, "workers": {"min": 0, "max": 0}}
    kinds = {"Endpoint": idle, "Template": TEMPLATE, "NetworkVolume": VOLUME}
    states = [state for kind, inputs in kinds.items() for state in await made(player, kind, inputs, 10)]
    before = {id(state): (state.inputs, state.outputs) for state in states}
    cloud.calls.clear()
    await asyncio.gather(*(player.refresh(state) for state in states))
    asked = [path for _, path, _ in cloud.calls]
    lists = [path for path in asked if path in PATHS.values()]
    assert sorted(lists) == sorted(PATHS.values())
    # On a busy machine the first two of a kind may not meet the others in time.
    assert len(asked) - len(lists) <= 2 * len(PATHS)
    assert all((state.inputs, state.outputs) == before[id(state)] for state in states)


async def test_what_is_gone_is_told_by_its_own_404(player: Player, cloud: Cloud) -> None:
    """Missing in the list, then asked for by id; the others are answered from the list."""
    states = await made(player, "NetworkVolume", VOLUME, 5)
    await cloud.call("DELETE", f"/v2/network-volumes/{states[2].id}")
    cloud.calls.clear()
    found = await asyncio.gather(*(player.refresh(state) for state in states))
    assert [state is None for state in found] == [False, False, True, False, False]
    paths = [path for _, path, _ in cloud.calls]
    assert paths.count("/v2/network-volumes") == 1
    assert f"/v2/network-volumes/{states[2].id}" in paths


async def test_endpoints_of_one_template_look_it_up_once(player: Player, cloud: Cloud) -> None:
    """By an id that the program did not make: a preview of many endpoints asks RunPod once."""
    template = await cloud.call("POST", "/v2/templates", {**TEMPLATE, "serverless": True})
    inputs = {key: value for key, value in QUIET.items() if key not in ("image", "args")}
    states = [State("Endpoint", f"e{number}") for number in range(12)]
    cloud.calls.clear()
    checked = await asyncio.gather(*(player.check(state, {**inputs, "templateId": template["id"]}) for state in states))
    assert {inputs["image"] for inputs in checked} == {TEMPLATE["image"]}
    assert len(cloud.sent("GET", "/v2/templates")) == 1


async def test_the_row_says_why_it_waits(cloud: Cloud) -> None:
    """Once per wait on each resource that waits, and nothing is refused."""
    await cloud.call("PUT", "/_emulator/limits", {"requests_per_minute": 2})
    async with engine(environ={"RUNPOD_API_KEY": KEY}) as player:
        # Not through the proxy: it takes the headers away.
        await player.configure({"apiUrl": cloud.ctx.base_url, "jobsUrl": f"{cloud.ctx.base_url}/v2"})
        states = [State("NetworkVolume", name) for name in ("a", "b", "c")]
        inputs = [await player.check(state, VOLUME) for state in states]
        creating = [asyncio.create_task(player.create(s, i)) for s, i in zip(states, inputs, strict=True)]
        async with asyncio.timeout(10):
            while not player.logs:
                await asyncio.sleep(0.01)
        told = [line for line in player.logs if "rate limit" in line]
        assert told
        assert all(line.startswith("waiting ") and line.endswith(" s for RunPod's rate limit") for line in told)
        await player.provider.Cancel(None, None)  # type: ignore[arg-type]
        await asyncio.gather(*creating, return_exceptions=True)
    await cloud.call("PUT", "/_emulator/limits", {"requests_per_minute": None})
    assert len((await cloud.call("GET", "/v2/network-volumes"))["networkVolumes"]) < 3
