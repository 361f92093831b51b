"""Who may call the job plane, and what every one of its handlers starts with."""

import hmac
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Protocol, runtime_checkable

from aiohttp import web

from runpod_emulator.context import Context
from runpod_emulator.jobs._book import JobBook
from runpod_emulator.jobs._rates import RateLimits
from runpod_emulator.jobs._request import JobRequestError
from runpod_emulator.model import Endpoint, EndpointType

JobHandler = Callable[[web.Request, Endpoint, JobBook], Awaitable[web.StreamResponse]]


@runtime_checkable
class KeepsJobs(Protocol):
    """The part of the scaler that the job plane needs: the scaler is `Context.fleet` and owns the book."""

    book: JobBook


def job_book(ctx: Context) -> JobBook:
    if not isinstance(ctx.fleet, KeepsJobs):
        raise RuntimeError("the fleet in this context keeps no jobs; assemble the emulator with scaler.Scaler")
    return ctx.fleet.book


def admit(request: web.Request, ctx: Context, kind: EndpointType | None) -> Endpoint:
    """The endpoint in the path, if the caller's key opens it and it is of this kind."""
    # The documents show `Bearer <key>` and the bare key (§2.8).
    header = request.headers.get("Authorization", "")
    key = header[7:].strip() if header[:7].lower() == "bearer " else header.strip()
    known = ctx.api_key
    if not known or not hmac.compare_digest(key.encode(errors="surrogateescape"), known.encode()):
        raise JobRequestError(401, "missing or unknown API key; send `Authorization: Bearer <key>`")
    endpoint_id = request.match_info["endpoint_id"]
    endpoint = ctx.endpoints.endpoint(endpoint_id)
    if endpoint is None:
        raise JobRequestError(404, f"endpoint {endpoint_id} not found")
    if kind is not None and endpoint.type != kind:
        # Observed live, both ways; the status code is our assumption (runpod-api-live.md §3, LOAD_BALANCER endpoints).
        raise JobRequestError(400, "not allowed for QB API")
    return endpoint


class JobPlane:
    """Wraps handlers: key, endpoint, kind of endpoint, rate limit, and errors as `{"error": …}`."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._rates = RateLimits(ctx.clock) if ctx.config.enforce_rate_limits else None

    def handler(
        self, operation: str, inner: JobHandler, render: Callable[[JobRequestError], web.Response] | None = None
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                # The health of a load balancer's workers can be asked for (seen live, as above).
                endpoint = admit(request, self._ctx, None if operation == "health" else "QUEUE")
                gate = self._rates.admit(endpoint.id, operation) if self._rates else nullcontext()
                with gate:
                    return await inner(request, endpoint, job_book(self._ctx))
            except JobRequestError as error:
                return render(error) if render else web.json_response({"error": error.message}, status=error.status)

        return handle


def still_connected(request: web.Request) -> bool:
    """aiohttp does not end a handler whose client went away: whoever waits has to look."""
    return request.transport is not None and not request.transport.is_closing()
