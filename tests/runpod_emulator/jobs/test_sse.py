"""Joining what a worker cut: the bytes of the stream come out as they were."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from runpod_emulator.jobs._routes import split
from runpod_emulator.jobs._sse import ByteJoiner

TEXT = st.text(st.characters(codec="utf-8"), max_size=60)


def joined(pieces: list[object]) -> bytes:
    joiner = ByteJoiner()
    return b"".join(joiner.feed(json.loads(json.dumps(piece))) for piece in pieces) + joiner.finish()


def cut(size: int, at: list[int]) -> list[slice]:
    marks = sorted({0, size, *(position % (size + 1) for position in at)})
    return [slice(low, high) for low, high in pairwise(marks)]


@given(TEXT, st.lists(st.integers(min_value=0)))
def test_text_cut_at_any_byte_comes_out_whole(text: str, at: list[int]) -> None:
    """A worker may decode each piece by itself with `surrogateescape`; no byte is lost or changed."""
    data = text.encode()
    pieces = [data[part].decode("utf-8", "surrogateescape") for part in cut(len(data), at)]
    assert joined(list(pieces)) == data


@given(TEXT, st.lists(st.integers(min_value=0)))
def test_text_cut_at_any_utf16_unit_comes_out_whole(text: str, at: list[int]) -> None:
    """A worker that counts in UTF-16 units may send the halves of a pair in two pieces."""
    data = text.encode("utf-16-le")
    pieces = [
        data[part.start * 2 : part.stop * 2].decode("utf-16-le", "surrogatepass") for part in cut(len(data) // 2, at)
    ]
    assert joined(list(pieces)) == text.encode()


@given(st.lists(st.text(max_size=20), max_size=8))
def test_any_pieces_give_bytes(pieces: list[str]) -> None:
    """Whatever a worker sends, joining does not fail and nothing is held back at the end."""
    joiner = ByteJoiner()
    for piece in pieces:
        joiner.feed(piece)
    joiner.finish()
    assert joiner.finish() == b""


def test_half_a_character_without_its_other_half_is_replaced() -> None:
    """The stream stays valid UTF-8 when the worker stops in the middle."""
    assert joined(["a\ud83d"]) == "a\ufffd".encode()


def test_an_object_becomes_one_event() -> None:
    """A worker that yields dicts instead of text is understood."""
    assert joined([{"delta": "é"}]) == 'data: {"delta": "é"}\n\n'.encode()


@given(st.text(max_size=200), st.integers(min_value=4, max_value=40))
def test_a_large_piece_is_split_below_the_limit(text: str, limit: int) -> None:
    """The parts together are the text, and each fits (1 MB in the documents)."""
    parts = split(text, limit)
    assert "".join(parts) == text
    assert all(len(part.encode("utf-8", "surrogatepass")) <= limit for part in parts)
