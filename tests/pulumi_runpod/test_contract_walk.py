"""Every property of every resource walks null -> value -> other value -> null -> unknown through the whole provider.

The table is in `contract_samples`; a property without a row there fails here. After each step: Diff names exactly
what changed, replaces only where the table says, the PATCH holds only what changed, preview and real run agree, Read
gives what the state has, and asking again shows no difference.
"""

import copy
import itertools
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio

from pulumi_runpod.declarations import CLOUD_RESOURCES, Field, ListOf, Object
from pulumi_runpod.provider.values import UNKNOWN, has_unknown, path_root, plain
from tests.pulumi_runpod.cloud import KEY, Cloud, live_cloud
from tests.pulumi_runpod.contract_samples import BASES, REFUSED, WALKS, Walk
from tests.pulumi_runpod.engine_player import CheckFailed, Player, State, engine

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]
ROUTES = {
    "NetworkVolume": "/v2/network-volumes",
    "Template": "/v2/templates",
    "RegistryCredential": "/v2/registries",
    "Endpoint": "/v2/serverless",
}
HIDDEN = {"Endpoint": {"template"}}
"""Inputs that only the SDK makes; they have tests of their own."""


@dataclass
class World:
    player: Player
    cloud: Cloud
    ids: dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    directory = tmp_path_factory.mktemp("walk")
    async with live_cloud(directory) as cloud, engine(environ={"RUNPOD_API_KEY": KEY}) as player:
        await player.configure({"apiUrl": cloud.url, "jobsUrl": f"{cloud.url}/v2"})
        yield World(player, cloud, await _made_beforehand(cloud))


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def _nothing_left_over(world: World) -> AsyncIterator[None]:
    """A walk that fails midway must not use up the workers that the next one needs."""
    yield
    for endpoint in (await world.cloud.call("GET", "/v2/serverless"))["endpoints"]:
        await world.cloud.call("DELETE", f"/v2/serverless/{endpoint['id']}")


async def _made_beforehand(cloud: Cloud) -> dict[str, str]:
    bodies: dict[str, tuple[str, Json]] = {
        "volume_a": ("/v2/network-volumes", {"name": "a", "size": 10, "dataCenter": "EU-RO-1"}),
        "volume_b": ("/v2/network-volumes", {"name": "b", "size": 10, "dataCenter": "EUR-IS-1"}),
        "registry_a": ("/v2/registries", {"name": "a", "username": "u", "password": "p"}),
        "registry_b": ("/v2/registries", {"name": "b", "username": "u", "password": "p"}),
        "template_a": ("/v2/templates", {"name": "a", "image": "good:9", "disk": 31, "serverless": True}),
        "template_b": ("/v2/templates", {"name": "b", "image": "good:9", "disk": 32, "serverless": True}),
    }
    return {name: (await cloud.call("POST", route, body))["id"] for name, (route, body) in bodies.items()}


def paths_of(fields: tuple[Field, ...], parent: str = "") -> Iterator[str]:
    """Every input of a declaration, down to the leaves."""
    for field in fields:
        if not field.is_input:
            continue
        path = f"{parent}{field.wire}"
        yield path
        if isinstance(field.type, Object):
            yield from paths_of(field.type.fields, f"{path}.")
        elif isinstance(field.type, ListOf) and isinstance(field.type.item, Object):
            yield from paths_of(field.type.item.fields, f"{path}[0].")


@pytest.mark.parametrize("resource", CLOUD_RESOURCES, ids=lambda resource: resource.name)
async def test_every_declared_property_walks(resource: Any) -> None:
    """A new property needs a row in the table, and a row needs a property."""
    hidden = HIDDEN.get(resource.name, set())
    declared = {path for path in paths_of(resource.fields) if path.split(".")[0] not in hidden}
    assert {walk.path for walk in WALKS[resource.name]} == declared


ROWS = [(kind, walk) for kind, walks in WALKS.items() for walk in walks]
_counter = itertools.count()


@pytest.mark.parametrize(("kind", "walk"), ROWS, ids=[f"{kind}.{walk.path}-{n}" for n, (kind, walk) in enumerate(ROWS)])
async def test_walk(world: World, kind: str, walk: Walk) -> None:
    """One property's walk, each step proved."""
    state = State(kind, f"x{next(_counter)}")
    absent = _resolved({**BASES[kind], **walk.base}, world.ids)
    absent = {key: value for key, value in absent.items() if value is not None}
    at = walk.at or walk.path
    present = [_with(absent, at, _resolved(value, world.ids)) for value in (walk.first, walk.second)]
    absent = {**_with(absent, at, None), **walk.without}
    step = _Step(world, state)

    if walk.added == REFUSED:
        with pytest.raises(CheckFailed) as caught:
            await world.player.check(state, absent)
        assert any(at.startswith(path) for path in caught.value.failures), caught.value.failures
        await step.create(present[0])
    else:
        await step.create(absent)
        await step.to(present[0], walk.added, _body(walk, 0, at, present[0]))
    await step.to(present[1], walk.changed, _body(walk, 1, at, present[1]))
    if walk.removed != REFUSED:
        await step.to(absent, walk.removed, _body(walk, 2, at, absent))
    await step.preview(_with(present[0], at, UNKNOWN), _unknown(walk, at), path_root(at))
    await world.player.delete(state)
    assert await world.player.read(state) is None
    assert world.player.leaks("pass-word-0", "pass-word-1", "hf_secretsecret1", "hf_secretsecret2") == []


async def test_a_mount_bars_the_way_to_serverless(world: World) -> None:
    """RunPod cannot take a mount away; the message names the property and the way out, and nothing is changed."""
    state = State("Template", "pods")
    mounted = BASES["Template"] | {"serverless": False, "mounts": {"persistent": {"size": 10, "path": "/a"}}}
    await world.player.up(state, mounted)
    with pytest.raises(grpc.aio.AioRpcError, match=r"serverless: the template has a mount.*pulumi up --replace"):
        await world.player.up(state, BASES["Template"])
    assert await world.player.up(state, mounted) == "same"


class _Step:
    """Steps of one resource's life, each with all that has to hold after it."""

    def __init__(self, world: World, state: State) -> None:
        self.player, self.cloud, self.state = world.player, world.cloud, state

    async def create(self, program: Json) -> None:
        assert await self.player.up(self.state, program) == "create"
        await self._settled(program)

    async def to(self, program: Json, expected: str, body: Json) -> None:
        diff = await self.player.diff(self.state, await self.player.check(self.state, program))
        assert diff.paths == _paths(expected)
        assert set(diff.replaces) == {path_root(word[1:-1]) for word in expected.split() if word.endswith("!")}
        planned = await self.player.update_preview(self.state, await self.player.check(self.state, program))
        before = self._sent()
        operation = await self.player.up(self.state, program)
        assert operation == ("same" if not expected else "replace" if "!" in expected else "update")
        assert self._sent()[len(before) :] == ([body] if operation == "update" else [])
        if operation == "update":
            known = {key: value for key, value in planned.items() if not has_unknown(value)}
            assert plain({key: self.state.outputs.get(key) for key in known}) == plain(known)
        await self._settled(program)

    async def preview(self, program: Json, expected: str, root: str) -> None:
        """What is unknown is never called the same, and replaces only what could never change in place."""
        inputs = await self.player.check(self.state, program)
        diff = await self.player.diff(self.state, inputs)
        assert diff.paths == _paths(expected)
        planned = await self.player.update_preview(self.state, inputs)
        assert root not in planned or has_unknown(planned[root])
        fresh = await self.player.create_preview(State(self.state.type, "new"), inputs)
        assert root not in fresh or has_unknown(fresh[root])

    async def _settled(self, program: Json) -> None:
        assert await self.player.read(self.state) == (self.state.outputs, self.state.inputs)
        again = await self.player.diff(self.state, await self.player.check(self.state, program))
        assert again.changes == "DIFF_NONE", again.paths
        imported = State(self.state.type, self.state.name, self.state.id)
        found = await self.player.read(imported, by_id_alone=True)
        assert found is not None
        imported.outputs, imported.inputs = found
        never_told: Json = {key: program[key] for key in ("username", "password") if key in program}
        generated = imported.inputs | never_told
        nothing = await self.player.diff(imported, await self.player.check(imported, generated))
        assert nothing.changes == "DIFF_NONE", nothing.paths

    def _sent(self) -> list[Any]:
        return self.cloud.sent("PATCH", f"{ROUTES[self.state.type]}/{self.state.id}")


def _paths(expected: str) -> dict[str, str]:
    kinds = {"+": "ADD", "~": "UPDATE", "-": "DELETE"}
    return {
        word[1:].removesuffix("!"): kinds[word[0]] + ("_REPLACE" if word.endswith("!") else "")
        for word in expected.split()
    }


def _unknown(walk: Walk, at: str) -> str:
    if walk.unknown:
        return walk.unknown if walk.unknown != "none" else ""
    sign = "+" if walk.removed.startswith("-") else "~"
    return f"{sign}{at}" + ("!" if walk.changed.endswith("!") else "")


def _body(walk: Walk, step: int, at: str, program: Json) -> Json:
    """The PATCH that a step should send."""
    said = walk.sends[step]
    if said is not None:
        return said
    root, _, member = at.partition(".")
    if root in ("gpu", "workers") and member:
        return {root: {member: plain(program.get(root, {}).get(member))}}
    root = path_root(at)
    return {root: plain(program.get(root))}


def _resolved(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, str) and value.startswith("$"):
        return ids.get(value[1:], value)
    if isinstance(value, list):
        return [_resolved(item, ids) for item in value]
    if isinstance(value, dict):
        return {key: _resolved(item, ids) for key, item in value.items()}
    return value


def _with(program: Json, path: str, value: Any) -> Json:
    """A copy of `program` that says `value` at `path`, or nothing at all where it is None."""
    changed = copy.deepcopy(program)
    *parents, last = [int(part) if part.isdigit() else part for part in re.findall(r"\w+", path)]
    place: Any = changed
    for part in parents:
        place = place[part] if isinstance(part, int) else place.setdefault(part, {})
    if value is None:
        place.pop(last, None)
    else:
        place[last] = value
    return changed
