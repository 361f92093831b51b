"""Check: every rule by itself, several mistakes at once, and what is left to RunPod where it cannot be asked."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from pulumi_runpod.provider.values import UNKNOWN
from tests.pulumi_runpod.cloud import KEY, Cloud, live_cloud
from tests.pulumi_runpod.contract_rules import RULES, Rule
from tests.pulumi_runpod.contract_samples import BASES
from tests.pulumi_runpod.engine_player import CheckFailed, Player, State, engine

pytestmark = pytest.mark.asyncio(loop_scope="module")

Json = dict[str, Any]


class World:
    def __init__(self, cloud: Cloud, player: Player, ids: dict[str, str]) -> None:
        self.cloud, self.player, self.ids = cloud, player, ids

    def program(self, kind: str, *mistakes: Json) -> Json:
        said: Json = dict(BASES[kind])
        for mistake in mistakes:
            said |= mistake
        return {key: self.resolved(value) for key, value in said.items() if value is not None}

    def resolved(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.resolved(item) for item in value]
        return self.ids[value[1:]] if isinstance(value, str) and value.startswith("$") else value


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    directory = tmp_path_factory.mktemp("check")
    async with live_cloud(directory) as cloud, engine(environ={"RUNPOD_API_KEY": KEY}) as player:
        await player.configure({"apiUrl": cloud.url, "jobsUrl": f"{cloud.url}/v2"})
        bodies: dict[str, tuple[str, Json]] = {
            "volume_a": ("/v2/network-volumes", {"name": "a", "size": 10, "dataCenter": "EU-RO-1"}),
            "volume_b": ("/v2/network-volumes", {"name": "b", "size": 10, "dataCenter": "EUR-IS-1"}),
            "volume_c": ("/v2/network-volumes", {"name": "c", "size": 10, "dataCenter": "EU-RO-1"}),
            "template_pod": ("/v2/templates", {"name": "p", "image": "good:1", "serverless": False}),
        }
        ids = {name: (await cloud.call("POST", route, body))["id"] for name, (route, body) in bodies.items()}
        yield World(cloud, player, ids)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def keyless() -> AsyncIterator[Player]:
    async with engine() as player:
        await player.configure({"apiUrl": "http://127.0.0.1:9"})
        yield player


async def failures_of(player: Player, kind: str, program: Json, state: State | None = None) -> dict[str, str]:
    try:
        await player.check(state or State(kind, "x"), program)
    except CheckFailed as failed:
        return failed.failures
    return {}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.kind}: {rule.name}")
async def test_rule(world: World, rule: Rule) -> None:
    """Exactly these properties are reported, each with its remedy."""
    found = await failures_of(world.player, rule.kind, world.program(rule.kind, rule.says))
    assert found.keys() == rule.found.keys(), found
    for path, words in rule.found.items():
        assert words in found[path]


@pytest.mark.parametrize("kind", BASES)
async def test_the_usual_program_is_right(world: World, keyless: Player, kind: str) -> None:
    """What the mistakes are laid over has none of its own."""
    assert await failures_of(world.player, kind, world.program(kind)) == {}
    assert await failures_of(keyless, kind, world.program(kind)) == {}


def _apart(rules: list[Rule]) -> list[Rule]:
    """Those that share no property with one before."""
    kept: list[Rule] = []
    taken: set[str] = set()
    for rule in rules:
        if rule.kind == rules[0].kind and not taken & rule.says.keys():
            kept.append(rule)
            taken |= rule.says.keys()
    return kept


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(RULES), min_size=4, max_size=14).map(_apart))
async def test_all_mistakes_are_told_at_once(world: World, rules: list[Rule]) -> None:
    """Whatever is wrong together is reported together, each with the words it has alone."""
    program = world.program(rules[0].kind, *(rule.says for rule in rules))
    found = await failures_of(world.player, rules[0].kind, program)
    expected = {path: words for rule in rules for path, words in rule.found.items()}
    assert found.keys() == expected.keys()
    assert all(words in found[path] for path, words in expected.items())


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.asks], ids=lambda rule: f"{rule.kind}: {rule.name}")
async def test_without_a_key_it_is_left_to_runpod(keyless: Player, world: World, rule: Rule) -> None:
    """A preview needs no key: what only RunPod knows passes."""
    assert await failures_of(keyless, rule.kind, world.program(rule.kind, rule.says)) == {}


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.asks], ids=lambda rule: f"{rule.kind}: {rule.name}")
async def test_an_unknown_part_breaks_no_rule(world: World, rule: Rule) -> None:
    """Whatever part of such a mistake is not known yet, only known mistakes are reported."""
    for key, value in rule.says.items():
        if value is None:
            continue
        program = world.program(rule.kind, rule.says) | {key: UNKNOWN}
        found = await failures_of(world.player, rule.kind, program)
        assert not any(path.split(".")[0].split("[")[0] == key for path in found), found
        if isinstance(value, list):
            program = world.program(rule.kind, rule.says) | {key: [UNKNOWN for _ in value]}
            assert await failures_of(world.player, rule.kind, program) == {}


async def test_what_was_accepted_before_is_not_asked_again(world: World) -> None:
    """No call for an unchanged program; a volume deleted elsewhere does not bar the way to `refresh`."""
    gone = {"networkVolumes": ["deleted-elsewhere"], "registry": "deleted-elsewhere", "gpu": {"pools": ["GONE"]}}
    program = world.program("Endpoint", gone)
    state = State("Endpoint", "x", inputs=program | {"gpu": {"pools": ["GONE"], "count": 1}})
    calls = len(world.cloud.calls)
    assert await failures_of(world.player, "Endpoint", program, state) == {}
    assert len(world.cloud.calls) == calls
    changed = program | {"dataCenterIds": ["EU-RO-1"]}
    assert "networkVolumes[0]" in await failures_of(world.player, "Endpoint", changed, state)


async def test_each_question_is_asked_once(world: World) -> None:
    """However many resources there are, the catalogue is read once, and each volume once."""
    async with engine(environ={"RUNPOD_API_KEY": KEY}) as player:
        await player.configure({"apiUrl": world.cloud.url, "jobsUrl": f"{world.cloud.url}/v2"})
        calls = len(world.cloud.calls)
        program = world.program("Endpoint", {"networkVolumes": ["$volume_a"], "dataCenterIds": ["EU-RO-1"]})
        for name in "abc":
            await player.check(State("Endpoint", name), program)
            await player.check(State("NetworkVolume", name), world.program("NetworkVolume"))
        asked = sorted(path for _, path, _ in world.cloud.calls[calls:])
        volume = f"/v2/network-volumes/{world.ids['volume_a']}"
        assert asked == ["/v2/catalog/datacenters", "/v2/catalog/gpus", volume]


async def test_a_question_without_an_answer_is_told_once(world: World) -> None:
    """A key that may not read the catalogue deploys all the same; what was not checked is said, once."""
    async with engine(environ={"RUNPOD_API_KEY": KEY}) as player:
        await player.configure({"apiUrl": world.cloud.url, "jobsUrl": f"{world.cloud.url}/v2"})
        refusal = {"title": "Forbidden", "status": 403, "detail": "access denied"}
        world.cloud.refuse.append(("GET", "/v2/catalog/gpus", 403, refusal))
        for name in "ab":
            await player.check(State("Endpoint", name), world.program("Endpoint"))
        assert player.warnings == ["GPU pools are not checked before RunPod does it: access denied"]
        assert world.cloud.refuse == []
