"""A stand-in for vLLM's server: a real process with real HTTP that speaks the same routes, awkwardly where asked.

Installed as `vllm/entrypoints/openai/api_server.py` of an environment made for a test. What it does is decided by the
text of a prompt, and by $HOME/fake.json at its start; what was asked of it is written to $HOME/requests.jsonl.
"""

# ruff: noqa: T201 - its log is what it prints

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from aiohttp import web

HOME = Path(os.environ["HOME"])
SICK = asyncio.Event()
TEXT = "Grüße, 世界 🌍 — naïve façade"


def settings() -> dict[str, Any]:
    path = HOME / "fake.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def record(**facts: Any) -> None:
    with (HOME / "requests.jsonl").open("a") as file:
        file.write(json.dumps(facts) + "\n")


def prompt_of(body: dict[str, Any]) -> Any:
    if "messages" in body:
        return body["messages"][-1]["content"]
    return body.get("prompt", "")


def event(text: str) -> bytes:
    document = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


def error(status: int, message: str, kind: str = "BadRequestError") -> web.Response:
    return web.json_response(
        {"error": {"message": message, "type": kind, "param": None, "code": status}}, status=status
    )


def used(prompts: int = 1) -> dict[str, int]:
    return {"prompt_tokens": 5 * prompts, "completion_tokens": 7 * prompts, "total_tokens": 12 * prompts}


async def stream(request: web.Request, prompt: str, with_usage: bool) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    try:
        if prompt.startswith("many"):
            for number in range(int(prompt.split()[1])):
                await response.write(event(f"{number} "))
                while number == 0 and not (HOME / "go").exists():
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.003)
            await response.write(b"data: [DONE]\n\n")
            return response
        if prompt.startswith("slow"):
            while True:
                await response.write(event("tick "))
                await asyncio.sleep(0.02)
        last = b"data: " + json.dumps({"choices": [], "usage": used()}).encode() + b"\n\n" if with_usage else b""
        whole = b"".join(event(word + " ") for word in TEXT.split()) + last + b"data: [DONE]\n\n"
        if prompt.startswith(("break", "die in the middle")):
            await response.write(whole[: len(event("Grüße, ")) + 95])
            await asyncio.sleep(0.1)
            if prompt.startswith("die"):
                die()
            if request.transport is not None:
                request.transport.abort()
            return response
        step = int(prompt.split()[1]) if prompt.startswith("cuts") else 7
        for start in range(0, len(whole), step):
            await response.write(whole[start : start + step])
            await asyncio.sleep(0)
    except (ConnectionResetError, asyncio.CancelledError):
        record(aborted=prompt, at=time.time())
        raise
    return response


def die() -> NoReturn:
    print("(EngineCore pid=7) ERROR 11-21 09:00:00 [core.py:9] RuntimeError: engine core died of a test", flush=True)
    print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", flush=True)
    os._exit(3)


async def generate(request: web.Request) -> web.StreamResponse:
    raw = await request.text()
    body = json.loads(raw)
    prompt = prompt_of(body)
    record(path=request.path, body=body, raw=raw)
    first = prompt if isinstance(prompt, str) else ""
    if first.startswith("error"):
        _, status, *words = first.split(" ")
        return error(int(status), " ".join(words) or "no")
    if first == "die":
        die()
    if first == "sick":
        SICK.set()
        return error(500, "EngineCore encountered an issue. See stack trace for the root cause.", "InternalServerError")
    if first == "garbage":
        return web.Response(status=502, text="<html>bad gateway</html>")
    if first == "hang":
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            record(aborted=first, at=time.time())
            raise
    if first.startswith("wait"):
        await asyncio.sleep(float(first.split()[1]))
    if body.get("stream"):
        return await stream(request, first, (body.get("stream_options") or {}).get("include_usage") is True)
    if request.path == "/v1/chat/completions":
        message = {"role": "assistant", "content": f"You said: {first}"}
        choices = [{"index": 0, "message": message}]
        return web.json_response({"object": "chat.completion", "choices": choices, "usage": used()})
    prompts = prompt if isinstance(prompt, list) else [prompt]
    texts = [{"index": index, "text": f"<{text}>"} for index, text in enumerate(prompts)]
    return web.json_response(
        {"object": "text_completion", "choices": list(reversed(texts)), "usage": used(len(prompts))}
    )


async def models(request: web.Request) -> web.Response:
    record(path=request.path)
    return web.json_response({"object": "list", "data": [{"id": "fake", "object": "model"}]})


async def metrics(request: web.Request) -> web.Response:
    record(path=request.path, accept=request.headers.get("Accept"))
    told = HOME / "metrics.txt"
    text = "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 0.0"
    return web.Response(text=told.read_text() if told.exists() else text)


async def health(request: web.Request) -> web.Response:
    return web.Response(status=503 if SICK.is_set() else 200)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("model", "uds", "host", "port", "served-model-name", "max-model-len", "dtype", "max-num-seqs"):
        parser.add_argument(f"--{name}", nargs="+" if name == "served-model-name" else None)
    arguments, rest = parser.parse_known_args()
    asked = settings()
    record(started=sys.argv[1:], environment=dict(os.environ), rest=rest)
    print("INFO [api_utils.py:1] non-default args: {}", flush=True)
    for place, text in asked.get("writes", {}).items():
        path = Path(os.path.expandvars(place))
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():  # what a cache holds is not made again
            path.write_text(text)
    if "fail" in asked:
        print("INFO about to fail", flush=True)
        print(f"(APIServer pid=1) {asked['fail']}", flush=True)
        sys.exit(1)
    time.sleep(asked.get("delay", 0))
    print("(EngineCore pid=2) INFO 11-21 09:00:00 [core.py:1] Initializing a V1 LLM engine (v0)", flush=True)
    print("Starting to load model", flush=True)
    print("Loading weights took 0.1 seconds", flush=True)
    print("init engine (profile, create kv cache, warmup model) took 0.1 s", flush=True)
    # Like vLLM's engine processes: in the same group, ended by a server that ends, not by one that dies.
    engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    (HOME / "engine.pid").write_text(str(engine.pid))
    app = web.Application()
    app.router.add_post("/v1/chat/completions", generate)
    app.router.add_post("/v1/completions", generate)
    app.router.add_get("/v1/models", models)
    app.router.add_get("/health", health)
    app.router.add_get("/metrics", metrics)
    where = {"path": arguments.uds} if arguments.uds else {"host": "127.0.0.1", "port": int(arguments.port or 0)}
    web.run_app(app, **where, print=None, shutdown_timeout=0.2, handler_cancellation=True)
    engine.kill()


if __name__ == "__main__":
    main()
