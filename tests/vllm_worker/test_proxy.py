"""The text that arrives is the text that vLLM sent, however it was cut on the way."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vllm_worker._client import Address, health
from vllm_worker._errors import ApiError
from vllm_worker._inputs import Batch, Call
from vllm_worker._proxy import PIECE_CHARACTERS, EngineUnreachable, Upstream, _events

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
CHAT = Call("POST", "/v1/chat/completions", {"messages": []})


@asynccontextmanager
async def vllm(folder: Path, answer: Answer, timeout_s: float = 5) -> AsyncIterator[Upstream]:
    """A server on a Unix socket that answers every request with `answer`."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    path = folder / "vllm.sock"
    await web.UnixSite(runner, str(path)).start()
    upstream = Upstream(Address(socket=str(path)), timeout_s)
    try:
        yield upstream
    finally:
        await upstream.close()
        await runner.cleanup()


async def collect(upstream: Upstream, call: Call = CHAT) -> list[Any]:
    return [piece async for piece in upstream.answer(call, lambda _: None)]


class Content:
    """Bytes as they may come out of a socket."""

    def __init__(self, chunks: list[bytes]) -> None:
        self.chunks = chunks
        self.content = self

    async def iter_any(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(marks) if end > start]


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), max_size=8),
    st.lists(st.integers(min_value=0), max_size=30),
    st.sampled_from(["\n\n", "\r\n\r\n"]),
    st.text(st.characters(codec="utf-8"), max_size=5),
)
async def test_joined_pieces_are_the_bytes_that_were_sent(
    events: list[str], places: list[int], end: str, rest: str
) -> None:
    """For every text and every cut; and each piece but the last ends where an event ends."""
    data = ("".join(f"data: {event}{end}" for event in events) + rest).encode()
    pieces = [piece async for piece in _events(Content(cut(data, places)))]  # type: ignore[arg-type]
    assert "".join(pieces).encode() == data
    assert all(piece.endswith(("\n\n", "\r\n\r\n")) for piece in pieces[:-1])


async def test_a_huge_event_is_cut_into_pieces_that_the_platform_carries() -> None:
    """No piece has more characters than allowed, and nothing is lost."""
    text = "data: " + "ü" * (PIECE_CHARACTERS * 2) + "\n\n"
    pieces = [piece async for piece in _events(Content(cut(text.encode(), [1000, 70001])))]  # type: ignore[arg-type]
    assert "".join(pieces) == text
    assert max(map(len, pieces)) == PIECE_CHARACTERS


async def test_a_request_reaches_vllm_as_it_was_given(tmp_path: Path) -> None:
    """Method, route and JSON body arrive; the answer comes back as JSON."""
    seen: dict[str, Any] = {}

    async def answer(request: web.Request) -> web.Response:
        seen.update(method=request.method, path=request.raw_path, body=await request.json())
        return web.json_response({"ok": "ü"})

    body = {"messages": [{"role": "user", "content": "日本\n🌍"}], "temperature": 0.1}
    async with vllm(tmp_path, answer) as upstream:
        assert await collect(upstream, Call("POST", "/v1/chat/completions", body)) == [{"ok": "ü"}]
    assert seen == {"method": "POST", "path": "/v1/chat/completions", "body": body}


async def test_an_answer_that_utf8_cannot_hold_is_mended(tmp_path: Path) -> None:
    """RunPod's SDK could not post half of a surrogate pair; the job would be lost."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=b'{"text": "a\\ud83db"}', content_type="application/json")

    async with vllm(tmp_path, answer) as upstream:
        assert await collect(upstream) == [{"text": "a?b"}]


async def test_an_answer_that_tells_of_an_error_is_still_an_answer(tmp_path: Path) -> None:
    """RunPod's SDK would end the job for a key `error`; as text it passes. A null there is nothing special."""
    document: dict[str, Any] = {"status": "failed", "error": {"code": "server_error"}}

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(document)

    async with vllm(tmp_path, answer) as upstream:
        assert await collect(upstream) == [json.dumps(document)]
        document["error"] = None
        assert await collect(upstream) == [document]


async def test_text_that_is_not_json_comes_back_as_text(tmp_path: Path) -> None:
    """Some routes answer with plain text."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="plain")

    async with vllm(tmp_path, answer) as upstream:
        assert await collect(upstream) == ["plain"]


@pytest.mark.parametrize("status", [400, 401, 404, 422, 429, 500, 503, 302])
async def test_an_error_keeps_its_status_and_its_words(tmp_path: Path, status: int) -> None:
    """Also for streams, which fail before they begin; a redirect is an error too and is not followed."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(
            {"error": {"message": "no", "type": "T", "param": "p", "code": "c"}},
            status=status,
            headers={"Location": "http://127.0.0.1:9/"},
        )

    async with vllm(tmp_path, answer) as upstream:
        with pytest.raises(ApiError) as caught:
            await collect(upstream)
    assert json.loads(caught.value.as_job_error()) == {
        "message": "no", "type": "T", "param": "p", "code": "c", "status": status,
    }  # fmt: skip


async def test_a_time_out_says_what_timed_out(tmp_path: Path) -> None:
    """504, with the route and the variable to change."""

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async with vllm(tmp_path, answer, timeout_s=0.1) as upstream:
        with pytest.raises(ApiError, match=r"longer than 0.1 s for /v1/chat/completions \(REQUEST_TIMEOUT\)") as caught:
            await collect(upstream)
    assert caught.value.status == 504


async def test_a_broken_connection_is_told_apart(tmp_path: Path) -> None:
    """Nobody there, or gone in the middle: EngineUnreachable, after the whole events that had come."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\ndata: hal")
        await asyncio.sleep(0.05)
        assert request.transport is not None
        request.transport.abort()
        return response

    got: list[Any] = []
    async with vllm(tmp_path, answer) as upstream:
        pieces = upstream.answer(CHAT, lambda _: None)
        got.append(await anext(pieces))
        with pytest.raises(EngineUnreachable):
            await anext(pieces)
    assert got == ["data: 1\n\n"]
    nobody = Upstream(Address(socket=str(tmp_path / "nobody.sock")), 1)
    with pytest.raises(EngineUnreachable):
        await collect(nobody)
    assert await health(nobody.session, Address(socket=str(tmp_path / "nobody.sock"))) is None
    await nobody.close()


async def test_closing_the_response_aborts_the_request(tmp_path: Path) -> None:
    """What a cancelled job does reaches vLLM at once."""
    aborted = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b"data: x\n\n")
                await asyncio.sleep(0.01)
        finally:
            aborted.set()

    async with vllm(tmp_path, answer) as upstream:
        responses: list[Any] = []
        pieces = upstream.answer(CHAT, responses.append)
        await anext(pieces)
        responses[0].close()
        async with asyncio.timeout(10):
            await aborted.wait()
        await pieces.aclose()  # type: ignore[attr-defined]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.text(max_size=3), max_size=600))
async def test_batches_come_back_in_order(tmp_path: Path, prompts: list[str]) -> None:
    """However many prompts there are and in whatever order vLLM lists them."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        assert body["max_tokens"] == 7
        choices = [{"index": index, "text": prompt[::-1]} for index, prompt in enumerate(body["prompt"])]
        return web.json_response({"choices": sorted(choices, key=lambda choice: str(choice["text"]))})

    async with vllm(tmp_path, answer) as upstream:
        answered = await upstream.answer_batch(Batch(tuple(prompts), {"max_tokens": 7}), lambda _: None)
    assert answered == {"results": [{"prompt": prompt, "text": prompt[::-1]} for prompt in prompts]}


def test_the_private_socket_has_a_path_that_the_kernel_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder for this user alone, also where TMPDIR is long; removed without a trace."""
    for folder in (tmp_path, tmp_path / ("x" * 100)):
        folder.mkdir(exist_ok=True)
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        address = Address.choose(None)
        assert address.socket is not None
        assert len(address.socket) <= 107
        assert Path(address.socket).parent.stat().st_mode & 0o077 == 0
        address.remove()
        assert not Path(address.socket).parent.exists()
        assert not [entry for entry in folder.iterdir() if entry.name.startswith("vllm-worker-")]
    assert Address.choose(8000).arguments == ("--host=127.0.0.1", "--port=8000")
