"""`/openai/v1/*`: an OpenAI request becomes a job `{"openai_route", "openai_input"}` (runpod-api.md §2.8).

A request with `"stream": true` is answered as `text/event-stream`, byte for byte what the worker streams. Its headers
go out with the first piece, or after START_AFTER_S without one: until then a failure can have a status of its own.
Whoever hangs up cancels the job (our assumptions).
"""

import asyncio
import json
from typing import Any

from aiohttp import web

from runpod_emulator.clock import Clock
from runpod_emulator.context import Context
from runpod_emulator.jobs._access import still_connected
from runpod_emulator.jobs._book import JobBook
from runpod_emulator.jobs._model import Job, Submission
from runpod_emulator.jobs._openai_result import OpenAiAnswer, error_answer, failure_of, success_of
from runpod_emulator.jobs._request import SYNC_LIMIT, JobRequestError, parse_json, read_limited
from runpod_emulator.jobs._sse import ByteJoiner
from runpod_emulator.model import Endpoint, Json
from runpod_emulator.waiting import wait_any

START_AFTER_S = 2.0
DONE = b"data: [DONE]"
LOOK_S = 0.25
"""How often a waiting handler looks whether its client is still there."""


def render(error: JobRequestError) -> web.Response:
    """The job plane's refusals in OpenAI's form, so that an OpenAI client can show the message."""
    return _respond(error_answer(error.status, error.message))


class OpenAiRoute:
    def __init__(self, ctx: Context) -> None:
        self._timing, self._clock = ctx.config.timing, ctx.clock

    async def handle(self, request: web.Request, endpoint: Endpoint, book: JobBook) -> web.StreamResponse:
        body = await read_limited(request, SYNC_LIMIT)
        job_input: Json = {"openai_route": "/" + request.match_info["route"]}
        if body:
            job_input["openai_input"] = parse_json(body)
            if not isinstance(job_input["openai_input"], dict):
                raise JobRequestError(400, "request body must be a JSON object")
        job = book.submit(
            endpoint.id,
            Submission(
                kind="openai",
                input=job_input,
                ttl_s=self._timing.job_ttl_s,
                retention_s=self._timing.sync_retention_s,
            ),
        )
        streaming = job_input.get("openai_input", {}).get("stream") is True
        exchange = _Exchange(request, book, job, self._clock)
        try:
            return await (exchange.stream() if streaming else exchange.answer())
        except (ConnectionError, asyncio.CancelledError):
            book.cancel(endpoint.id, job.id)
            raise


class _Exchange:
    """One OpenAI request and its job."""

    def __init__(self, request: web.Request, book: JobBook, job: Job, clock: Clock) -> None:
        self._request, self._book, self._job, self._clock = request, book, job, clock

    async def answer(self) -> web.Response:
        pieces: list[Any] = []
        while True:
            job, new = self._look()
            pieces += new
            if job is None or job.status.final:
                break
            await self._wait(LOOK_S)
        return _respond(self._outcome(job, pieces))

    async def stream(self) -> web.StreamResponse:
        start_at = self._clock.steady() + START_AFTER_S
        joiner, tail = ByteJoiner(), b""
        response: web.StreamResponse | None = None
        while True:
            job, pieces = self._look()
            done = job is None or job.status.final
            if response is None and done and not pieces and (job is None or failure_of(job) is not None):
                return _respond(self._outcome(job, []))
            if response is None and (pieces or done or self._clock.steady() >= start_at):
                response = await self._start()
            for piece in pieces:
                data = joiner.feed(piece)
                tail = (tail + data)[-len(DONE) - 8 :]
                await _write(response, data)
            if done:
                break
            await self._wait(LOOK_S if response else min(LOOK_S, start_at - self._clock.steady()))
        assert response is not None
        await _write(response, joiner.finish())
        failed = failure_of(job)
        if failed is not None and not tail.rstrip().endswith(DONE):
            # A worker that fails in the middle of a stream may have said so itself, and ended the stream.
            await _write(response, b"data: " + ByteJoiner().feed(failed.text) + b"\n\n" + DONE + b"\n\n")
        elif failed is None and not tail and job is not None:
            await _write(response, _unstreamed(job))
        await response.write_eof()
        return response

    def _look(self) -> tuple[Job | None, list[Any]]:
        """State first, pieces second, with nothing between: a final state means that all pieces are there."""
        job = self._book.get(self._job.endpoint_id, self._job.id)
        return job, self._book.drain(self._job.id) if job else []

    async def _wait(self, timeout_s: float) -> None:
        await wait_any(timeout_s, self._book.job_signal(self._job.id), self._clock.moved)
        if not still_connected(self._request):
            raise ConnectionResetError("the client went away")

    async def _start(self) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-cache",
                "X-Accel-Buffering": "no",
            }
        )
        await response.prepare(self._request)
        await response.write(b"")
        return response

    def _outcome(self, job: Job | None, pieces: list[Any]) -> OpenAiAnswer:
        failed = failure_of(job)
        if failed is not None or job is None:
            return failed or error_answer(500, "the job vanished")
        return success_of(None if job.output is None else json.loads(job.output), pieces)


async def _write(response: web.StreamResponse | None, data: bytes) -> None:
    if data and response is not None:
        await response.write(data)


def _unstreamed(job: Job) -> bytes:
    """A worker that did not stream although it was asked to: its whole output as events (our assumption)."""
    output = None if job.output is None else json.loads(job.output)
    parts = output if isinstance(output, list) else [] if output is None else [output]
    joiner = ByteJoiner()
    data = b"".join(joiner.feed(part) for part in parts) + joiner.finish()
    return data if all(isinstance(part, str) for part in parts) else data + DONE + b"\n\n"


def _respond(answer: OpenAiAnswer) -> web.Response:
    return web.Response(
        status=answer.status,
        body=ByteJoiner().feed(answer.text),
        content_type=answer.content_type,
        charset="utf-8" if answer.content_type == "text/plain" else None,
    )
