"""From a started vLLM to one that has answered: health, then a small request."""

import asyncio
import json
import time
from collections.abc import Callable

import aiohttp

from vllm_worker._client import Address, health
from vllm_worker._engine import Engine
from vllm_worker._errors import ApiError, EngineError
from vllm_worker._log import event

POLL_S = 0.1
PROGRESS_S = 15.0
WARM_UP_S = 300.0


class Stopped(Exception):
    """Somebody asked the worker to end while it was starting."""


async def wait_healthy(
    session: aiohttp.ClientSession, engine: Engine, address: Address, timeout_s: float, stop: Callable[[], bool]
) -> float:
    """Wait until vLLM's /health answers 200; returns the moment (monotonic).

    Raises EngineError when vLLM ends or takes too long, Stopped when `stop` says so.
    """
    next_report = engine.started_at + PROGRESS_S
    while True:
        if stop():
            raise Stopped
        if engine.returncode is not None:
            raise engine.failure(f"vLLM ended with {describe(engine.returncode)} while starting")
        if await health(session, address) == 200:
            return time.monotonic()
        now = time.monotonic()
        if now - engine.started_at > timeout_s:
            raise EngineError(
                f"vLLM was not ready after {timeout_s:g} s (it was in its phase `{engine.phase}`); "
                "raise VLLM_STARTUP_TIMEOUT, and RUNPOD_INIT_TIMEOUT with it, if the model needs longer"
            )
        if now >= next_report:
            seconds = round(now - engine.started_at)
            event("starting", f"vLLM has been starting for {seconds} s: {engine.phase}", phase=engine.phase)
            next_report += PROGRESS_S
        await asyncio.sleep(POLL_S)


def describe(returncode: int) -> str:
    """An exit code or a signal, in words."""
    return f"exit code {returncode}" if returncode >= 0 else f"signal {-returncode}"


async def warm_up(session: aiohttp.ClientSession, engine: Engine, address: Address, model: str) -> str:
    """Send one small request, so that no job pays for the first one; returns what was asked.

    Raises EngineError when the model cannot answer it.
    """
    chat = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1, "temperature": 0}
    attempts = (
        ("/v1/chat/completions", chat),
        ("/v1/completions", {"prompt": "Hello", "max_tokens": 1, "temperature": 0}),
        ("/v1/embeddings", {"input": "Hello"}),
        ("/pooling", {"input": "Hello"}),
    )
    failure = ApiError(404, "no route for a warm-up request")
    for route, body in attempts:
        status, answer = await _post(
            session, engine, f"{address.base_url}{route}", {**({"model": model} if model else {}), **body}
        )
        if status == 200:
            return route
        failure = ApiError.from_body(status, answer)
        # A model without a chat template says 400, one for embeddings 404 or 405: the next route may fit.
        if status not in (400, 404, 405, 501):
            break
    raise EngineError(
        f"vLLM is healthy but does not answer a small request (HTTP {failure.status}: {failure.message}); "
        "WORKER_WARMUP=false starts without one"
    )


async def _post(session: aiohttp.ClientSession, engine: Engine, url: str, body: dict[str, object]) -> tuple[int, bytes]:
    try:
        async with (
            asyncio.timeout(WARM_UP_S),
            session.post(url, data=json.dumps(body), headers={"Content-Type": "application/json"}) as response,
        ):
            return response.status, await response.read()
    except TimeoutError:
        raise EngineError(f"the warm-up request took longer than {WARM_UP_S:g} s") from None
    except aiohttp.ClientError as error:
        raise engine.failure(f"vLLM broke off the warm-up request ({error})") from error
