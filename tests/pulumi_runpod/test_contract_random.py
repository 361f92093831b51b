"""Random programs against the emulator: what is made reads back as it was asked for, and imports without a difference.

The bodies also have to satisfy RunPod's published document, where that is at hand.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pulumi_runpod.declarations import RESOURCES
from pulumi_runpod.provider.diffing import same
from pulumi_runpod.provider.values import has_unknown, path_root, plain
from tests.contract import support
from tests.pulumi_runpod.cloud import KEY, live_cloud
from tests.pulumi_runpod.contract_programs import PROGRAMS
from tests.pulumi_runpod.engine_player import Player, State, engine
from tests.pulumi_runpod.test_contract_walk import ROUTES, World, _made_beforehand, _resolved
from tests.pulumi_runpod.test_diff_laws import checked, controller

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    directory = tmp_path_factory.mktemp("random")
    async with live_cloud(directory) as cloud, engine(environ={"RUNPOD_API_KEY": KEY}) as player:
        await player.configure({"apiUrl": cloud.url, "jobsUrl": f"{cloud.url}/v2"})
        yield World(player, cloud, await _made_beforehand(cloud))


UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)
"""Each step is dozens of calls over HTTP: making a failure small would take minutes."""


def _can_follow(case: tuple[str, Json, Json]) -> bool:
    """A mount cannot be taken off a template, and a serverless one can have none (test_contract_walk says so too)."""
    _, first, second = case
    return "mounts" not in first or second.get("serverless") is False


two_programs = st.sampled_from(sorted(PROGRAMS)).flatmap(
    lambda kind: st.tuples(st.just(kind), PROGRAMS[kind], PROGRAMS[kind]).filter(_can_follow)
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=UNSHRUNK)
@given(two_programs)
async def test_a_random_life(world: World, case: tuple[str, Json, Json]) -> None:
    """Create, read, import, change, read, import: never a difference that nobody made, and no secret in clear."""
    kind, *programs = case
    first, second = (_resolved(program, world.ids) for program in programs)
    player, state = world.player, State(kind, "x")
    world.cloud.calls.clear()
    player.answers.clear()
    try:
        assert await player.up(state, first) == "create"
        await _settled(player, state, first)
        inputs = await player.check(state, second)
        diff = await player.diff(state, inputs)
        planned = await player.update_preview(state, inputs)
        operation = await player.up(state, second)
        assert operation == ("replace" if diff.replaces else "update" if diff.paths else "same")
        if operation == "update":
            sent = world.cloud.sent("PATCH", ROUTES[kind])
            roots = {path_root(path) for path in diff.paths}
            if roots & {"args", "entrypoint", "cmd"}:
                roots |= {"args", "entrypoint", "cmd"}
            assert all(set(body) <= roots for body in sent)
            _came_true(kind, planned, state.outputs)
        await _settled(player, state, second)
    finally:
        if state.id:
            await player.delete(state)


def _came_true(kind: str, planned: Json, outputs: Json) -> None:
    """What a preview knew is what became of it; only where order says nothing, another order will do."""
    resource = next(resource for resource in RESOURCES if resource.name == kind)
    for key, value in planned.items():
        field = resource.field(key)
        if has_unknown(value) or plain(outputs.get(key)) == plain(value):
            continue
        assert field is not None
        assert same(field, outputs.get(key), value), (key, plain(value), plain(outputs.get(key)))


async def _settled(player: Player, state: State, program: Json) -> None:
    assert await player.read(state) == (state.outputs, state.inputs)
    again = await player.diff(state, await player.check(state, program))
    assert again.changes == "DIFF_NONE", again.paths
    imported = State(state.type, state.name, state.id)
    found = await player.read(imported, by_id_alone=True)
    assert found is not None
    imported.outputs, imported.inputs = found
    for said in (imported.inputs, program):
        never_told = {key: program[key] for key in ("username", "password") if key in program}
        checked = await player.check(imported, said | never_told)
        nothing = await player.diff(imported, checked)
        assert nothing.changes == "DIFF_NONE", nothing.paths
    assert set(found[1]) <= {field.wire for resource in RESOURCES for field in resource.inputs}
    assert "Secret" in repr(state.outputs.get("password", "Secret"))


@settings(max_examples=40, deadline=None)
@given(two_programs)
async def test_bodies_satisfy_the_published_document(case: tuple[str, Json, Json]) -> None:
    """What would be sent to create the one program and to change it into the other is what RunPod documents."""
    contract = support.contract()
    if contract is None:
        pytest.skip(support.MISSING)
    kind, first, second = case
    control = controller(kind)
    old, new = await checked(kind, first), await checked(kind, second)
    outputs = {key: value for key, value in control.planned_outputs(old, None).items() if key in old}
    difference = control.diff(outputs, old, new)
    bodies = [("POST", ROUTES[kind], control.create_body(old))]
    if difference.changes and not difference.replaces:
        bodies.append(("PATCH", f"{ROUTES[kind]}/some-id", control.update_body(difference.changes, new)))
    for method, path, body in bodies:
        operation = contract.operation(method, path)
        assert operation is not None
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert [error.message for error in contract.validator(schema).iter_errors(body)] == [], body


async def test_the_document_judges() -> None:
    """A body with a property that RunPod does not know is found."""
    contract = support.contract()
    if contract is None:
        pytest.skip(support.MISSING)
    operation = contract.operation("PATCH", "/v2/templates/some-id")
    assert operation is not None
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert list(contract.validator(schema).iter_errors({"images": "x"}))
