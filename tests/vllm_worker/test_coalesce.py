"""Few pieces, none late, nothing lost."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vllm_worker.fake_vllm import event
from tests.vllm_worker.support import JobApi
from tests.vllm_worker.test_proxy import CHAT, vllm
from vllm_worker._coalesce import AT_ONCE, LONGEST_PAUSE_S, PAUSE_S, PIECE_BYTES, coalesced, pause_s
from vllm_worker._errors import ApiError


class Broken(Exception):
    """What a source may end with."""


async def source(chunks: list[bytes], every_s: float = 0.0, broken: bool = False) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
        await asyncio.sleep(every_s)
    if broken:
        raise Broken


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=9), max_size=60), st.booleans(), st.sampled_from([0.0, 0.0003]))
async def test_nothing_is_lost_or_exchanged(chunks: list[bytes], broken: bool, every_s: float) -> None:
    """The joined text is what came, also before a failure, which is told after it."""
    got: list[bytes] = []
    try:
        async for piece in coalesced(source(chunks, every_s, broken)):
            assert piece
            got.append(piece)
        ended_well = True
    except Broken:
        ended_well = False
    assert ended_well is not broken
    assert b"".join(got) == b"".join(chunks)
    assert not got or got[0].startswith(chunks[0])


async def test_the_first_pieces_come_at_once_and_later_ones_are_gathered() -> None:
    """Two hundred events: the first two alone, before the next one is there, and a handful of pieces in all."""
    chunks = [b"%d;" % number for number in range(200)]
    pieces: list[bytes] = []
    arrived = asyncio.Condition()

    async def patient() -> AsyncIterator[bytes]:
        for number, chunk in enumerate(chunks):
            yield chunk
            async with arrived:
                if number < AT_ONCE:
                    await arrived.wait_for(lambda number=number: len(pieces) > number)  # type: ignore[misc]
            await asyncio.sleep(0.002)

    began = time.monotonic()
    async with asyncio.timeout(20):
        async for piece in coalesced(patient()):
            async with arrived:
                pieces.append(piece)
                arrived.notify_all()
    assert pieces[:AT_ONCE] == chunks[:AT_ONCE]
    assert len(pieces) <= AT_ONCE + 2 + (time.monotonic() - began) / PAUSE_S
    assert b"".join(pieces) == b"".join(chunks)


async def test_a_slow_source_is_not_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after a silence goes on at once, and the end does too."""
    late = []
    async for piece in coalesced(source([b"%.6f" % 0, b"x", b"y", b"z"], PAUSE_S * 2)):
        late.append(piece)
    assert late == [b"0.000000", b"x", b"y", b"z"]
    for name in ("PAUSE_S", "LONGEST_PAUSE_S"):
        monkeypatch.setattr(f"vllm_worker._coalesce.{name}", 30.0)
    async with asyncio.timeout(10):
        assert b"".join([piece async for piece in coalesced(source([b"a"] * 50))]) == b"a" * 50


async def test_much_text_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece that is large enough goes on, whatever the time; nothing of it is held back."""
    for name in ("PAUSE_S", "LONGEST_PAUSE_S"):
        monkeypatch.setattr(f"vllm_worker._coalesce.{name}", 30.0)
    async with asyncio.timeout(10):
        pieces = [piece async for piece in coalesced(source([b"x" * PIECE_BYTES] * 40))]
    assert len(pieces) == 40


async def test_what_comes_while_a_piece_is_posted_is_one_piece() -> None:
    """A slow receiver gets few pieces, each with all that a socket has gathered meanwhile."""
    socket = asyncio.StreamReader()

    async def feed() -> None:
        for _ in range(60):
            socket.feed_data(b"y")
            await asyncio.sleep(0.005)
        socket.feed_eof()

    async def reads() -> AsyncIterator[bytes]:
        while data := await socket.read(1 << 16):
            yield data

    feeding = asyncio.create_task(feed())
    began = time.monotonic()
    got = []
    async for piece in coalesced(reads()):
        got.append(piece)
        await asyncio.sleep(LONGEST_PAUSE_S / 2)
    assert b"".join(got) == b"y" * 60
    assert len(got) <= 1 + (time.monotonic() - began) / (LONGEST_PAUSE_S / 2)
    await feeding


async def test_leaving_early_ends_the_source() -> None:
    """Closed while a read is waited for, and cancelled: the source is ended, no task is left."""
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"1"
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def consume() -> None:
        async for _ in coalesced(endless()):
            pass

    task = asyncio.create_task(consume())
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@given(st.integers(0, 10**6))
def test_pauses_grow_and_have_a_bound(given_: int) -> None:
    """None between the first pieces."""
    assert pause_s(given_) <= pause_s(given_ + 1) <= LONGEST_PAUSE_S
    assert (pause_s(given_) == 0) == (given_ < AT_ONCE)


async def test_a_stream_that_takes_too_long_is_told_from_a_broken_one(tmp_path: Path) -> None:
    """The time-out of a request holds in the middle of its stream, after what had come."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await asyncio.sleep(30)
        return response

    async with vllm(tmp_path, answer, timeout_s=0.3) as upstream:
        pieces = upstream.answer(CHAT, lambda _: None)
        assert await anext(pieces) == "data: 1\n\n"
        with pytest.raises(ApiError, match="REQUEST_TIMEOUT"):
            await anext(pieces)


async def test_tiny_events_become_few_posts(start: Callable[..., Any], platform: JobApi) -> None:
    """Through RunPod's SDK: the first event alone and at once, then a few posts; the text is what vLLM sent."""
    worker = await start()
    await worker.event("ready")
    body = {"messages": [{"role": "user", "content": "many 300"}], "stream": True}
    job = await platform.submit({"openai_route": "/v1/chat/completions", "openai_input": body})
    assert await platform.first_piece(job) == event("0 ").decode(), "before vLLM had sent anything else"
    (worker.home / "go").touch()
    done = await platform.result(job)
    sent = b"".join(event(f"{number} ") for number in range(300)) + b"data: [DONE]\n\n"
    assert "".join(platform.streams[job]).encode() == sent
    assert done["output"] == platform.streams[job]
    assert len(platform.streams[job]) <= 30
