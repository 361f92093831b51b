"""A live emulator for tests of jobs, workers and scaler: the real app on a real port, workers from a small script.

`ProcessHost` stands in for the host that unpacks images: an endpoint's image is the name of one of the handlers in
`sdk_worker.py`, which is started as a real child process with the official SDK in it.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp

from runpod_emulator import Config, Timing
from runpod_emulator.context import Context
from runpod_emulator.model import ContainerSpec, Endpoint
from runpod_emulator.ports import LogLine
from runpod_emulator.scaler import Scaler
from runpod_emulator.server import running
from runpod_emulator.store import Store

SCRIPT = Path(__file__).with_name("sdk_worker.py")
FAST = Timing(
    stream_wait_s=2.0, take_poll_s=3.0, stop_poll_s=3.0, ping_interval_s=1.0, lost_after_s=6.0, scaler_tick_s=0.05,
    stop_grace_s=5.0, restart_backoff_s=0.2, webhook_retry_s=0.05, init_timeout_s=60.0,
)  # fmt: skip


def endpoint(image: str = "plain", **changes: Any) -> Endpoint:
    """An endpoint with one worker at most, that starts at once."""
    plain = Endpoint(
        id="abc123def456gh", name="test", type="QUEUE", image=image, args="", entrypoint=(), cmd=(), disk=20, env={},
        ports=(), registry=None, gpu={"pools": ["ADA_24"], "count": 1}, cpu=None, workers_min=0, workers_max=1,
        idle_timeout_s=60, scaling={"type": "QUEUE_DELAY", "queueDelay": 0.0}, data_center_ids=(), network_volumes=(),
        timeout_ms=0, flashboot="OFF", created_at=1.0, version=1,
    )  # fmt: skip
    return replace(plain, **changes)


class Catalogue:
    """The control plane's side of the seam, as a dictionary."""

    def __init__(self, *endpoints: Endpoint) -> None:
        self.by_id = {item.id: item for item in endpoints}
        self.volumes: dict[str, str] = {}

    def endpoint(self, endpoint_id: str) -> Endpoint | None:
        return self.by_id.get(endpoint_id)

    def endpoints(self) -> list[Endpoint]:
        return list(self.by_id.values())

    def registry_auth(self, registry_id: str) -> tuple[str, str] | None:
        return ("user", f"password-of-{registry_id}")

    def volume_data_center(self, volume_id: str) -> str | None:
        return self.volumes.get(volume_id)

    def change(self, endpoint_id: str, **changes: Any) -> Endpoint:
        self.by_id[endpoint_id] = replace(self.by_id[endpoint_id], **changes)
        return self.by_id[endpoint_id]


@dataclass
class Log:
    lines: list[tuple[str, str]] = field(default_factory=list)

    def append(self, source: str, line: str) -> None:
        self.lines.append((source, line))

    def read(
        self, *, tail: int | None, since: str | None, after_id: str | None, source: str | None
    ) -> Sequence[LogLine]:
        return ()

    async def follow(self, *, after_id: str | None, source: str | None) -> AsyncIterator[LogLine]:
        return
        yield


class Logs:
    def __init__(self) -> None:
        self.by_worker: dict[str, Log] = {}

    def logs(self, worker_id: str) -> Log:
        return self.by_worker.setdefault(worker_id, Log())


@dataclass
class ProcessContainer:
    worker_id: str
    process: asyncio.subprocess.Process
    pid: int

    async def wait(self) -> int:
        return await self.process.wait()

    async def stop(self, grace_s: float) -> None:
        self._signal(signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), grace_s)
        self._signal(signal.SIGKILL)
        await self.process.wait()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class ProcessHost(Logs):
    """Starts `<script> <image>` in a process group of its own, output into `<directory>/<worker>.log`."""

    def __init__(self, directory: Path, script: Path = SCRIPT) -> None:
        super().__init__()
        self.directory = directory
        self.script = script
        self.specs: list[ContainerSpec] = []
        self.containers: list[ProcessContainer] = []

    def command(self, spec: ContainerSpec) -> list[str]:
        return [sys.executable, str(self.script), spec.image]

    async def start(self, spec: ContainerSpec) -> ProcessContainer:
        if spec.image == "missing":
            raise OSError("image missing: no such layout")
        self.specs.append(spec)
        home = self.directory / "home"
        home.mkdir(parents=True, exist_ok=True)
        # A clean HOME: a key in ~/.runpod/config.toml would win over the worker's own.
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONUNBUFFERED": "1", **spec.env}
        with (self.directory / f"{spec.worker_id}.log").open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *self.command(spec),
                env=env, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        container = ProcessContainer(spec.worker_id, process, process.pid)
        self.containers.append(container)
        return container

    async def reap(self) -> int:
        return 0

    def output(self) -> str:
        return "\n".join(path.read_text() for path in self.directory.glob("*.log"))


@dataclass
class Live:
    """A running emulator and a client session that carries its key."""

    ctx: Context
    catalogue: Catalogue
    host: ProcessHost
    scaler: Scaler
    http: aiohttp.ClientSession

    def url(self, path: str, endpoint_id: str = "abc123def456gh") -> str:
        return f"{self.ctx.base_url}/v2/{endpoint_id}/{path}"

    async def call(self, method: str, path: str, status: int = 200, **arguments: Any) -> Any:
        async with self.http.request(method, self.url(path), **arguments) as answer:
            body = await answer.text()
            assert answer.status == status, f"{answer.status}: {body}"
            return await answer.json()

    async def until(self, job_id: str, *wanted: str, within_s: float = 20.0) -> Any:
        """The job's status body as soon as it is one of `wanted`."""
        async with asyncio.timeout(within_s):
            while True:
                body = await self.call("GET", f"status/{job_id}")
                if body["status"] in wanted:
                    return body
                await asyncio.sleep(0.05)


@asynccontextmanager
async def live(
    directory: Path, *endpoints: Endpoint, timing: Timing = FAST, host: Any = None, **config: Any
) -> AsyncIterator[Live]:
    catalogue = Catalogue(*(endpoints or (endpoint(),)))
    made: list[Scaler] = []
    a_host = host or ProcessHost(directory)

    def assemble(cfg: Config, store: Store) -> Context:
        ctx = Context(config=cfg, store=store, endpoints=catalogue, host=a_host, api_key="test-key")
        ctx.fleet = scaler = Scaler(ctx)
        made.append(scaler)
        return ctx

    settings = Config(state_dir=directory / "state", port=0, timing=timing, **config)
    async with (
        running(settings, assemble=assemble) as ctx,
        aiohttp.ClientSession(headers={"Authorization": "Bearer test-key"}) as http,
    ):
        yield Live(ctx, catalogue, a_host, made[0], http)
