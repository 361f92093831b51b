"""Whatever comes over the wire, Check, Diff and the previews answer: no traceback, no bug report, one line per mistake.

The engine never checks what a program wrote, and a state may have been edited by hand.
"""

import math
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import struct_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from pulumi.runtime.proto import provider_pb2

from pulumi_runpod.declarations import CLOUD_RESOURCES, Field, ListOf, MapOf, Object, Resource
from pulumi_runpod.provider.codec import ARCHIVE, ASSET, OUTPUT_VALUE, SECRET, SIGNATURE_KEY, UNKNOWN_SENTINELS
from pulumi_runpod.provider.values import Secret
from tests.pulumi_runpod.engine_player import CheckFailed, Player, State, engine
from tests.pulumi_runpod.test_life_cycles import CREDENTIAL, ENDPOINT, TEMPLATE, VOLUME

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD: dict[str, dict[str, Any]] = {
    "NetworkVolume": VOLUME,
    "Template": TEMPLATE,
    "RegistryCredential": CREDENTIAL,
    "Endpoint": ENDPOINT,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def offline() -> AsyncIterator[Player]:
    async with engine() as player:
        await player.configure({"apiUrl": "http://127.0.0.1:9"})
        yield player


odd_texts = st.one_of(
    st.sampled_from(sorted(UNKNOWN_SENTINELS)),
    st.sampled_from(["", "a\nb", "\0", 'a"b', "{", '{"cmd": 1}', "'", "٣.٣", "0/http", "99999/tcp", "https://x", "[]"]),
    st.text(max_size=6),
)
odd_numbers = st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1.0, 0.0, 0.5, 2.0**60])
scalars = st.one_of(st.none(), st.booleans(), odd_numbers, odd_texts)


def signed(content: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Wire objects with a signature, also with their parts missing or of a wrong kind."""
    signature = st.sampled_from([SECRET, OUTPUT_VALUE, ASSET, ARCHIVE, "no such signature", 1.0])
    return st.tuples(signature, content, st.booleans(), st.booleans()).map(
        lambda parts: {SIGNATURE_KEY: parts[0]} | ({"value": parts[1], "secret": parts[2]} if parts[3] else {})
    )


anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(odd_texts, inner, max_size=3), signed(inner)),
    max_leaves=6,
)


def almost(kind: Any) -> st.SearchStrategy[Any]:
    """A value of the declared shape, anything at all in some of its places."""
    match kind:
        case Object(fields=fields):
            return st.one_of(almost_fields(fields), anything)
        case ListOf(item=item):
            return st.one_of(st.lists(almost(item), max_size=3), anything)
        case MapOf(item=item):
            return st.one_of(st.dictionaries(odd_texts, almost(item), max_size=3), anything)
    return anything


def almost_fields(fields: tuple[Field, ...]) -> st.SearchStrategy[dict[str, Any]]:
    declared = st.fixed_dictionaries({}, optional={field.wire: almost(field.type) for field in fields})
    strangers = st.dictionaries(odd_texts, anything, max_size=1)
    return st.tuples(strangers, declared).map(lambda both: both[0] | both[1])


def onto_wire(value: Any) -> struct_pb2.Value:
    """Plain Python onto the wire as it stands, signatures and NaN included: our codec would refuse some of it."""
    wire = struct_pb2.Value()
    if value is None:
        wire.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        wire.bool_value = value
    elif isinstance(value, (int, float)):
        wire.number_value = value
    elif isinstance(value, str):
        wire.string_value = value
    elif isinstance(value, Secret):
        wire.CopyFrom(onto_wire({SIGNATURE_KEY: SECRET, "value": value.value}))
    elif isinstance(value, list):
        wire.list_value.SetInParent()
        wire.list_value.values.extend(onto_wire(item) for item in value)
    else:
        wire.struct_value.CopyFrom(struct_of(value))
    return wire


def struct_of(properties: dict[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    for key, value in properties.items():
        struct.fields[key].CopyFrom(onto_wire(value))
    return struct


hostile = st.sampled_from(CLOUD_RESOURCES).flatmap(
    lambda resource: st.tuples(st.just(resource), *[almost_fields(resource.fields)] * 3)
)


async def answered(player: Player, method: str, request: Any) -> Any:
    """The answer, or None for a refusal that is the sender's fault and is said on one line with the path."""
    try:
        return await getattr(player.stub, method)(request)
    except grpc.aio.AioRpcError as error:
        code, message = error.code(), error.details() or ""
    assert code is grpc.StatusCode.INVALID_ARGUMENT, message
    assert "\n" not in message
    assert "Traceback" not in message
    return None


@settings(max_examples=60, deadline=None)
@given(hostile)
async def test_nothing_on_the_wire_breaks_check_diff_or_preview(
    offline: Player, case: tuple[Resource, dict[str, Any], dict[str, Any], dict[str, Any]]
) -> None:
    """Each call answers, or refuses with INVALID_ARGUMENT; every failure has its property and one line."""
    resource, news, olds, old_inputs = case
    urn = State(resource.name, "x").urn()
    checked = await answered(
        offline, "Check", provider_pb2.CheckRequest(urn=urn, news=struct_of(news), olds=struct_of(old_inputs))
    )
    for failure in checked.failures if checked else ():
        assert failure.property
        assert failure.reason
        assert "\n" not in failure.property + failure.reason
    request = provider_pb2.DiffRequest(
        id="i", urn=urn, olds=struct_of(olds), old_inputs=struct_of(old_inputs), news=struct_of(news)
    )
    difference = await answered(offline, "Diff", request)
    if difference is not None:
        assert bool(difference.detailedDiff) == (difference.changes == provider_pb2.DiffResponse.DIFF_SOME)
    preview = provider_pb2.UpdateRequest(
        id="i", urn=urn, olds=struct_of(olds), old_inputs=struct_of(old_inputs), news=struct_of(news), preview=True
    )
    await answered(offline, "Update", preview)
    await answered(offline, "Create", provider_pb2.CreateRequest(urn=urn, properties=struct_of(news), preview=True))


PLACES = [(resource.name, field) for resource in CLOUD_RESOURCES for field in resource.inputs]


@pytest.mark.parametrize(("kind", "field"), PLACES, ids=[f"{kind}.{field.wire}" for kind, field in PLACES])
@settings(max_examples=8, deadline=None)
@given(value=anything)
async def test_one_wrong_property_is_named_by_its_path(offline: Player, kind: str, field: Field, value: Any) -> None:
    """Whatever a single property holds, what Check finds lies at that property or is a rule that names it."""
    news = struct_of({**GOOD[kind], field.wire: value})
    answer = await answered(offline, "Check", provider_pb2.CheckRequest(urn=State(kind, "x").urn(), news=news))
    for failure in answer.failures if answer else ():
        told = failure.property + " " + failure.reason
        assert field.wire in told or failure.property.split(".")[0] in ("workers", "image", "cpu"), told


async def test_a_secret_in_the_wrong_place_is_not_quoted(offline: Player) -> None:
    """The message says what is asked for, never what was given, be it ever so short."""
    for kind, property_, value in [
        ("Template", "ports", [Secret("pw1")]),
        ("Template", "category", Secret("pw1")),
        ("Endpoint", "gpu", Secret({"pools": ["ADA_24"], "minCudaVersion": "pw1"})),
        ("NetworkVolume", "size", Secret(7)),
    ]:
        with pytest.raises(CheckFailed) as caught:
            await offline.check(State(kind, "x"), {**GOOD[kind], property_: value})
        assert "pw1" not in str(caught.value)
        assert "7" not in str(caught.value)
