"""The load balancer's data plane. On RunPod `https://<endpoint>.api.runpod.ai/<path>`; here `/lb/<endpoint>/<path>` on
the emulator's one port, since no name but localhost resolves to this machine everywhere (our assumption). Clients find
it in the endpoint's `requestUrls.base`.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

import aiohttp
from aiohttp import hdrs, web

from runpod_emulator.balancer._relay import WORKER_ID, Relay
from runpod_emulator.balancer._traffic import Affinity, Traffic
from runpod_emulator.context import Context
from runpod_emulator.jobs import JobRequestError, admit, still_connected
from runpod_emulator.waiting import wait_any
from runpod_emulator.workers import Roster, WorkerSession

LOOK_S = 0.5
"""How often a waiting handler looks whether its caller is still there."""
CONNECT_S = 5.0
SESSION: web.AppKey[aiohttp.ClientSession] = web.AppKey("runpod_emulator.balancer.session", aiohttp.ClientSession)


@runtime_checkable
class CarriesTraffic(Protocol):
    """The part of the scaler that the balancer needs."""

    traffic: Traffic
    roster: Roster


def add_routes(app: web.Application, ctx: Context) -> None:
    """Register the balancer below `/lb/{endpoint_id}/`."""
    balancer = _Balancer(ctx)
    app.cleanup_ctx.append(_client)
    for path in ("/lb/{endpoint_id}", "/lb/{endpoint_id}/{tail:.*}"):
        app.router.add_route("*", path, balancer.handle)


async def _client(app: web.Application) -> AsyncIterator[None]:
    """Passes on what it gets: nothing unpacked, no cookie kept, no header of its own, no connection used twice (a
    worker may close an idle one just when the next request goes out on it)."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    ) as session:
        app[SESSION] = session
        yield


class _Balancer:
    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._timing = ctx.config.timing

    async def handle(self, request: web.Request) -> web.StreamResponse:
        worker_id = None
        try:
            endpoint = admit(request, self._ctx, "LOAD_BALANCER")
            if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
                raise JobRequestError(501, "WebSockets are not emulated; see docs/emulator-assumptions.md")
            session = await self._worker_for(request, endpoint.id)
            worker_id = session.worker_id
            with self._fleet.traffic.carried(session) as carried:
                response = await self._relayed(request, session)
                carried.answered = True
                return response
        except JobRequestError as error:
            headers = {WORKER_ID: worker_id} if worker_id else {}
            return web.json_response({"error": error.message}, status=error.status, headers=headers)

    @property
    def _fleet(self) -> CarriesTraffic:
        fleet = self._ctx.fleet
        if not isinstance(fleet, CarriesTraffic):
            raise RuntimeError("the fleet in this context has no traffic; assemble the emulator with scaler.Scaler")
        return fleet

    async def _worker_for(self, request: web.Request, endpoint_id: str) -> WorkerSession:
        """Wait for a healthy worker (runpod-api-live.md §3: about 2 min, then 400)."""
        fleet, clock = self._fleet, self._ctx.clock
        affinity = Affinity.parse(request.headers.get(WORKER_ID, ""))
        limit_s = self._timing.affinity_wait_s if affinity.mode == "strict" else self._timing.worker_wait_s
        end = clock.steady() + limit_s
        with fleet.traffic.waiting(endpoint_id):
            while True:
                endpoint = self._ctx.endpoints.endpoint(endpoint_id)
                if endpoint is None:
                    raise JobRequestError(404, f"endpoint {endpoint_id} was deleted")
                session = fleet.traffic.pick(endpoint_id, affinity)
                if session is not None:
                    return session
                if fleet.traffic.is_gone(endpoint_id, affinity):
                    raise JobRequestError(404, "affinity_worker_gone")
                if endpoint.workers_max == 0:
                    raise JobRequestError(400, "no workers available")
                if clock.steady() >= end:
                    raise JobRequestError(400, "timed out waiting for worker")
                if not still_connected(request):
                    raise ConnectionResetError("the caller has gone")
                await wait_any(min(LOOK_S, end - clock.steady()), fleet.roster.routing, clock.moved)

    async def _relayed(self, request: web.Request, session: WorkerSession) -> web.StreamResponse:
        """The worker's answer, unless it takes too long or the caller leaves: the worker is let go then."""
        assert session.http is not None
        relay = Relay(request.app[SESSION], request, session.http, session.worker_id)
        clock, limit_s = self._ctx.clock, self._timing.balanced_request_s
        end = clock.steady() + limit_s
        task = asyncio.create_task(relay.run())
        try:
            while not await clock.finished(task, max(0.0, min(LOOK_S, end - clock.steady()))):
                if not still_connected(request):
                    raise ConnectionResetError("the caller has gone")
                if clock.steady() >= end:
                    if relay.response is not None:
                        raise relay.broken_off("the worker took too long")
                    raise JobRequestError(504, f"the worker took longer than {limit_s:g} s")
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
