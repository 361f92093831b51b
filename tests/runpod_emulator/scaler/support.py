"""A scaler without processes and without time: a host whose containers are futures, and a clock moved by steps."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runpod_emulator import Config, Timing
from runpod_emulator.clock import Clock
from runpod_emulator.context import Context
from runpod_emulator.jobs import Job, Submission
from runpod_emulator.model import ContainerSpec, Endpoint
from runpod_emulator.scaler import Scaler
from runpod_emulator.store import Store
from runpod_emulator.workers import WorkerSession
from tests.runpod_emulator.jobs.support import Catalogue, Logs


@dataclass
class FakeContainer:
    worker_id: str
    pid: int
    ended: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    deaf: bool = False
    """Does not end on SIGTERM."""

    async def wait(self) -> int:
        return await asyncio.shield(self.ended)

    async def stop(self, grace_s: float) -> None:
        if not self.deaf:
            self.exit(-15)
        await asyncio.shield(self.ended)

    def exit(self, code: int) -> None:
        if not self.ended.done():
            self.ended.set_result(code)


class FakeHost(Logs):
    def __init__(self) -> None:
        super().__init__()
        self.specs: list[ContainerSpec] = []
        self.containers: dict[str, FakeContainer] = {}
        self.broken = False
        self.slow: asyncio.Event | None = None

    async def start(self, spec: ContainerSpec) -> FakeContainer:
        self.specs.append(spec)
        if self.slow is not None:
            await self.slow.wait()
        if self.broken:
            raise OSError("layer sha256:00 does not match its digest")
        container = self.containers[spec.worker_id] = FakeContainer(spec.worker_id, 100 + len(self.specs))
        return container

    async def reap(self) -> int:
        return 0

    def alive(self) -> list[str]:
        return [name for name, container in self.containers.items() if not container.ended.done()]


class World:
    """One scaler; `tick` moves the clock and looks."""

    def __init__(self, store: Store, directory: Path, *endpoints: Endpoint, **config: Any) -> None:
        self.now = 1_000_000.0
        self.catalogue = Catalogue(*endpoints)
        self.host = FakeHost()
        self.ctx = Context(
            config=Config(state_dir=directory, timing=Timing(), **config),
            store=store,
            endpoints=self.catalogue,
            host=self.host,
            clock=Clock(lambda: self.now),
            base_url="http://127.0.0.1:1",
        )
        self.ctx.fleet = self.scaler = Scaler(self.ctx)
        self.id = endpoints[0].id

    async def tick(self, seconds: float = 0.0, step_s: float = 5.0) -> None:
        """Let `seconds` pass, with a look at least every `step_s`; healthy ready workers ping meanwhile."""
        while True:
            part = min(seconds, step_s)
            self.now += part
            seconds -= part
            for session in self.sessions():
                if session.ready and session.worker_id not in self.silent:
                    self.scaler.roster.pinged(session, set(session.jobs))
            self.scaler.step()
            await settle()
            self.scaler.step()
            await settle()
            if seconds <= 0:
                return

    silent: set[str] = set()

    def submit(self, **changes: Any) -> Job:
        values = {"kind": "run", "input": {}, "ttl_s": 1e6, "retention_s": 1e6, **changes}
        return self.scaler.book.submit(self.id, Submission(**values))

    def sessions(self) -> list[WorkerSession]:
        found = [self.scaler.roster.session(worker.id) for worker in self.scaler.workers(self.id)]
        return [session for session in found if session is not None]

    def poll(self, session: WorkerSession, limit: int = 1) -> list[Job]:
        """What job-take does, without waiting."""
        self.scaler.roster.polled(session)
        if session.draining:
            return []
        jobs = self.scaler.book.take(self.id, session.worker_id, limit, 600.0)
        if jobs:
            self.scaler.roster.gave(session, jobs)
        return jobs

    def finish(self, job: Job) -> None:
        assert job.worker_id is not None
        assert self.scaler.book.finish(job.worker_id, job.id, output="1", error=None)

    def statuses(self) -> list[str]:
        return sorted(worker.status for worker in self.scaler.workers(self.id))


async def settle() -> None:
    for _ in range(12):
        await asyncio.sleep(0)


@contextmanager
def world(*endpoints: Endpoint, **config: Any) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as directory:
        store = Store.connect(Path(directory) / "db.sqlite3")
        try:
            yield World(store, Path(directory), *endpoints, **config)
        finally:
            store.close()
