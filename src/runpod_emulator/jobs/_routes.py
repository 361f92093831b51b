"""The job plane's own routes: run, runsync, status, stream, cancel, retry, purge-queue, health (runpod-api.md §2.8)."""

from typing import Any

from aiohttp import web

from runpod_emulator.context import Context
from runpod_emulator.jobs._access import JobPlane, still_connected
from runpod_emulator.jobs._book import JobBook
from runpod_emulator.jobs._model import Job, JobStatus
from runpod_emulator.jobs._openai import OpenAiRoute, render
from runpod_emulator.jobs._request import (
    RUN_LIMIT,
    SYNC_LIMIT,
    WAIT_MS,
    JobRequestError,
    parse_submission,
    parse_wait,
    read_limited,
)
from runpod_emulator.model import Endpoint, Json
from runpod_emulator.waiting import wait_any

CHUNK_LIMIT = 1024 * 1024
"""A streamed text piece that is larger is handed out in several (runpod-api.md §2.7)."""
LOOK_S = 1.0
"""How often a waiting handler looks whether its client is still there."""
STREAM_WAIT_MS = (0, 300_000)
WORKER_KEYS = {"IDLE": "idle", "INITIALIZING": "initializing", "RUNNING": "running", "THROTTLED": "throttled",
               "UNHEALTHY": "unhealthy"}  # fmt: skip


def add_routes(app: web.Application, ctx: Context) -> None:
    """Register the job plane below `/v2/{endpoint_id}/`."""
    plane, routes = JobPlane(ctx), _Routes(ctx)
    base = "/v2/{endpoint_id}"
    add = app.router.add_route
    add("POST", f"{base}/run", plane.handler("run", routes.run))
    add("POST", f"{base}/runsync", plane.handler("runsync", routes.runsync))
    # The SDK's own local server answers POST as well (§3.4); production documents GET.
    for method in ("GET", "POST"):
        add(method, f"{base}/status/{{job_id}}", plane.handler("status", routes.status))
    add("GET", f"{base}/stream/{{job_id}}", plane.handler("stream", routes.stream))
    add("POST", f"{base}/cancel/{{job_id}}", plane.handler("cancel", routes.cancel))
    add("POST", f"{base}/retry/{{job_id}}", plane.handler("retry", routes.retry))
    add("POST", f"{base}/purge-queue", plane.handler("purge-queue", routes.purge_queue))
    add("GET", f"{base}/health", plane.handler("health", routes.health))
    add("*", f"{base}/openai/{{route:.*}}", plane.handler("openai", OpenAiRoute(ctx).handle, render))


class _Routes:
    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._timing = ctx.config.timing

    async def run(self, request: web.Request, endpoint: Endpoint, book: JobBook) -> web.Response:
        body = await read_limited(request, RUN_LIMIT)
        job = book.submit(endpoint.id, parse_submission(body, "run", self._timing))
        return web.json_response({"id": job.id, "status": job.status.value})

    async def runsync(self, request: web.Request, endpoint: Endpoint, book: JobBook) -> web.Response:
        wait_s = parse_wait(request, self._timing.sync_wait_s, WAIT_MS)
        body = await read_limited(request, SYNC_LIMIT)
        # "1 min (5 min max with wait)" (§2.7) is read as: kept for as long as the caller would have waited.
        asked_s = wait_s if "wait" in request.query else 0.0
        job = book.submit(endpoint.id, parse_submission(body, "runsync", self._timing, asked_s))
        clock = self._ctx.clock
        end = clock.steady() + wait_s
        while not job.status.final and clock.steady() < end:
            await wait_any(min(LOOK_S, end - clock.steady()), book.job_signal(job.id), clock.moved)
            if not still_connected(request):
                break  # the job goes on: its result can be fetched by id (our assumption)
            newer = book.get(endpoint.id, job.id)
            if newer is None:
                raise JobRequestError(404, f"job {job.id} expired before it was done")
            job = newer
        return web.json_response(job.for_caller())

    async def status(self, request: web.Request, endpoint: Endpoint, book: JobBook) -> web.Response:
        return web.json_response(self._job(request, endpoint, book).for_caller())

    async def stream(self, request: web.Request, endpoint: Endpoint, book: JobBook) -> web.Response:
        wait_s = parse_wait(request, self._timing.stream_wait_s, STREAM_WAIT_MS)
        clock = self._ctx.clock
        end = clock.steady() + wait_s
        while True:
            job = self._job(request, endpoint, book)
            pieces = book.drain(job.id)
            if pieces or job.status.final or clock.steady() >= end or not still_connected(request):
                break
            await wait_any(min(LOOK_S, end - clock.steady()), book.job_signal(job.id), clock.moved)
        body: Json = {"status": job.status.value, "stream": [{"output": part} for p in pieces for part in split(p)]}
        if job.error is not None:
            body["error"] = job.error
        return web.json_response(body)

    async def cancel(self, request: web.Request, endpoint: Endpoint, book: JobBook) -> web.Response:
        job = book.cancel(endpoint.id, request.match_info["job_id"])
        return web.json_response(_id_and_status(self._found(request, job)))

    async def retry(self, request: web.Request, endpoint: Endpoint, book: JobBook) -> web.Response:
        job = self._job(request, endpoint, book)
        if job.status not in (JobStatus.FAILED, JobStatus.TIMED_OUT):
            raise JobRequestError(400, f"job {job.id} is {job.status.value}; only FAILED and TIMED_OUT can be retried")
        return web.json_response(_id_and_status(self._found(request, book.retry(endpoint.id, job.id))))

    async def purge_queue(self, request: web.Request, endpoint: Endpoint, book: JobBook) -> web.Response:
        del request
        return web.json_response({"removed": book.purge(endpoint.id), "status": "completed"})

    async def health(self, request: web.Request, endpoint: Endpoint, book: JobBook) -> web.Response:
        del request
        counts = book.counts(endpoint.id)
        # Six keys, seen live (runpod-api-live.md §3). `ready`: done initialising, busy or not (our assumption).
        workers = dict.fromkeys(("idle", "initializing", "ready", "running", "throttled", "unhealthy"), 0)
        for worker in self._ctx.fleet.workers(endpoint.id):
            workers[WORKER_KEYS[worker.status]] += 1
        workers["ready"] = workers["idle"] + workers["running"]
        if endpoint.type == "LOAD_BALANCER":
            # One whose process runs counts as running before it is ready (seen live: running 1, ready 0).
            starting = sum(
                worker.status == "INITIALIZING" and worker.started_at is not None
                for worker in self._ctx.fleet.workers(endpoint.id)
            )
            workers["initializing"] -= starting
            workers["running"] += starting
        jobs = {
            "completed": counts.completed,
            "failed": counts.failed,
            "inProgress": counts.in_progress,
            "inQueue": counts.in_queue,
            "retried": counts.retried,
        }
        return web.json_response({"jobs": jobs, "workers": workers})

    def _job(self, request: web.Request, endpoint: Endpoint, book: JobBook) -> Job:
        return self._found(request, book.get(endpoint.id, request.match_info["job_id"]))

    def _found(self, request: web.Request, job: Job | None) -> Job:
        if job is None:
            raise JobRequestError(404, f"job {request.match_info['job_id']} not found; it never existed or has expired")
        return job


def split(output: Any, limit: int = CHUNK_LIMIT) -> list[Any]:
    """Text above `limit` bytes of UTF-8 in pieces; together they are the text. Anything else stays whole."""
    if not isinstance(output, str) or len(output) * 4 <= limit:
        return [output]
    pieces, start, size = [], 0, 0
    for index, character in enumerate(output):
        width = len(character.encode("utf-8", "surrogatepass"))
        if size + width > limit:
            pieces.append(output[start:index])
            start, size = index, 0
        size += width
    return [*pieces, output[start:]]


def _id_and_status(job: Job) -> Json:
    return {"id": job.id, "status": job.status.value}
