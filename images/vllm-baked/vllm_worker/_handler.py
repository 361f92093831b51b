"""One job: input in, pieces of the answer out, and never a crash."""

import asyncio
import contextlib
import traceback
import weakref
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from vllm_worker._client import Address, health
from vllm_worker._engine import Engine
from vllm_worker._errors import ApiError
from vllm_worker._inputs import Batch, Call, parse_input
from vllm_worker._log import event
from vllm_worker._pressure import MEASURE_S, Sample, read_sample
from vllm_worker._proxy import EngineUnreachable, Upstream
from vllm_worker._tags import Tags, take_tags
from vllm_worker._usage import Bill, Desk

ENGINE_TROUBLE = (500, 503)
"""What vLLM answers when its engine is gone, and sometimes when it is not."""

SICK_ENGINE_LIMIT_S = 10.0
"""How long a vLLM that broke a connection may take to answer /health again."""


class Handler:
    """Answers jobs for RunPod's SDK. `jobs` is the async generator function to hand over."""

    def __init__(
        self, engine: Engine, address: Address, request_timeout_s: float, desk: Desk, metrics_interval_s: float
    ) -> None:
        self._engine = engine
        self._desk, self._interval_s = desk, metrics_interval_s
        self._reports: asyncio.Task[None] | None = None
        self._address = address
        self._timeout_s = request_timeout_s
        self._upstream: Upstream | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._speaking: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()

    @property
    def active(self) -> int:
        """Jobs in hand, until their result has been posted."""
        return len(self._tasks)

    @property
    def speaking(self) -> int:
        """Jobs whose answer has begun, as a stream."""
        return sum(task in self._tasks for task in self._speaking)

    async def jobs(self, job: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Yield the pieces of one job's answer; an error is yielded as {"error": <one line of JSON>}."""
        task = self._register()
        begun = False
        bill: Bill | None = None
        try:
            asked, tags = take_tags(job.get("input"))
            if isinstance(asked, dict) and asked.get("metrics") is True and len(asked) == 1:
                yield self._desk.metrics.snapshot()
                return
            request = parse_input(asked)
            bill = self._charge(task, request, tags)
            upstream = self._open()
            if isinstance(request, Batch):
                answer = await upstream.answer_batch(request, self._closer(task), bill.saw_document)
                yield answer
            else:
                async for piece in upstream.answer(request, self._closer(task)):
                    if isinstance(piece, str):
                        begun = True
                        self._speaking.add(task)
                        bill.saw_events(piece.encode())
                    else:
                        bill.saw_document(piece)
                    yield piece
            bill.close("ok")
        except ApiError as error:
            if error.status in ENGINE_TROUBLE and not await self._engine_lives() and not begun:
                await asyncio.Event().wait()
            self._desk.failed(bill, error.status)
            for piece in _failure(error, begun):
                yield piece
        except EngineUnreachable as error:
            broken = await self._after_a_break(error, begun)
            self._desk.failed(bill, broken.status)
            for piece in _failure(broken, begun):
                yield piece
        except Exception as error:  # noqa: BLE001 - the outermost edge of a job: the worker lives on
            event("bug", f"{type(error).__name__}: {error}", job=job.get("id"), traceback=traceback.format_exc())
            message = f"{type(error).__name__} in the worker; this is a bug, please report it"
            if bill is not None:
                bill.close("failed")
            for piece in _failure(ApiError(500, message), begun):
                yield piece

    def _register(self) -> asyncio.Task[Any]:
        task = asyncio.current_task()
        if task is None:  # a generator is always run by a task
            raise RuntimeError("a job must run in a task")
        if task not in self._tasks:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return task

    def _charge(self, task: asyncio.Task[Any], request: Call | Batch, tags: Tags) -> Bill:
        if self._reports is None and self._interval_s:
            self._reports = asyncio.get_running_loop().create_task(self._desk.metrics.report_every(self._interval_s))
        bill = self._desk.admit_job(request, tags)
        # Like the response: a cancelled job may leave its generator suspended.
        task.add_done_callback(lambda _: bill.close("cancelled"))
        return bill

    def _open(self) -> Upstream:
        if self._upstream is None:
            self._upstream = Upstream(self._address, self._timeout_s)
        return self._upstream

    def _closer(self, task: asyncio.Task[Any]) -> Any:
        """Close the response with the job's task.

        A job that is cancelled while a piece is being posted leaves its generator suspended; without this the request
        would run on in vLLM until the generator is collected.
        """
        return lambda response: task.add_done_callback(lambda _: response.close())

    async def _after_a_break(self, broken: EngineUnreachable, begun: bool) -> ApiError:
        """Find out whether vLLM is gone.

        If it is, and nothing was sent yet, wait for the end of this process: a worker that vanishes lets the platform
        give the job to another one, an error would be final.
        """
        if not await self._engine_lives() and not begun:
            await asyncio.Event().wait()
        return ApiError(502, f"the connection to vLLM broke: {broken}")

    async def _engine_lives(self) -> bool:
        deadline = asyncio.get_running_loop().time() + SICK_ENGINE_LIMIT_S
        while asyncio.get_running_loop().time() < deadline:
            if self._engine.returncode is not None:
                return False
            status = await health(self._open().session, self._address)
            if status == 200:
                # A server that is about to end may still answer for a moment.
                await asyncio.sleep(0.2)
                return self._engine.returncode is None
            if status == 503:
                break
            await asyncio.sleep(0.2)
        # Its engine is dead, or it no longer answers: it cannot serve, and somebody has to end it.
        self._engine.stop(grace_s=1)
        return False

    async def measure(self) -> Sample | None:
        """What vLLM measures now; None where it does not answer or does not count."""
        try:
            async with (
                asyncio.timeout(MEASURE_S),
                self._open().session.get(f"{self._address.base_url}/metrics") as found,
            ):
                return read_sample(await found.text()) if found.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None

    async def close(self) -> None:
        """Close the connections to vLLM, and tell the last figures."""
        if self._reports is not None:
            self._reports.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reports
            self._desk.metrics.report()
        if self._upstream is not None:
            await self._upstream.close()


def _failure(error: ApiError, begun: bool) -> list[Any]:
    """An error for a caller who may be in the middle of a stream: an event there, then the job's own error."""
    return [*([error.as_event()] if begun else []), {"error": error.as_job_error()}]
