"""Requests to vLLM, with nothing lost on the way: text, status, error, cancellation."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp

from vllm_worker._client import Address, open_session
from vllm_worker._coalesce import coalesced
from vllm_worker._errors import ApiError
from vllm_worker._inputs import Batch, Call

BATCH_SLICE = 256
"""Prompts in one request; vLLM takes at most 1024."""
PIECE_CHARACTERS = 150_000
"""The platform carries at most 1 MB a piece; a character takes up to six bytes in JSON."""


class EngineUnreachable(Exception):
    """The connection to vLLM broke; whether it lives is for the caller to find out."""


class Upstream:
    """vLLM, for one event loop. `close` it in the same loop."""

    def __init__(self, address: Address, request_timeout_s: float) -> None:
        self._address = address
        self._timeout_s = request_timeout_s
        self._session = open_session(address, request_timeout_s)

    async def close(self) -> None:
        """Close idle connections."""
        await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP client, for /health."""
        return self._session

    async def answer(self, call: Call, on_open: Callable[[aiohttp.ClientResponse], None]) -> AsyncIterator[Any]:
        """Yield what vLLM answers: one JSON value, or the events of a stream as text.

        The joined text of a stream is what vLLM sent; pieces end where events end. `on_open` receives the response,
        so that somebody who learns earlier that nobody listens can close it.
        Raises ApiError for an error of vLLM's and for a time-out, EngineUnreachable for a broken connection.
        """
        try:
            async with self._session.request(
                call.method,
                f"{self._address.base_url}{call.route}",
                data=call.payload,
                headers={"Content-Type": "application/json"} if call.body is not None else None,
                allow_redirects=False,
            ) as response:
                on_open(response)
                if response.status != 200:
                    raise ApiError.from_body(response.status, await response.read())
                if response.content_type == "text/event-stream":
                    async for piece in _events(response):
                        yield piece
                else:
                    yield _value(await response.read())
        except TimeoutError as error:
            raise ApiError(
                504, f"vLLM took longer than {self._timeout_s:g} s for {call.route} (REQUEST_TIMEOUT)"
            ) from error
        except aiohttp.ClientError as error:
            raise EngineUnreachable(f"{call.route}: {error or type(error).__name__}") from error

    async def answer_batch(
        self,
        batch: Batch,
        on_open: Callable[[aiohttp.ClientResponse], None],
        on_answer: Callable[[Any], None] = lambda _: None,
    ) -> dict[str, list[dict[str, str]]]:
        """Answer many prompts, in their order. `on_answer` sees each of vLLM's answers."""
        results: list[dict[str, str]] = []
        for start in range(0, len(batch.prompts), BATCH_SLICE):
            prompts = batch.prompts[start : start + BATCH_SLICE]
            call = Call("POST", "/v1/completions", {**batch.parameters, "prompt": list(prompts), "stream": False})
            async for document in self.answer(call, on_open):
                on_answer(document)
                results += [
                    {"prompt": prompt, "text": text} for prompt, text in zip(prompts, _texts(document), strict=True)
                ]
        return {"results": results}


def _texts(document: Any) -> list[str]:
    """The texts of a completions answer, by the index of their prompt."""
    choices = sorted(document["choices"], key=lambda choice: int(choice["index"]))
    return [str(choice["text"]) for choice in choices]


def _value(body: bytes) -> Any:
    text = body.decode("utf-8", errors="replace")
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, dict) and value.get("error"):
        # An answer with status 200 that has such a key (a failed background response): as an object, RunPod's SDK
        # would take it for the job's failure.
        return text
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, which RunPod's SDK could not send on.
        return json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", errors="replace"))
    return value


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    """Whole events as text, in few pieces that the platform carries."""
    async for events in coalesced(whole_events(response)):
        for piece in _pieces(events.decode("utf-8", errors="replace")):
            yield piece


async def whole_events(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Whole server-sent events, as many at a time as have arrived.

    Events end with an empty line, so no character is ever cut; what arrives while the last piece is being sent on is
    joined into the next one. A broken stream leaves no half event behind.
    """
    held = bytearray()
    async for chunk in response.content.iter_any():
        # Nothing held so far ends an event, except together with what has just come.
        start = max(0, len(held) - 3)
        held += chunk
        end = max(_after(held, b"\n\n", start), _after(held, b"\r\n\r\n", start))
        if end > 0:
            whole = bytes(held[:end])
            del held[:end]
            yield whole
    if held:
        yield bytes(held)


def _after(held: bytearray, mark: bytes, start: int) -> int:
    found = held.rfind(mark, start)
    return 0 if found < 0 else found + len(mark)


def _pieces(text: str) -> list[str]:
    return [text[start : start + PIECE_CHARACTERS] for start in range(0, len(text), PIECE_CHARACTERS)]
