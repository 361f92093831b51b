"""The emulator over real HTTP for provider tests, with small asyncio workers instead of images.

The image's name says how a worker behaves: `good`, `crash` (ends at once), `refuse` (answers with an error). A proxy
stands between provider and emulator: it counts calls and loses answers on demand.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from runpod_emulator import Config, Timing, control
from runpod_emulator.context import Context
from runpod_emulator.model import ContainerSpec
from runpod_emulator.scaler import Scaler
from runpod_emulator.server import running
from runpod_emulator.store import Store

KEY = "rpa_PROVIDERTESTKEYproviderTESTKEY012345"
FAST = Timing(
    take_poll_s=2.0,
    stop_poll_s=2.0,
    ping_interval_s=1.0,
    lost_after_s=5.0,
    scaler_tick_s=0.02,
    stop_grace_s=1.0,
    restart_backoff_s=0.05,
    init_timeout_s=20.0,
)


@dataclass
class Line:
    id: str
    ts: str
    source: str
    line: str


@dataclass
class Log:
    lines: list[Line] = field(default_factory=list)

    def append(self, source: str, line: str) -> None:
        ts = "2026-06-01T12:00:00Z"
        self.lines.append(Line(f"{ts}/{len(self.lines):012d}", ts, source, line))

    def read(self, *, tail: int | None, since: str | None, after_id: str | None, source: str | None) -> Sequence[Line]:
        return self.lines[-tail:] if tail else []

    async def follow(self, *, after_id: str | None, source: str | None) -> AsyncIterator[Line]:
        await asyncio.Event().wait()
        yield Line("", "", "", "")


class TaskContainer:
    """A worker that is a task of this process: takes jobs and answers them over the real worker plane."""

    pid = 0

    def __init__(self, spec: ContainerSpec, log: Log) -> None:
        self.worker_id = spec.worker_id
        self._spec, self._log = spec, log
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def wait(self) -> int:
        await asyncio.wait([self._task])
        return 0 if self._task.cancelled() else self._task.result()

    async def stop(self, grace_s: float) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> int:
        env, image = self._spec.env, self._spec.image
        self._log.append("container", f"starting {image}")
        if "crash" in image:
            self._log.append("container", "RuntimeError: no kernel image for this GPU, token hf_abcdefgh12345678")
            return 1
        headers = {"Authorization": env["RUNPOD_AI_API_KEY"]}
        take = env["RUNPOD_WEBHOOK_GET_JOB"].replace("$ID", self.worker_id)
        async with aiohttp.ClientSession(headers=headers) as http:
            while True:
                async with http.get(take) as answer:
                    if answer.status != 200:
                        continue
                    job = await answer.json()
                output: dict[str, Any] = {"output": {"answered": job["input"], "env": dict(env), "image": image}}
                if "refuse" in image:
                    output = {"error": "ValueError: no such route"}
                done = env["RUNPOD_WEBHOOK_POST_OUTPUT"].replace("$RUNPOD_POD_ID", self.worker_id)
                async with http.post(done.replace("$ID", job["id"]), data=json.dumps(output)) as answer:
                    await answer.read()


class TaskHost:
    def __init__(self) -> None:
        self.started: list[ContainerSpec] = []
        self._logs: dict[str, Log] = {}

    async def start(self, spec: ContainerSpec) -> TaskContainer:
        self.started.append(spec)
        return TaskContainer(spec, self.logs(spec.worker_id))

    async def reap(self) -> int:
        return 0

    def logs(self, worker_id: str) -> Log:
        return self._logs.setdefault(worker_id, Log())

    async def image_exists(self, image: str, auth: tuple[str, str] | None) -> bool | str:
        return True


@dataclass
class Cloud:
    """What a test sees: the provider's address (the proxy), the calls made, and the emulator behind them."""

    ctx: Context
    host: TaskHost
    http: aiohttp.ClientSession
    url: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    lose: list[tuple[str, str, bool]] = field(default_factory=list)
    """(method, path prefix, whether the emulator still acts): each entry breaks one matching call."""
    refuse: list[tuple[str, str, int, dict[str, Any]]] = field(default_factory=list)
    """(method, path prefix, status, body): each entry answers one matching call."""
    hold: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    """Takes the place of `forward`, which it may call."""

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """A call of somebody else's: not through the proxy."""
        headers = {"Authorization": f"Bearer {KEY}"}
        async with self.http.request(method, self.ctx.base_url + path, json=body, headers=headers) as answer:
            text = await answer.text()
            assert answer.status < 300, text
            return json.loads(text) if text else None

    def sent(self, method: str, prefix: str) -> list[Any]:
        """Bodies of the provider's calls."""
        return [body for verb, path, body in self.calls if verb == method and path.startswith(prefix)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        return await (self.hold or self.forward)(request)

    async def forward(self, request: web.Request) -> web.StreamResponse:
        data = await request.read()
        self.calls.append((request.method, request.path, json.loads(data) if data else None))
        lost = self._pop(self.lose, request)
        if lost is not None and not lost[2]:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        refused = self._pop(self.refuse, request)
        if refused is not None:
            return web.json_response(refused[3], status=refused[2], content_type="application/problem+json")
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("host", "content-length")}
        target = self.ctx.base_url + request.path_qs
        if request.path.endswith("/logs"):
            async with self.http.get(target, headers=headers) as upstream:
                stream = web.StreamResponse(status=upstream.status, headers={"Content-Type": "text/event-stream"})
                await stream.prepare(request)
                async for chunk in upstream.content.iter_any():
                    await stream.write(chunk)
                return stream
        async with self.http.request(request.method, target, data=data, headers=headers) as upstream:
            body = await upstream.read()
            if lost is not None:
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            kept = {k: v for k, v in upstream.headers.items() if k in ("Content-Type", "Retry-After")}
            return web.Response(status=upstream.status, body=body, headers=kept)

    def _pop(self, rules: list[Any], request: web.Request) -> Any:
        for index, rule in enumerate(rules):
            if rule[0] == request.method and request.path.startswith(rule[1]):
                return rules.pop(index)
        return None


@asynccontextmanager
async def live_cloud(directory: Path) -> AsyncIterator[Cloud]:
    host = TaskHost()

    def assemble(config: Config, store: Store) -> Context:
        ctx = Context(config=config, store=store, endpoints=control.Records(store), host=host, api_key=KEY)
        ctx.fleet = Scaler(ctx)
        return ctx

    config = Config(state_dir=directory / "state", port=0, timing=FAST)
    async with running(config, assemble=assemble) as ctx, aiohttp.ClientSession() as http:
        cloud = Cloud(ctx, host, http)
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", cloud.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        cloud.url = f"http://127.0.0.1:{port}"
        try:
            yield cloud
        finally:
            await runner.cleanup()
