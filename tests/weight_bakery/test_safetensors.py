"""Damaged safetensors files are recognised without reading a tensor."""

import contextlib
import io
import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.weight_bakery.support import safetensors
from weight_bakery import CorruptWeights
from weight_bakery._safetensors import check_safetensors, shards_of_index

tensors = st.dictionaries(st.text(min_size=1, max_size=8), st.binary(max_size=40), max_size=5).filter(
    lambda value: "__metadata__" not in value
)


def check(content: bytes) -> None:
    """Check a file."""
    check_safetensors("m.safetensors", len(content), io.BytesIO(content))


def with_header(header: object, body: bytes = b"") -> bytes:
    """A file with any header."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + body


@given(tensors)
def test_whole_files_pass(content: dict[str, bytes]) -> None:
    """With and without metadata, with empty tensors, in any order."""
    check(safetensors(content))
    check(safetensors(content, metadata=False))


@given(tensors.filter(lambda value: any(value.values())), st.data())
def test_every_cut_is_noticed(content: dict[str, bytes], data: st.DataObject) -> None:
    """Whatever is missing at the end, the file is refused."""
    whole = safetensors(content)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(CorruptWeights, match="download the file again"):
        check(whole[:cut])


@given(tensors)
def test_anything_appended_is_noticed(content: dict[str, bytes]) -> None:
    """A file that is too long was not written by a safetensors writer either."""
    with pytest.raises(CorruptWeights):
        check(safetensors(content) + b"x")


@given(st.binary(max_size=200))
def test_noise_never_breaks_the_check(content: bytes) -> None:
    """Only CorruptWeights comes out, whatever goes in."""
    with contextlib.suppress(CorruptWeights):
        check(content)


TENSOR = {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes long, too short"),
        (struct.pack("<Q", 2**60) + b"{}", "says its header is 1152921504606846976 bytes long"),
        (with_header(b"not json"), "has a header that is not JSON"),
        (with_header([]), "not a JSON object"),
        (with_header(b"[" * 100_000), "has a header that is not JSON"),
        (with_header(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":1}'), "names a tensor twice"),
        (with_header({"a": 3}), "describes tensor 'a' wrongly"),
        (with_header({"a": {"dtype": "F16"}}), "without dtype, shape and data_offsets"),
        (with_header({"a": {**TENSOR, "shape": [-2, -2]}}, bytes(8)), "without dtype, shape"),
        (with_header({"a": {**TENSOR, "shape": [True, 4]}}, bytes(8)), "without dtype, shape"),
        (with_header({"a": {**TENSOR, "shape": [3]}}, bytes(8)), "which F16 \\[3\\] does not have"),
        (with_header({"a": {**TENSOR, "data_offsets": [8, 0]}}, bytes(8)), "negative length"),
        (with_header({"a": {**TENSOR, "data_offsets": [4, 12]}}, bytes(12)), "gap or an overlap at byte 0"),
        (with_header({"a": TENSOR}, bytes(7)), "holds 7 bytes of tensors, but its header describes 8"),
    ],
)
def test_each_kind_of_damage_has_its_words(content: bytes, message: str) -> None:
    """The line names the file and what is wrong with it."""
    with pytest.raises(CorruptWeights, match=f"m.safetensors .*{message}"):
        check(content)


def test_a_dtype_of_tomorrow_passes() -> None:
    """Its offsets are still checked."""
    check(with_header({"a": {"dtype": "F8_E9M9", "shape": [8], "data_offsets": [0, 3]}}, bytes(3)))


def test_indexes_are_read() -> None:
    """The file names of weight_map, or a refusal."""
    assert shards_of_index("i", b'{"weight_map":{"a":"1","b":"2","c":"1"}}') == {"1", "2"}
    for broken in (b"", b"[]", b"{}", b'{"weight_map":{"a":1}}'):
        with pytest.raises(CorruptWeights):
            shards_of_index("i", broken)
