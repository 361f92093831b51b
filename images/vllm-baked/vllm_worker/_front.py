"""HTTP for callers, in the load-balancer and Pod modes. What vLLM answers passes through as it comes.

Only the routes that a job may use are served (`_inputs.ROUTES`), each joined to vLLM's address from the table and never
from what the caller sent: no request reaches another host or one of vLLM's administrative routes.
"""

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Literal

import aiohttp
from aiohttp import hdrs, web

from vllm_options import WorkerSettings
from vllm_worker._client import Address, open_session
from vllm_worker._errors import ApiError, EngineError
from vllm_worker._inputs import ROUTES
from vllm_worker._limits import TooManyRequests
from vllm_worker._metrics import CONTENT_TYPE, joined
from vllm_worker._proxy import whole_events
from vllm_worker._tags import tags_of_headers
from vllm_worker._usage import Bill, Desk

State = Literal["loading", "ready", "ending", "dead"]

_PING_STATUS: Mapping[State, int] = {"loading": 204, "ready": 200, "ending": 503, "dead": 503}
"""For RunPod's load balancer 200 takes requests, 204 is starting, anything else is taken out of the routing
(its documentation: serverless/load-balancing/overview)."""

_REQUEST_HEADERS = ("Content-Type", "Accept", "traceparent", "tracestate", "X-Request-Id")
"""What vLLM hears of a caller's headers: the body's form, and the trace that the request belongs to."""
_RESPONSE_HEADERS = ("Content-Type", "X-Request-Id")
RETRY_AFTER_S = 5
METRICS_S = 5.0
"""How long vLLM may take to tell its figures; the worker's own are told anyway."""


class Front:
    """The server. `state` says what health checks are told; `ready` and `ending` change it."""

    def __init__(self, address: Address, settings: WorkerSettings, needs_key: bool, desk: Desk) -> None:
        self._address = address
        self._settings = settings
        self._desk = desk
        self._key = settings.worker_api_key if needs_key or settings.worker_api_key else None
        self._session: aiohttp.ClientSession | None = None
        self.state: State = "loading"
        self.active = 0
        """Requests in hand."""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Answer on the ports while the block runs; its end aborts what is still in hand.

        Raises EngineError for a port that cannot be opened.
        """
        app = web.Application(client_max_size=self._settings.worker_max_body_bytes, middlewares=[self._edge])
        for path in {"/ping", self._settings.health_check_path}:
            app.router.add_get(path, self._ping)
        for route, method in ROUTES.items():
            app.router.add_route(method, route, self._pass_on)
        app.router.add_get("/metrics", self._metrics)
        # A caller who leaves cancels the handler, which closes the request to vLLM, which ends its work.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            for name, port in self._ports().items():
                try:
                    await web.TCPSite(runner, "0.0.0.0", port).start()  # noqa: S104 - the container's network is its own
                except OSError as error:
                    raise EngineError(
                        f"{name}: port {port} cannot be opened: {error.strerror}; choose another one above 1023, and "
                        "list it among the endpoint's or Pod's ports"
                    ) from error
            async with open_session(self._address, self._settings.request_timeout) as session:
                self._session = session
                yield
        finally:
            await runner.cleanup()

    def _ports(self) -> dict[str, int]:
        """By variable. RunPod asks on port 80 for the health of a worker unless PORT_HEALTH says otherwise."""
        ports = {"PORT": self._settings.port}
        if self._settings.port_health not in (None, self._settings.port):
            ports["PORT_HEALTH"] = int(self._settings.port_health or 0)
        return ports

    # Every request

    @web.middleware
    async def _edge(self, request: web.Request, handler: "web._Handler") -> web.StreamResponse:  # type: ignore[name-defined]
        """The key, and every refusal in OpenAI's form; each is counted."""
        refused: ApiError
        try:
            if request.match_info.handler != self._ping and not self._may_pass(request):
                raise ApiError(401, "this server needs its API key: send `Authorization: Bearer <WORKER_API_KEY>`")
            response: web.StreamResponse = await handler(request)
            return response
        except ApiError as error:
            refused = error
        except web.HTTPRequestEntityTooLarge:
            limit = self._settings.worker_max_body_bytes
            refused = ApiError(413, f"the request is larger than {limit} bytes (WORKER_MAX_BODY_BYTES)")
        except web.HTTPNotFound:
            refused = ApiError(404, f"{request.path[:200]!r} is not served; known: {', '.join(ROUTES)}")
        except web.HTTPMethodNotAllowed as error:
            refused = ApiError(405, f"{request.path} takes {', '.join(sorted(error.allowed_methods))}")
        self._desk.failed(None, refused.status)
        return _refusal(refused)

    def _may_pass(self, request: web.Request) -> bool:
        if self._key is None:
            return True
        scheme, _, bearer = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else request.headers.get("X-Api-Key", "")
        return hmac.compare_digest(given.encode("utf-8", errors="replace"), self._key.encode())

    async def _ping(self, _request: web.Request) -> web.Response:
        return web.Response(status=_PING_STATUS[self.state])

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        if self.state != "ready":
            raise ApiError(503, {
                "loading": "the model is still being loaded", "ending": "this worker is about to end",
            }.get(self.state, "vLLM has ended"))  # fmt: skip
        self.active += 1
        try:
            body = await request.read() if request.method == "POST" else None
            bill = self._desk.admit_http(request.path, body, tags_of_headers(request.headers))
            try:
                return await self._relay(request, body, bill)
            finally:
                bill.close("cancelled")  # nobody has closed it before: the caller left, or the worker ends
        finally:
            self.active -= 1

    async def _metrics(self, _request: web.Request) -> web.Response:
        """vLLM's figures, if it has any yet, and the worker's."""
        text, kind = b"", CONTENT_TYPE
        if self._session is None:
            return web.Response(body=self._desk.metrics.text().encode(), headers={"Content-Type": kind})
        # Not as the caller prefers it: a text in OpenMetrics' form ends with a mark, and nothing may follow.
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with (
                asyncio.timeout(METRICS_S),
                self._session.get(f"{self._address.base_url}/metrics", headers={"Accept": "text/plain"}) as upstream,
            ):
                if upstream.status == 200:
                    text, kind = await upstream.read(), upstream.headers.get("Content-Type", kind)
        return web.Response(body=joined(text, self._desk.metrics.text()), headers={"Content-Type": kind})

    async def _relay(self, request: web.Request, body: bytes | None, bill: Bill) -> web.StreamResponse:
        assert self._session is not None
        route = request.path
        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        response: web.StreamResponse | None = None
        try:
            async with self._session.request(
                request.method, f"{self._address.base_url}{route}", data=body, headers=headers, allow_redirects=False
            ) as upstream:
                kept = {name: upstream.headers[name] for name in _RESPONSE_HEADERS if name in upstream.headers}
                if upstream.content_type != "text/event-stream":
                    answer = await upstream.read()
                    bill.saw_body(answer)
                    bill.close_with(upstream.status)
                    return web.Response(status=upstream.status, headers=kept, body=answer)
                response = web.StreamResponse(status=upstream.status, headers={**kept, "Cache-Control": "no-cache"})
                await response.prepare(request)
                async for events in whole_events(upstream):
                    bill.saw_events(events)
                    await response.write(events)
        except TimeoutError:
            limit = self._settings.request_timeout
            failure = ApiError(504, f"vLLM took longer than {limit:g} s for {route} (REQUEST_TIMEOUT)")
        except aiohttp.ClientConnectionResetError as gone:
            if response is not None:  # the caller, not vLLM
                raise asyncio.CancelledError from gone
            failure = ApiError(502, f"the connection to vLLM broke: {route}")
        except aiohttp.ClientError as error:
            failure = ApiError(502, f"the connection to vLLM broke: {route}: {error or type(error).__name__}")
        else:
            await response.write_eof()
            bill.close("ok")
            return response
        bill.close("failed")
        if response is None:
            return _refusal(failure)
        await response.write(failure.as_event().encode())
        await response.write_eof()
        return response


def _refusal(error: ApiError) -> web.Response:
    headers = {"Retry-After": str(RETRY_AFTER_S)} if error.status == 503 else {}
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return web.json_response({"error": error.as_object()}, status=error.status, headers=headers)
