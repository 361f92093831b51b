"""What can be seen of an endpoint's workers: `…/workers`, `…/releases`, and a worker's logs as Server-Sent Events."""

import asyncio
import json
import re
from collections.abc import Sequence

from aiohttp import web

from runpod_emulator.context import Context
from runpod_emulator.control.http import answer, choice, one, timestamp, whole_number
from runpod_emulator.control.paging import Pager
from runpod_emulator.control.problem import not_found
from runpod_emulator.control.records import Records, Release
from runpod_emulator.control.views import release_json, rollout_json, workers_json
from runpod_emulator.model import Endpoint
from runpod_emulator.ports import LogLine, WorkerLog

_WORKER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_DEFAULT_TAIL = 100
_MAX_TAIL = 5000
_SSE_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "Connection": "keep-alive",
    "X-Accel-Buffering": "no",
}


class WorkerRoutes:
    def __init__(self, ctx: Context, records: Records, pager: Pager) -> None:
        self._ctx, self._records, self._pager = ctx, records, pager
        self._streams: set[asyncio.Task[None]] = set()

    def add_routes(self, app: web.Application) -> None:
        base = "/v2/serverless/{id}"
        app.router.add_get(base + "/workers", self._workers, allow_head=False)
        app.router.add_get(base + "/releases", self._releases, allow_head=False)
        app.router.add_get(base + "/workers/{workerId}/logs", self._logs, allow_head=False)
        app.on_shutdown.append(self._end_streams)

    def _stored(self, request: web.Request) -> Endpoint:
        endpoint = self._records.endpoint(request.match_info["id"])
        if endpoint is None:
            raise not_found("endpoint")
        return endpoint

    async def _workers(self, request: web.Request) -> web.Response:
        endpoint = self._stored(request)
        return answer(workers_json(endpoint, self._ctx.fleet.workers(endpoint.id), self._ctx.clock()))

    async def _releases(self, request: web.Request) -> web.Response:
        endpoint = self._stored(request)
        workers = self._ctx.fleet.workers(endpoint.id)

        def fetch(before: int | None, limit: int) -> list[tuple[int, Release]]:
            return self._records.release_page(endpoint.id, before, limit)

        page = self._pager.page(request, f"releases/{endpoint.id}", fetch)
        return answer(
            {
                "endpointVersion": endpoint.version,
                "rollout": rollout_json(endpoint, workers),
                "releases": [release_json(release, workers) for release in page.items],
                "pagination": page.marker(),
            }
        )

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        """First what was asked for of the past, then every new line, until the caller or the emulator goes away.

        `Last-Event-ID` overrides `since`, which overrides `tail` (runpod-api.md §1.2 Worker logs).
        """
        endpoint = self._stored(request)
        source = choice(request, "source", ("container", "system"))
        tail = whole_number(request, "tail", minimum=0, maximum=_MAX_TAIL)
        since = one(request, "since")
        resume = request.headers.get("Last-Event-ID")
        if since is not None:
            timestamp("since", since)
        if resume is not None:
            timestamp("Last-Event-ID", resume.partition("/")[0])
        log = self._log(endpoint, request.match_info["workerId"])
        past = _past(log, source, _DEFAULT_TAIL if tail is None else tail, since, resume)
        # Live lines start after the newest line of any source that exists now, so that none is shown twice or lost.
        newest = log.read(tail=1, since=None, after_id=None, source=None)
        start = past[-1].id if past else newest[-1].id if newest else None

        response = web.StreamResponse(headers=_SSE_HEADERS)
        await response.prepare(request)
        task = asyncio.create_task(self._send(response, log, past, start, source))
        self._streams.add(task)
        try:
            await asyncio.shield(task)
        except (ConnectionResetError, asyncio.CancelledError):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if (current := asyncio.current_task()) is not None and current.cancelling():
                raise
        finally:
            self._streams.discard(task)
        return response

    def _log(self, endpoint: Endpoint, worker_id: str) -> WorkerLog:
        """A worker that has gone keeps its log as long as the host does; one that never was is a 404."""
        if not _WORKER_ID.fullmatch(worker_id):  # it may name a file of the host's: no slashes, no dots
            raise not_found("worker")
        log = self._ctx.host.logs(worker_id)
        known = any(worker.id == worker_id for worker in self._ctx.fleet.workers(endpoint.id))
        if not known and not log.read(tail=1, since=None, after_id=None, source=None):
            raise not_found("worker")
        return log

    async def _send(
        self,
        response: web.StreamResponse,
        log: WorkerLog,
        past: Sequence[LogLine],
        start: str | None,
        source: str | None,
    ) -> None:
        for line in past:
            await response.write(_event(line))
        live = aiter(log.follow(after_id=start, source=source))
        pending: asyncio.Task[LogLine] | None = None
        try:
            while True:
                pending = pending or asyncio.ensure_future(anext(live))
                if not await self._ctx.clock.finished(pending, self._ctx.config.timing.log_heartbeat_s):
                    await response.write(b": keep-alive\n\n")  # a comment: every SSE reader skips it
                    continue
                try:
                    line = pending.result()
                except StopAsyncIteration:
                    return
                finally:
                    pending = None
                await response.write(_event(line))
        finally:
            if pending is not None:
                pending.cancel()
                await asyncio.gather(pending, return_exceptions=True)
            close = getattr(live, "aclose", None)
            if close is not None:
                await close()

    async def _end_streams(self, _app: web.Application) -> None:
        """The streams never end by themselves; a shutdown must not wait for them."""
        for task in list(self._streams):
            task.cancel()


def _past(log: WorkerLog, source: str | None, tail: int, since: str | None, resume: str | None) -> Sequence[LogLine]:
    if resume is not None and "/" in resume:
        return log.read(tail=None, since=None, after_id=resume, source=source)
    if resume is not None:  # the contract's schema says a bare timestamp, its example an id: take both
        return log.read(tail=None, since=resume, after_id=None, source=source)
    if since is not None:
        return log.read(tail=None, since=since, after_id=None, source=source)
    return log.read(tail=tail, since=None, after_id=None, source=source) if tail else ()


def _event(line: LogLine) -> bytes:
    data = json.dumps({"ts": line.ts, "source": line.source, "line": line.line}, ensure_ascii=False)
    # Backslashreplace writes what is no text as the JSON escape that it already is.
    return f"id: {line.id}\ndata: {data}\n\n".encode(errors="backslashreplace")
