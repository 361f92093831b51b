"""One job: input in, pieces of the answer out, and never a crash."""

import asyncio
import traceback
import weakref
from collections.abc import AsyncIterator, Mapping
from typing import Any

from vllm_worker._client import Address, health
from vllm_worker._engine import Engine
from vllm_worker._errors import ApiError
from vllm_worker._inputs import Batch, parse_input
from vllm_worker._log import event
from vllm_worker._proxy import EngineUnreachable, Upstream

ENGINE_TROUBLE = (500, 503)
"""What vLLM answers when its engine is gone, and sometimes when it is not."""

SICK_ENGINE_LIMIT_S = 10.0
"""How long a vLLM that broke a connection may take to answer /health again."""


class Handler:
    """Answers jobs for RunPod's SDK. `jobs` is the async generator function to hand over."""

    def __init__(self, engine: Engine, address: Address, request_timeout_s: float) -> None:
        self._engine = engine
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
        try:
            request = parse_input(job.get("input"))
            upstream = self._open()
            if isinstance(request, Batch):
                yield await upstream.answer_batch(request, self._closer(task))
                return
            async for piece in upstream.answer(request, self._closer(task)):
                if isinstance(piece, str):
                    begun = True
                    self._speaking.add(task)
                yield piece
        except ApiError as error:
            if error.status in ENGINE_TROUBLE and not await self._engine_lives() and not begun:
                await asyncio.Event().wait()
            for piece in _failure(error, begun):
                yield piece
        except EngineUnreachable as error:
            for piece in _failure(await self._after_a_break(error, begun), begun):
                yield piece
        except Exception as error:  # noqa: BLE001 - the outermost edge of a job: the worker lives on
            event("bug", f"{type(error).__name__}: {error}", job=job.get("id"), traceback=traceback.format_exc())
            message = f"{type(error).__name__} in the worker; this is a bug, please report it"
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

    async def close(self) -> None:
        """Close the connections to vLLM."""
        if self._upstream is not None:
            await self._upstream.close()


def _failure(error: ApiError, begun: bool) -> list[Any]:
    """An error for a caller who may be in the middle of a stream: an event there, then the job's own error."""
    return [*([error.as_event()] if begun else []), {"error": error.as_job_error()}]
