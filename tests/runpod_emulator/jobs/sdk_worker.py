"""A worker as users write them: the official SDK and a small handler, chosen by the first argument."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import runpod


async def plain(job: dict[str, Any]) -> Any:
    """One result per job; what it does is in the input."""
    order = job["input"]
    match order.get("do", "echo"):
        case "sleep":
            Path(order["flag"]).write_text("started")
            try:
                await asyncio.sleep(order["seconds"])
            except asyncio.CancelledError:
                Path(order["flag"]).write_text("stopped")
                raise
        case "hold":
            Path(order["flag"]).touch()
            while not Path(order["until"]).exists():
                await asyncio.sleep(0.02)
        case "raise":
            raise ValueError("the handler cannot use this")
        case "error":
            return {"error": {"message": "no such model", "type": "NotFoundError", "code": 404}}
        case "progress":
            runpod.serverless.progress_update(job, {"percent": 50})
            await asyncio.sleep(order["seconds"])
        case "refresh":
            return {"refresh_worker": True, "pid": os.getpid()}
        case "die-once" if not Path(order["flag"]).exists():
            Path(order["flag"]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return {"said": order.get("text"), "pid": os.getpid()}


async def stream(job: dict[str, Any]) -> Any:
    """Counts, or answers like a vLLM worker: SSE text when asked to stream, one object otherwise."""
    order = job["input"]
    request = order.get("openai_input") or {}
    if "count" in order:
        for number in range(order["count"]):
            await asyncio.sleep(0.02)
            yield {"number": number}
    elif order["openai_route"] == "/v1/models":
        yield {"object": "list", "data": [{"id": "tiny", "object": "model", "created": 1, "owned_by": "me"}]}
    elif request.get("model") == "unknown":
        yield {"error": {"message": "The model `unknown` does not exist.", "type": "NotFoundError", "code": 404}}
    elif not request.get("stream"):
        message = {"role": "assistant", "content": request["messages"][0]["content"].upper()}
        yield {
            "id": "c1", "object": "chat.completion", "created": 1, "model": "tiny",
            "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        }  # fmt: skip
    else:
        for word in ("Bon", "jour", " né", "e 日本", " 🎈"):
            await asyncio.sleep(0.05)
            choice = f'{{"index": 0, "delta": {{"content": "{word}"}}, "finish_reason": null}}'
            yield f'data: {{"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "tiny", "choices": [{choice}]}}\n\n'  # noqa: E501
        if request["messages"][0]["content"] == "for ever":
            while True:
                await asyncio.sleep(0.05)
                yield ": still there\n\n"
        yield "data: [DONE]\n\n"


if __name__ == "__main__":
    name = sys.argv[1]
    if name == "crash":
        sys.exit(3)
    if name == "never-ready":
        time.sleep(600)
    runpod.serverless.start(
        {
            "handler": {"plain": plain, "stream": stream}[name],
            "concurrency_modifier": lambda _current: 4,
            "return_aggregate_stream": True,
        }
    )
