"""Laws of the wire codec."""

from typing import Any

import pytest
from google.protobuf import struct_pb2
from hypothesis import given
from hypothesis import strategies as st

from pulumi_runpod.provider.codec import (
    ARCHIVE,
    ASSET,
    OUTPUT_VALUE,
    RESOURCE_REFERENCE,
    SECRET,
    SIGNATURE_KEY,
    UNKNOWN_SENTINELS,
    UNKNOWN_STRING,
    CodecError,
    from_struct,
    to_struct,
)
from pulumi_runpod.provider.values import UNKNOWN, Secret, join_path, path_root, plain, secret_like, secret_texts

names = st.text(min_size=1, max_size=6).filter(lambda name: name != SIGNATURE_KEY)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: not number.is_integer()
)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=8) | st.just(UNKNOWN)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
marked = st.recursive(
    values | values.map(lambda value: Secret(plain(value))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=4,
)


@given(st.dictionaries(names, marked.filter(lambda value: value is not None), max_size=4))
def test_what_goes_on_the_wire_comes_off_it_unchanged(properties: dict[str, Any]) -> None:
    """Encoding and decoding is the identity, unknowns inside secrets inside lists included."""
    assert from_struct(to_struct(properties)) == properties


@given(st.dictionaries(names, marked.filter(lambda value: value is not None), max_size=4))
def test_a_secret_is_never_beside_its_wrapper(properties: dict[str, Any]) -> None:
    """A secret's strings are under the signature, so a second trip keeps the marks."""
    again = from_struct(to_struct(from_struct(to_struct(properties))))
    assert sorted(secret_texts(again)) == sorted(secret_texts(properties))


@pytest.mark.parametrize("sentinel", sorted(UNKNOWN_SENTINELS))
def test_every_kind_of_unknown_is_accepted_and_one_is_sent(sentinel: str) -> None:
    """The Python SDK recognises only the string sentinel."""
    struct = struct_pb2.Struct()
    struct["x"] = sentinel
    assert from_struct(struct) == {"x": UNKNOWN}
    assert to_struct({"x": UNKNOWN})["x"] == UNKNOWN_STRING


def test_output_values_and_references_become_plain_values() -> None:
    """An output value is its value, unknown without one; a reference is its id."""
    struct = struct_pb2.Struct()
    struct["known"] = {SIGNATURE_KEY: OUTPUT_VALUE, "value": "a", "dependencies": ["urn"]}
    struct["secret"] = {SIGNATURE_KEY: OUTPUT_VALUE, "value": "b", "secret": True}
    struct["unknown"] = {SIGNATURE_KEY: OUTPUT_VALUE}
    struct["reference"] = {SIGNATURE_KEY: RESOURCE_REFERENCE, "urn": "urn", "id": "tpl1"}
    assert from_struct(struct) == {"known": "a", "secret": Secret("b"), "unknown": UNKNOWN, "reference": "tpl1"}


@pytest.mark.parametrize("signature", [ASSET, ARCHIVE, "something new"])
def test_what_cannot_be_used_is_refused_with_its_path(signature: str) -> None:
    """RunPod has no assets."""
    struct = struct_pb2.Struct()
    struct["gpu"] = {"pools": [{SIGNATURE_KEY: signature, "text": "x"}]}
    with pytest.raises(CodecError, match=r"^gpu\.pools\[0\]: "):
        from_struct(struct)


def test_a_secret_shows_nothing() -> None:
    """Neither its repr nor a nested wrapper gives the content away."""
    assert "hush" not in repr([Secret({"a": "hush"})])
    assert Secret(Secret("a")) == Secret("a")
    assert SECRET not in repr(Secret("a"))


@given(names, names)
def test_a_path_names_its_property(first: str, second: str) -> None:
    """The root of a path is the property it began with."""
    assert path_root(join_path(join_path("", first), second)) == first


@given(values.filter(lambda value: value is not None))
def test_marks_are_carried_over(value: Any) -> None:
    """What was secret stays secret, and nothing else changes."""
    assert plain(secret_like(value, Secret("old"))) == plain(value)
    assert secret_like(value, value) == value
