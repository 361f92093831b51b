"""Laws of Diff, and of the way from outputs back to inputs."""

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pulumi_runpod.declarations import (
    CLOUD_RESOURCES,
    ENDPOINT,
    Field,
    Flag,
    Integer,
    Json,
    ListOf,
    MapOf,
    Number,
    Object,
    Resource,
    Text,
    nothing,
)
from pulumi_runpod.provider.command import command_of, decode_args
from pulumi_runpod.provider.config import Settings
from pulumi_runpod.provider.diffing import changed_roots
from pulumi_runpod.provider.engine import GrpcEngine
from pulumi_runpod.provider.resources import Call, controllers
from pulumi_runpod.provider.session import Session
from pulumi_runpod.provider.values import UNKNOWN, path_root

words = st.text("abcXYZ019", min_size=1, max_size=5)


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    match kind:
        case Text(enum=enum) if enum:
            return st.sampled_from(enum)
        case Text(pattern=pattern) if pattern and "http" in pattern:
            return st.sampled_from(["80/http", "22/tcp", "8000/http"])
        case Text(pattern=pattern) if pattern and "d+" in pattern:
            return st.sampled_from(["12.8", "13.0"])
        case Text():
            return words
        case Integer(minimum=low, maximum=high):
            return st.integers(low or 0, high or 100).map(lambda n: max(n, 1))
        case Number():
            return st.sampled_from([0.5, 1, 4, 7.25])
        case Flag():
            return st.booleans()
        case Json():
            return st.just({"a": 1})
        case ListOf(item=item):
            return st.lists(values_of(item), min_size=1, max_size=3, unique_by=repr)
        case MapOf(item=item):
            return st.dictionaries(words, values_of(item), max_size=3)
        case Object(fields=fields):
            return fields_of([field for field in fields if field.is_input])
    raise AssertionError(kind)


def fields_of(fields: list[Field]) -> st.SearchStrategy[dict[str, Any]]:
    required = {f.wire: values_of(f.type) for f in fields if f.required}
    optional = {f.wire: values_of(f.type) for f in fields if not f.required}
    return st.fixed_dictionaries(required, optional=optional)


def controller(name: str) -> Any:
    settings_ = Settings("http://127.0.0.1:1", "http://127.0.0.1:1/v2", None, "nowhere", "", loopback_only=False)
    return controllers(Session(settings_, GrpcEngine()))[f"runpod:index:{name}"]


def said(resource: Resource) -> list[Field]:
    """What a program may say; `args` beside the lists would have to agree with them."""
    return [field for field in resource.inputs if not field.provider_only and field.wire != "args"]


inputs_of = st.sampled_from([resource for resource in CLOUD_RESOURCES if resource is not ENDPOINT]).flatmap(
    lambda resource: st.tuples(st.just(resource.name), *[fields_of(said(resource))] * 2)
)
endpoint_inputs = fields_of(said(ENDPOINT))


async def checked(name: str, inputs: dict[str, Any]) -> dict[str, Any]:
    call = Call(f"urn:pulumi:s::p::runpod:index:{name}::x", "x")
    result, _ = await controller(name).check(call, {}, inputs, b"seed")
    assert isinstance(result, dict)
    return result


def with_unknowns(value: Any, chosen: st.DataObject) -> Any:
    """`value` with some parts of it unknown."""
    if chosen.draw(st.integers(0, 5)) == 0:
        return UNKNOWN
    if isinstance(value, dict):
        return {key: with_unknowns(item, chosen) for key, item in value.items()}
    return [with_unknowns(item, chosen) for item in value] if isinstance(value, list) else value


@settings(max_examples=60, deadline=None)
@given(inputs_of)
async def test_nothing_differs_from_itself_and_all_changes_are_found(
    case: tuple[str, dict[str, Any], dict[str, Any]],
) -> None:
    """diff(x, x) is empty; diff(x, y) names only properties that differ, and its PATCH names only those."""
    name, first, second = case
    control = controller(name)
    old, new = await checked(name, first), await checked(name, second)
    outputs = control.planned_outputs(old, None)
    known = {key: value for key, value in outputs.items() if key in old}
    assert control.diff(known, old, old).changes == {}
    changes = control.diff(known, old, new).changes
    assert all(old.get(root) != new.get(root) for root in changed_roots(changes))
    assert {path_root(path) for path in changes} >= set(control.update_body(changes, new)) - {
        "args",
        "entrypoint",
        "cmd",
    }


@settings(max_examples=60, deadline=None)
@given(endpoint_inputs)
async def test_an_endpoint_s_inputs_come_back_from_its_outputs(inputs: dict[str, Any]) -> None:
    """Read after create: the same inputs; import: inputs that differ from the program's in nothing Diff would show."""
    control = controller("Endpoint")
    old = await checked("Endpoint", inputs)
    answer = {**control.create_body(old), "id": "e", "type": old["type"]}
    outputs = control.outputs(answer, old)
    again = control.read_inputs(outputs, old)
    assert control.diff(outputs, again, old).changes == {}
    imported = control.read_inputs(outputs, {})
    assert control.diff(outputs, imported, old).changes == {}


@settings(max_examples=60, deadline=None)
@given(inputs_of)
async def test_a_difference_has_two_sides(case: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    """x differs from y exactly if y differs from x; each path that is named leads to a real change."""
    name, first, second = case
    control = controller(name)
    old, new = await checked(name, first), await checked(name, second)
    # What stays when it is left out differs in one direction only, so both sides have to say it.
    declared = control.declaration.inputs
    said_by = {field.wire: [not nothing(field, side.get(field.wire)) for side in (old, new)] for field in declared}
    one_sided = {field.wire for field in declared if field.stays and len(set(said_by[field.wire])) == 2}
    old, new = ({key: value for key, value in side.items() if key not in one_sided} for side in (old, new))
    there = control.diff(old, old, new).changes
    back = control.diff(new, new, old).changes
    assert bool(there) == bool(back)
    assert {path_root(path) for path in there} == {path_root(path) for path in back}
    for path in there:
        # In a list without order a place says nothing.
        assert at(old, path) != at(new, path) or "[" in path


def at(properties: Any, path: str) -> Any:
    """What stands at a property path, or None."""
    for quoted, plain_key, index in re.findall(r'\["((?:[^"\\]|\\.)*)"\]|([^.\[\]]+)(?![^\[]*\])|\[(\d+)\]', path):
        if index:
            place = int(index)
            properties = properties[place] if isinstance(properties, list) and place < len(properties) else None
        else:
            properties = properties.get(quoted or plain_key) if isinstance(properties, dict) else None
    return properties


@given(st.text(max_size=30))
def test_any_args_have_a_meaning(args: str) -> None:
    """Unbalanced quotes and odd JSON included; nothing raises."""
    entrypoint, cmd = decode_args(args)
    assert command_of({"args": args}) == (entrypoint, cmd)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CLOUD_RESOURCES).flatmap(lambda r: st.tuples(st.just(r), *[fields_of(said(r))] * 2)), st.data())
async def test_unknown_values_anywhere_break_nothing(case: tuple[Resource, Any, Any], data: st.DataObject) -> None:
    """Check, Diff and both previews take an unknown in any place, and Diff calls it a change, never "the same"."""
    resource, first, second = case
    control = controller(resource.name)
    old = await checked(resource.name, first)
    olds = {key: value for key, value in control.planned_outputs(old, None).items() if key in old}
    news = await checked(resource.name, {key: with_unknowns(value, data) for key, value in second.items()})
    changes = control.diff(olds, old, news).changes
    for key, value in news.items():
        if value is UNKNOWN and key not in ("args", "entrypoint", "cmd"):
            assert key in changes
    control.planned_outputs(news, None)
    control.planned_outputs(news, olds)
