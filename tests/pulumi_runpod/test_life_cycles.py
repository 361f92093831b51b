"""Each resource's life through provider and emulator, over real gRPC and real HTTP, preview beside each step."""

from typing import Any

import pytest

from pulumi_runpod.provider.values import UNKNOWN, Secret, has_unknown, plain
from tests.pulumi_runpod.cloud import Cloud
from tests.pulumi_runpod.engine_player import Player, State

VOLUME = {"name": "models", "size": 50, "dataCenter": "EU-RO-1"}
TEMPLATE: dict[str, Any] = {"name": "worker", "image": "good:1", "env": {"A": "1"}}
CREDENTIAL = {"name": "ghcr", "username": "octocat", "password": Secret("pass-word-1")}
ENDPOINT: dict[str, Any] = {
    "name": "llm",
    "type": "QUEUE",
    "image": "good:1",
    "gpu": {"pools": ["ADA_24"]},
    "workers": {"min": 0, "max": 1},
    "scaling": {"type": "REQUEST_COUNT", "requestCount": 1},
}
BY_DELAY = {**ENDPOINT, "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4}, "waitForReady": False}

LIVES: list[tuple[str, dict[str, Any], dict[str, Any], str, set[str]]] = [
    ("NetworkVolume", VOLUME, {**VOLUME, "size": 80}, "update", {"size"}),
    ("NetworkVolume", VOLUME, {**VOLUME, "name": "weights"}, "update", {"name"}),
    ("NetworkVolume", VOLUME, {**VOLUME, "size": 40}, "replace", {"size"}),
    ("NetworkVolume", VOLUME, {**VOLUME, "dataCenter": "EUR-IS-1"}, "replace", {"dataCenter"}),
    ("Template", TEMPLATE, {**TEMPLATE, "image": "good:2"}, "update", {"image"}),
    ("Template", TEMPLATE, {**TEMPLATE, "env": {"A": "2", "B": "3"}}, "update", {"env.A", "env.B"}),
    ("Template", TEMPLATE, {"name": "worker", "image": "good:1"}, "update", {"env"}),
    ("Template", {**TEMPLATE, "args": "serve --port 1"}, TEMPLATE, "update", {"args"}),
    ("Template", TEMPLATE, {**TEMPLATE, "cmd": ["serve"]}, "update", {"cmd"}),
    ("Template", TEMPLATE, {**TEMPLATE, "ports": ["8000/http"]}, "update", {"ports"}),
    ("RegistryCredential", CREDENTIAL, {**CREDENTIAL, "username": "hubot"}, "replace", {"username"}),
    ("RegistryCredential", CREDENTIAL, {**CREDENTIAL, "password": Secret("pass-word-2")}, "replace", {"password"}),
    ("Endpoint", ENDPOINT, {**ENDPOINT, "image": "good:2"}, "update", {"image"}),
    ("Endpoint", ENDPOINT, {**ENDPOINT, "workers": {"min": 0, "max": 2}}, "update", {"workers.max"}),
    ("Endpoint", ENDPOINT, {**ENDPOINT, "gpu": {"pools": ["ADA_24", "AMPERE_24"]}}, "update", {"gpu.pools[1]"}),
    ("Endpoint", ENDPOINT, {**ENDPOINT, "gpu": {"pools": ["ADA_24"], "count": 2}}, "update", {"gpu.count"}),
    (
        "Endpoint",
        ENDPOINT,
        BY_DELAY,
        "update",
        {"scaling.type", "scaling.requestCount", "scaling.queueDelay", "workers.idleTimeout"},
    ),
    (
        "Endpoint",
        ENDPOINT,
        {**ENDPOINT, "timeout": 60000, "flashboot": "FLASHBOOT"},
        "update",
        {"timeout", "flashboot"},
    ),
]


@pytest.mark.parametrize(("kind", "first", "second", "operation", "paths"), LIVES)
async def test_a_life_cycle(
    player: Player, kind: str, first: dict[str, Any], second: dict[str, Any], operation: str, paths: set[str]
) -> None:
    """Create, no change, read, change, no change, read, import, delete, delete again."""
    state = State(kind, "x")
    assert await player.up(state, first) == "create"
    assert await player.up(state, first) == "same"
    await _reads_back(player, state)
    old_id = state.id
    diff = await player.diff(state, await player.check(state, second))
    assert set(diff.paths) == paths
    assert await player.up(state, second) == operation
    assert (state.id != old_id) == (operation == "replace")
    assert await player.up(state, second) == "same"
    await _reads_back(player, state)
    await _imports_without_a_difference(player, state, second)
    await player.delete(state)
    assert await player.read(state) is None
    await player.delete(state)
    assert player.leaks("pass-word-1", "pass-word-2") == []


async def _reads_back(player: Player, state: State) -> None:
    """Read gives exactly what the state holds."""
    found = await player.read(state)
    assert found is not None
    outputs, inputs = found
    assert outputs == state.outputs
    assert inputs == state.inputs


async def _imports_without_a_difference(player: Player, state: State, program: dict[str, Any]) -> None:
    imported = State(state.type, state.name, state.id)
    found = await player.read(imported, by_id_alone=True)
    assert found is not None
    imported.outputs, imported.inputs = found
    diff = await player.diff(imported, await player.check(imported, program))
    assert diff.changes == "DIFF_NONE", diff.paths


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [("NetworkVolume", VOLUME), ("Template", TEMPLATE), ("RegistryCredential", CREDENTIAL), ("Endpoint", ENDPOINT)],
)
async def test_a_preview_agrees_with_the_real_run(player: Player, kind: str, inputs: dict[str, Any]) -> None:
    """Every known output of the preview is what the create then gives, and nothing is missing from it."""
    state = State(kind, "x")
    checked = await player.check(state, inputs)
    planned = await player.create_preview(state, checked)
    await player.create(state, checked)
    known = {key: value for key, value in planned.items() if not has_unknown(value)}
    assert {key: plain(state.outputs[key]) for key in known} == plain(known)
    assert set(planned) >= set(state.outputs) - {"id"}


async def test_an_endpoint_serves_when_up_is_done(player: Player, cloud: Cloud) -> None:
    """The probe was answered by a worker, and the outputs say where to ask."""
    state = State("Endpoint", "llm")
    await player.up(state, ENDPOINT)
    assert [spec.image for spec in cloud.host.started] == ["good:1"]
    assert state.outputs["openaiBaseUrl"] == f"{cloud.url}/v2/{state.id}/openai/v1"
    assert any("serves" in line for line in player.logs)
    body = cloud.sent("POST", "/v2/serverless")[0]
    assert body["timeout"] == 300000
    assert body["gpu"]["count"] == 1
    assert body["workers"] == {"min": 0, "max": 1}
    assert "templateId" not in body


async def test_a_change_is_served_by_the_new_release(player: Player, cloud: Cloud) -> None:
    """`up` ends only after a worker of the new release answered; only what changed is sent."""
    state = State("Endpoint", "llm")
    await player.up(state, ENDPOINT)
    await player.up(state, {**ENDPOINT, "env": {"MAX_MODEL_LEN": "2048"}})
    assert cloud.sent("PATCH", "/v2/serverless/") == [{"env": {"MAX_MODEL_LEN": "2048"}}]
    assert cloud.host.started[-1].env["MAX_MODEL_LEN"] == "2048"


async def test_a_value_changed_elsewhere_is_found_and_put_right(player: Player, cloud: Cloud) -> None:
    """Refresh shows the drift, the next up restores it."""
    state = State("Endpoint", "llm")
    await player.up(state, ENDPOINT)
    await cloud.call("PATCH", f"/v2/serverless/{state.id}", {"workers": {"max": 0}, "dataCenterIds": ["EU-RO-1"]})
    await player.refresh(state)
    assert state.inputs["workers"]["max"] == 0
    diff = await player.diff(state, await player.check(state, ENDPOINT))
    assert diff.paths == {"workers.max": "UPDATE", "dataCenterIds": "DELETE"}
    await player.up(state, ENDPOINT)
    remote = await cloud.call("GET", f"/v2/serverless/{state.id}")
    assert (remote["workers"]["max"], remote["dataCenterIds"]) == (1, [])


async def test_names_are_made_where_the_program_gives_none(player: Player) -> None:
    """A made name is kept over updates, and is new for a replacement."""
    state = State("NetworkVolume", "models")
    await player.up(state, {"size": 50, "dataCenter": "EU-RO-1"})
    first = state.outputs["name"]
    assert first.startswith("models-")
    assert await player.up(state, {"size": 60, "dataCenter": "EU-RO-1"}) == "update"
    assert state.outputs["name"] == first
    player.seed = b"another step"
    assert await player.up(state, {"size": 20, "dataCenter": "EU-RO-1"}) == "replace"
    assert state.outputs["name"] != first


async def test_an_endpoint_on_cpu_instead_of_gpu_is_another_endpoint(player: Player) -> None:
    """RunPod cannot change the compute family, nor the type."""
    state = State("Endpoint", "llm")
    await player.up(state, {**ENDPOINT, "waitForReady": False})
    on_cpu = {key: value for key, value in ENDPOINT.items() if key != "gpu"} | {
        "cpu": [{"id": "cpu3c", "vcpuCount": 4}]
    }
    diff = await player.diff(state, await player.check(state, on_cpu))
    assert diff.replaces == ["cpu", "gpu"]
    balanced = {**ENDPOINT, "type": "LOAD_BALANCER", "scaling": {"type": "REQUEST_COUNT", "requestCount": 4}}
    diff = await player.diff(state, await player.check(state, balanced))
    assert diff.replaces == ["type"]


@pytest.mark.parametrize(
    "same", [{"args": "serve --port 1"}, {"cmd": ["serve", "--port", "1"]}, {"args": "serve  --port '1'"}]
)
async def test_another_spelling_of_the_same_command_is_no_change(player: Player, same: dict[str, Any]) -> None:
    """args, entrypoint and cmd are three ways to say one thing."""
    state = State("Template", "t")
    await player.up(state, {**TEMPLATE, "args": "serve --port 1"})
    assert await player.up(state, {**TEMPLATE, **same}) == "same"


async def test_the_order_of_pools_and_volumes_says_nothing(player: Player) -> None:
    """What RunPod treats as a set is compared as one."""
    state = State("Endpoint", "llm")
    await player.up(state, {**ENDPOINT, "gpu": {"pools": ["ADA_24", "AMPERE_24"]}, "waitForReady": False})
    assert await player.up(state, {**ENDPOINT, "gpu": {"pools": ["AMPERE_24", "ADA_24"]}}) == "same"


async def test_unknown_values_show_as_changes_and_replacements(player: Player) -> None:
    """In a preview an unknown value may be a change; of an immutable property it may be a replacement."""
    state = State("NetworkVolume", "v")
    await player.up(state, VOLUME)
    news = await player.check(state, {**VOLUME, "dataCenter": UNKNOWN, "size": UNKNOWN})
    diff = await player.diff(state, news)
    assert diff.paths == {"dataCenter": "UPDATE_REPLACE", "size": "UPDATE"}
    planned = await player.update_preview(state, news)
    assert planned["dataCenter"] is UNKNOWN


async def test_volumes_are_detached_by_an_empty_list(player: Player, cloud: Cloud) -> None:
    """Leaving networkVolumes out detaches what was attached."""
    volume, state = State("NetworkVolume", "v"), State("Endpoint", "llm")
    await player.up(volume, VOLUME)
    await player.up(state, {**ENDPOINT, "networkVolumes": [volume.id], "waitForReady": False})
    assert await player.up(state, {**ENDPOINT, "waitForReady": False}) == "update"
    assert cloud.sent("PATCH", "/v2/serverless/")[-1] == {"networkVolumes": []}
