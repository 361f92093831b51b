"""The load-balancer and Pod modes for as long as vLLM lives and nobody asks the worker to end."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from vllm_worker._client import Address, health, open_session
from vllm_worker._engine import Engine
from vllm_worker._front import Front
from vllm_worker._log import event
from vllm_worker._ready import describe
from vllm_worker._stop import StopRequest

WATCH_S = 0.1
HEALTH_S = 5.0
LAST_WORDS_S = 2.0
"""How long streams that had begun may take to say that vLLM is gone."""


async def serve_http(
    front: Front,
    engine: Engine,
    address: Address,
    stop: StopRequest,
    drain_s: float,
    make_ready: Callable[[], Awaitable[None]],
) -> None:
    """Listen, load, answer, drain.

    Raises EngineError when vLLM does not start or dies, Stopped as `make_ready` does.
    """
    async with front.listening():
        await make_ready()
        front.state = "ready"
        died = await _until_over(engine, address, stop)
        if died is None:
            front.state = "ending"
            await _drain(front, engine, drain_s)
            return
        front.state = "dead"
        await asyncio.to_thread(engine.stop, 0)
        failure = engine.failure(f"{died} with {front.active} requests in hand")
        deadline = time.monotonic() + LAST_WORDS_S
        while front.active and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(WATCH_S)
        raise failure


async def _until_over(engine: Engine, address: Address, stop: StopRequest) -> str | None:
    """Wait for the wish to end (None), or for the end of vLLM (how it came)."""
    asked_at = time.monotonic()
    async with open_session(address, HEALTH_S) as session:
        while not stop.requested:
            if engine.returncode is not None:
                return f"vLLM ended with {describe(engine.returncode)}"
            if time.monotonic() - asked_at > HEALTH_S:
                asked_at = time.monotonic()
                if await health(session, address) == 503:
                    return "vLLM says that its engine is dead (/health 503)"
            await asyncio.sleep(WATCH_S)
    return None


async def _drain(front: Front, engine: Engine, drain_s: float) -> None:
    event("draining", f"asked to end with {front.active} requests in hand", requests=front.active)
    deadline = time.monotonic() + drain_s
    while front.active and engine.returncode is None and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(WATCH_S)
    if front.active:
        event(
            "aborting",
            f"{front.active} requests were not done {drain_s:g} s after the signal (WORKER_DRAIN_TIMEOUT); "
            "they are aborted",
            requests=front.active,
        )
