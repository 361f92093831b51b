"""A live control plane over real HTTP, with fakes behind the two seams of `runpod_emulator.ports`."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from runpod_emulator import Config, control, running
from runpod_emulator.context import Context
from runpod_emulator.model import ContainerSpec, WorkerView
from runpod_emulator.ports import Container
from runpod_emulator.store import Store

KEY = "rpa_TESTKEYtestkeyTESTKEYtestkey0123456789"
IMAGE = "registry.example/llm:1"


@dataclass
class Line:
    id: str
    ts: str
    source: str
    line: str


class FakeLog:
    """Implements ports.WorkerLog in memory."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._more = asyncio.Condition()

    def append(self, source: str, line: str) -> None:
        ts = f"2026-06-01T12:00:{len(self.lines) % 60:02d}Z"
        self.lines.append(Line(f"{ts}/{len(self.lines) + 1:012d}", ts, source, line))

    async def wake(self) -> None:
        async with self._more:
            self._more.notify_all()

    def read(self, *, tail: int | None, since: str | None, after_id: str | None, source: str | None) -> Sequence[Line]:
        found = [line for line in self.lines if source is None or line.source == source]
        if after_id is not None:
            return [line for line in found if line.id > after_id]
        if since is not None:
            return [line for line in found if line.ts >= since]
        return found[-tail:] if tail else []

    async def follow(self, *, after_id: str | None, source: str | None) -> AsyncIterator[Line]:
        last = after_id or ""
        while True:
            for line in [line for line in self.lines if line.id > last]:
                last = line.id
                if source is None or line.source == source:
                    yield line
            async with self._more:
                await self._more.wait()


class FakeHost:
    def __init__(self) -> None:
        self.known_logs: dict[str, FakeLog] = {}
        self.missing_images: dict[str, str | bool] = {}
        self.asked: list[tuple[str, tuple[str, str] | None]] = []
        self.reaped = 0

    async def start(self, spec: ContainerSpec) -> Container:
        raise AssertionError("the control plane starts nothing")

    async def reap(self) -> int:
        self.reaped += 1
        return 0

    def logs(self, worker_id: str) -> FakeLog:
        return self.known_logs.setdefault(worker_id, FakeLog())

    async def image_exists(self, image: str, auth: tuple[str, str] | None) -> bool | str:
        self.asked.append((image, auth))
        return self.missing_images.get(image, True)


@dataclass
class FakeFleet:
    """Implements ports.Fleet: remembers what it was told, shows the workers a test gave it."""

    shown: dict[str, list[WorkerView]] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    def workers(self, endpoint_id: str) -> list[WorkerView]:
        return self.shown.get(endpoint_id, [])

    def endpoint_changed(self, endpoint_id: str) -> None:
        self.changed.append(endpoint_id)

    async def endpoint_deleted(self, endpoint_id: str) -> None:
        self.deleted.append(endpoint_id)
        self.shown.pop(endpoint_id, None)


def assemble(config: Config, store: Store) -> Context:
    return Context(
        config=config,
        store=store,
        endpoints=control.Records(store),
        host=FakeHost(),
        fleet=FakeFleet(),
        api_key=config.api_key or KEY,
    )


@dataclass
class Answer:
    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Cloud:
    """One emulator and a client that knows its key."""

    def __init__(self, ctx: Context, session: aiohttp.ClientSession) -> None:
        self.ctx, self.session = ctx, session
        fleet, host = ctx.fleet, ctx.host
        assert isinstance(fleet, FakeFleet)
        assert isinstance(host, FakeHost)
        self.fleet: FakeFleet = fleet
        self.host: FakeHost = host

    async def call(self, method: str, path: str, body: Any = None, *, key: str | None = KEY, **options: Any) -> Answer:
        headers = dict(options.pop("headers", {}))
        if key is not None:
            headers.setdefault("Authorization", f"Bearer {key}")
        if body is not None:
            options["data"] = body if isinstance(body, str | bytes) else json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        async with self.session.request(method, self.ctx.base_url + path, headers=headers, **options) as response:
            return Answer(response.status, response.headers, await response.text())

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.call("POST", path, body, **options)

    async def patch(self, path: str, body: Any, **options: Any) -> Answer:
        return await self.call("PATCH", path, body, **options)

    async def delete(self, path: str, **options: Any) -> Answer:
        return await self.call("DELETE", path, **options)

    async def endpoint(self, **fields: Any) -> Any:
        """Create an endpoint and return what came back."""
        return await self._made("/v2/serverless", endpoint_body(**fields))

    async def template(self, **fields: Any) -> Any:
        return await self._made("/v2/templates", {"name": "t", "image": IMAGE, **fields})

    async def volume(self, **fields: Any) -> Any:
        return await self._made("/v2/network-volumes", {"name": "v", "size": 50, "dataCenter": "US-KS-2", **fields})

    async def registry(self, **fields: Any) -> Any:
        body = {"name": "r", "username": "user", "password": "very-secret-password", **fields}
        return await self._made("/v2/registries", body)

    async def _made(self, path: str, body: Any) -> Any:
        answer = await self.post(path, body)
        assert answer.status == 201, answer.text
        return answer.json


def endpoint_body(**fields: Any) -> dict[str, Any]:
    """The smallest GPU endpoint, with `fields` over it; a field of None is left out."""
    body: dict[str, Any] = {
        "name": "llm",
        "type": "QUEUE",
        "image": IMAGE,
        "gpu": {"pools": ["ADA_24"]},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
    }
    body.update(fields)
    return {key: value for key, value in body.items() if value is not None}


def worker(worker_id: str, status: Any = "IDLE", *, version: int = 1, started_at: float | None = None) -> WorkerView:
    return WorkerView(
        id=worker_id,
        status=status,
        version=version,
        image=IMAGE,
        gpu_type_id="NVIDIA GeForce RTX 4090",
        gpu_count=1,
        data_center_id="US-KS-2",
        started_at=started_at,
    )


@asynccontextmanager
async def cloud(state_dir: Path, **config: Any) -> AsyncIterator[Cloud]:
    """A control plane on a free port, alone: no job plane, no worker plane."""
    settings = Config(state_dir=state_dir, port=0, api_key=KEY, **config)
    async with (
        running(settings, assemble=assemble, planes=[control.add_routes]) as ctx,
        aiohttp.ClientSession() as session,
    ):
        yield Cloud(ctx, session)
