"""A real HTTP server on loopback whose answers a test writes down beforehand, and a clock that only sleeping moves."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from runpod_rest import Client, RetryPolicy

KEY = "rpa_TESTKEY0123456789ABCDEFGHIJ"


@dataclass
class Answer:
    """One answer. A `body` that is a dict or list is sent as JSON; `hang` never answers; `drop` cuts the connection."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = ""
    hang: bool = False
    drop: bool = False


@dataclass
class Seen:
    """One request as the server got it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    authorizations: list[str]
    body: bytes


def problem(status: int, title: str, detail: str = "", errors: list[str] | None = None, **headers: str) -> Answer:
    """A refusal in RunPod's form."""
    body: dict[str, Any] = {"title": title, "status": status, "detail": detail}
    if errors is not None:
        body["errors"] = errors
    return Answer(
        status, body, {key.replace("_", "-"): value for key, value in headers.items()}, "application/problem+json"
    )


class Server:
    """Answers each request with the next of `answers`; the last one stays."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers) or [Answer(200, {})]
        self.seen: list[Seen] = []
        self.url = ""
        self.on_request: Callable[[int], None] = lambda count: None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(
            Seen(
                request.method,
                request.raw_path.partition("?")[0],
                request.raw_path.partition("?")[2],
                {key.lower(): value for key, value in request.headers.items()},
                request.headers.getall("Authorization", []),
                await request.read(),
            )
        )
        self.on_request(len(self.seen))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.hang:
            await asyncio.sleep(60)
        if answer.drop:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if isinstance(answer.body, dict | list):
            content = json.dumps(answer.body).encode()
            kind = answer.content_type or "application/json"
        else:
            content = answer.body if isinstance(answer.body, bytes) else str(answer.body or "").encode()
            kind = answer.content_type or "text/plain"
        return web.Response(status=answer.status, body=content, headers={"Content-Type": kind, **answer.headers})

    def methods(self) -> list[str]:
        """The methods that arrived, in order."""
        return [seen.method for seen in self.seen]


@contextlib.asynccontextmanager
async def serving(*answers: Answer) -> AsyncIterator[Server]:
    """A running server with these answers."""
    server = Server(*answers)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.05, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://{host}:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def client(server: Server, clock: Clock | None = None, **changes: Any) -> Client:
    """A client of that server, with a clock of its own and no chance in its back-off."""
    clock = clock or Clock()
    policy = changes.pop("policy", RetryPolicy())
    settings: dict[str, Any] = {"random": lambda: 0.0, "allowed_hosts": ()}
    return Client(KEY, server.url, policy=policy, clock=clock, sleep=clock.sleep, **(settings | changes))
