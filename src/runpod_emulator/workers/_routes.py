"""The worker plane, as the official SDK 1.12.0 speaks it (runpod-api.md §3.2, numbers as there).

The job is taken from the URL, never from a header: the SDK sets X-Request-ID on a session that all its jobs share.
Bodies are JSON although they are labelled as a form.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from runpod_emulator.context import Context
from runpod_emulator.jobs import SYNC_LIMIT as RESULT_LIMIT
from runpod_emulator.jobs import JobBook, JobRequestError, parse_json, read_limited
from runpod_emulator.model import Json
from runpod_emulator.waiting import wait_any
from runpod_emulator.workers._access import worker_plane
from runpod_emulator.workers._levers import add_levers
from runpod_emulator.workers._roster import WorkerSession

LARGEST_BATCH = 1000
RELEASED_PAUSE_S = 0.2
"""A worker that is being stopped and polls again waits this long, so that it does not spin until its signal arrives."""

REFUSED_PAUSE_S = 0.2
"""The SDK repeats a refused poll at once: a worker that was given up must not spin until its end comes."""
PING_CAPACITY = 65_000
"""The SDK cuts its list of job ids at 64 KiB: a list of about that size names not all (its worker_state module)."""

WorkerHandler = Callable[[web.Request, WorkerSession], Awaitable[web.StreamResponse]]


def add_routes(app: web.Application, ctx: Context) -> None:
    """Register the worker plane below `/v2/{endpoint_id}/`, and the levers that show and throttle workers."""
    routes = _Routes(ctx)
    base, add = "/v2/{endpoint_id}", app.router.add_route
    add("GET", f"{base}/job-take/{{worker_id}}", routes.guarded(routes.take))
    add("GET", f"{base}/job-take-batch/{{worker_id}}", routes.guarded(routes.take_batch))
    add("GET", f"{base}/job-stop/{{worker_id}}", routes.guarded(routes.stop))
    add("POST", f"{base}/job-stream/{{worker_id}}/{{job_id}}", routes.guarded(routes.stream))
    add("POST", f"{base}/job-done/{{worker_id}}/{{job_id}}", routes.guarded(routes.done))
    add("GET", f"{base}/ping/{{worker_id}}", routes.guarded(routes.ping))
    add_levers(app, ctx)


class _Routes:
    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._timing = ctx.config.timing

    @property
    def _book(self) -> JobBook:
        return worker_plane(self._ctx).book

    def guarded(self, inner: WorkerHandler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Only the worker named in the URL, with its own key. 401 tells it nothing about other workers."""

        async def handle(request: web.Request) -> web.StreamResponse:
            session = worker_plane(self._ctx).roster.authorize(
                request.match_info["endpoint_id"],
                request.match_info["worker_id"],
                request.headers.get("Authorization", ""),
            )
            if session is None:
                await asyncio.sleep(REFUSED_PAUSE_S)
                return web.json_response({"error": "not a worker of this endpoint, or the wrong key"}, status=401)
            try:
                return await inner(request, session)
            except JobRequestError as error:
                return web.json_response({"error": error.message}, status=error.status)

        return handle

    async def take(self, request: web.Request, session: WorkerSession) -> web.StreamResponse:
        """Row 1: one job as an object, or 204 when none came."""
        return await self._take(request, session, 1, single=True)

    async def take_batch(self, request: web.Request, session: WorkerSession) -> web.StreamResponse:
        """Row 2: a list of up to `batch_size` jobs, as soon as there is one."""
        text = request.query.get("batch_size", "1")
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= LARGEST_BATCH:
            raise JobRequestError(422, f"`batch_size` must be a number from 1 to {LARGEST_BATCH}")
        return await self._take(request, session, int(text), single=False)

    async def _take(
        self, request: web.Request, session: WorkerSession, limit: int, *, single: bool
    ) -> web.StreamResponse:
        plane = worker_plane(self._ctx)
        plane.roster.polled(session)
        clock = self._ctx.clock
        end = clock.steady() + self._timing.take_poll_s
        while not session.stopping and not _gone(request):
            endpoint = self._ctx.endpoints.endpoint(session.endpoint_id)
            if endpoint is not None and not session.draining:
                # 0 is what an endpoint without a limit of its own has (runpod-api-live.md §3 row 1).
                timeout_s = endpoint.timeout_ms / 1000 or self._timing.execution_timeout_s
                jobs = self._book.take(session.endpoint_id, session.worker_id, limit, timeout_s)
                if jobs:
                    plane.roster.gave(session, jobs)
                    body = [job.for_worker() for job in jobs]
                    sent = await _send(request, body[0] if single else body)
                    if sent is None:
                        self._book.give_back(session.worker_id, [job.id for job in jobs])
                        break
                    return sent
            if clock.steady() >= end:
                break
            queued = self._book.queue_signal(session.endpoint_id)
            await wait_any(min(1.0, end - clock.steady()), queued, session.signal, clock.moved)
        if session.stopping:
            await asyncio.sleep(RELEASED_PAUSE_S)
        return web.Response(status=204)

    async def stop(self, request: web.Request, session: WorkerSession) -> web.StreamResponse:
        """Row 3: the ids of jobs to stop, held until there are some."""
        clock = self._ctx.clock
        end = clock.steady() + self._timing.stop_poll_s
        while not session.stops and not session.stopping and clock.steady() < end and not _gone(request):
            await wait_any(min(1.0, end - clock.steady()), session.signal, clock.moved)
        if not session.stops:
            return web.Response(status=204)
        stops, session.stops = session.stops, []
        sent = await _send(request, {"jobsToStop": stops})
        if sent is None:
            session.stops = stops + session.stops
            return web.Response(status=204)
        return sent

    async def stream(self, request: web.Request, session: WorkerSession) -> web.StreamResponse:
        """Row 4: one piece of output."""
        body = await self._body(request, session)
        return self._heard(self._book.add_chunk(session.worker_id, request.match_info["job_id"], body.get("output")))

    async def done(self, request: web.Request, session: WorkerSession) -> web.StreamResponse:
        """Rows 5 and 6: the result, or a progress update that completes nothing."""
        body = await self._body(request, session)
        job_id = request.match_info["job_id"]
        if body.get("status") == "IN_PROGRESS" and "error" not in body:
            return self._heard(self._book.progress(session.worker_id, job_id, body.get("output")))
        if body.get("stopPod") is True:
            session.restart_asked = True
            session.drain()
        output = json.dumps(body["output"], separators=(",", ":")) if "output" in body else None
        return self._heard(self._book.finish(session.worker_id, job_id, output=output, error=_error_text(body)))

    async def ping(self, request: web.Request, session: WorkerSession) -> web.StreamResponse:
        """Rows 7 and 8: a heartbeat, or the last word of a worker whose fitness checks failed."""
        roster = worker_plane(self._ctx).roster
        if request.query.get("status") == "unhealthy":
            check, reason = request.query.get("check", "unknown check"), request.query.get("reason", "no reason given")
            roster.report_unhealthy(session, f"fitness check {check} failed: {reason}"[:512])
        else:
            ids = request.query.get("job_id", "")
            named = {job_id for job_id in ids.split(",") if job_id}
            roster.pinged(session, named, complete=len(ids) < PING_CAPACITY)
        return web.json_response({})

    async def _body(self, request: web.Request, session: WorkerSession) -> Json:
        if request.match_info["job_id"] not in session.known_jobs:
            raise JobRequestError(403, "this job was never given to this worker")
        body = parse_json(await read_limited(request, RESULT_LIMIT))
        if not isinstance(body, dict):
            raise JobRequestError(400, "body must be a JSON object")
        return body

    def _heard(self, counted: bool) -> web.Response:
        """200 either way: a worker cannot do anything about a job that was taken from it meanwhile."""
        return web.json_response({} if counted else {"ignored": "the job is no longer this worker's"})


def _error_text(body: Json) -> str | None:
    """Presence of `error` means FAILED (§3.2). Text that UTF-8 cannot hold is replaced."""
    error = body.get("error")
    if error is None or error == "":
        return None
    text = error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode("utf-8")


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def _send(request: web.Request, body: object) -> web.Response | None:
    """Send now and know whether it could be sent: a job must not get lost in a broken connection."""
    response = web.json_response(body)
    try:
        await response.prepare(request)
        await response.write_eof()
    except ConnectionError:
        return None
    return response
