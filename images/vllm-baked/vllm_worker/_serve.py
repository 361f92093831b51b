"""Jobs, through RunPod's own SDK, for as long as vLLM lives and nobody asks the worker to end."""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable

from vllm_worker._engine import Engine
from vllm_worker._errors import EngineError
from vllm_worker._handler import Handler
from vllm_worker._log import event
from vllm_worker._pressure import MEASURE_S, Limit, Slots
from vllm_worker._ready import describe
from vllm_worker._stop import StopRequest

WATCH_S = 0.1
HELD_POLL_GRACE_S = 2.0
"""How long an idle worker waits for the platform to release the poll for jobs that it holds."""
LAST_WORDS_S = 2.0
"""How long streams that had begun may take to say that vLLM is gone."""
EXIT_LIMIT_S = 10.0


class Supervisor:
    """Watches vLLM and the wish to end from inside the SDK's event loop.

    The SDK offers no hook there; it asks for the concurrency at the start of each round, and the first time it does,
    the watch begins.
    """

    def __init__(self, engine: Engine, handler: Handler, stop: StopRequest, concurrency: int, drain_s: float) -> None:
        self._engine, self._handler, self._stop = engine, handler, stop
        self._limit, self._drain_s = Limit.at(concurrency), drain_s
        self._watch: asyncio.Task[None] | None = None
        self.died: EngineError | None = None

    def concurrency(self, _current: int) -> int:
        """The SDK's `concurrency_modifier`."""
        if self._watch is None:
            self._stop.chain()
            self._watch = asyncio.get_running_loop().create_task(self._run())
        return Slots(self._limit.now, self._limit.ceiling)

    async def _run(self) -> None:
        measuring = asyncio.get_running_loop().create_task(self._measure())
        try:
            await self._watch_over()
        finally:
            measuring.cancel()
            await self._handler.close()

    async def _measure(self) -> None:
        """Take fewer jobs while vLLM has too many."""
        while True:
            await asyncio.sleep(MEASURE_S)
            if not self._handler.active and not self._limit.lowered:
                continue
            sample = await self._handler.measure()
            if sample is None:
                continue
            before, self._limit = self._limit, self._limit.after(sample, self._handler.active)
            if self._limit.lowered != before.lowered:
                facts = {"limit": self._limit.now, "kv_cache_usage": round(sample.usage, 3), "waiting": sample.waiting}
                told = (
                    f"vLLM has too much to do: {self._limit.now} jobs at once instead of {self._limit.ceiling}, for now"
                    if self._limit.lowered
                    else f"vLLM has room again: {self._limit.now} jobs at once"
                )
                event("pressure", told, **facts, preemptions=sample.preemptions)

    async def _watch_over(self) -> None:
        # A process has no event to wait for, and a signal handler must not touch one.
        while self._engine.returncode is None and not self._stop.requested:  # noqa: ASYNC110
            await asyncio.sleep(WATCH_S)
        if self._stop.requested:
            await self._drain()
        else:
            await self._bury()
        # Whatever still waits (a held poll, a job beyond its limit) ends here, and with it the SDK's loop.
        _exit_soon(self._engine, EXIT_LIMIT_S, self.died)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _drain(self) -> None:
        event("draining", f"asked to end with {self._handler.active} jobs in hand", jobs=self._handler.active)
        deadline = time.monotonic() + self._drain_s
        idle_since = time.monotonic()
        while time.monotonic() < deadline and time.monotonic() - idle_since < HELD_POLL_GRACE_S:
            if self._handler.active:
                idle_since = time.monotonic()
            if self._engine.returncode is not None:
                break
            await asyncio.sleep(WATCH_S)
        if self._handler.active:
            event(
                "aborting",
                f"{self._handler.active} jobs were not done {self._drain_s:g} s after the signal "
                "(WORKER_DRAIN_TIMEOUT); they are aborted",
                jobs=self._handler.active,
            )

    async def _bury(self) -> None:
        returncode = self._engine.returncode
        # What its other processes hold open would keep its last words back.
        await asyncio.to_thread(self._engine.stop, 0)
        self.died = self._engine.failure(
            f"vLLM ended with {describe(returncode if returncode is not None else 0)} and {self._handler.active} jobs "
            "in hand"
        )
        deadline = time.monotonic() + LAST_WORDS_S
        while self._handler.speaking and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(WATCH_S)


def _exit_soon(engine: Engine, limit_s: float, died: EngineError | None) -> None:
    """Leave even if something in the SDK's loop refuses to be cancelled."""

    def leave() -> None:
        engine.stop(grace_s=0)
        code = 0 if died is None else 1
        facts = {} if died is None else died.facts
        event("end", str(died or f"ended by force {limit_s:g} s after the last job"), code=code, **facts)
        os._exit(code)

    timer = threading.Timer(limit_s, leave)
    timer.daemon = True
    timer.start()


def serve(start: Callable[[dict[str, object]], None], supervisor: Supervisor, handler: Handler) -> None:
    """Run RunPod's loop until vLLM dies or the worker is asked to end.

    `start` is `runpod.serverless.start`. Raises EngineError when vLLM died.
    """
    config: dict[str, object] = {
        "handler": handler.jobs,
        "concurrency_modifier": supervisor.concurrency,
        "return_aggregate_stream": True,
    }
    with contextlib.suppress(asyncio.CancelledError):
        start(config)
    if supervisor.died is not None:
        raise supervisor.died
