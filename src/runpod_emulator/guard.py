"""What happens to every request before a handler sees it, and to every answer before it leaves.

The order is RunPod's where it is known: the edge (User-Agent) first, then size (413 is "checked before auth",
runpod-api-live.md §2.5), then the key, then the rate limit. Before all of it stands a rule of our own: a request whose
Host header does not name this machine is refused, so that no web page can reach the emulator through DNS rebinding;
there is no CORS header anywhere. Behind that rule stand the levers (`runpod_emulator.levers`), which play a bad network
in front of the service.

The job and the worker plane have keys and errors of their own; here only what all planes share is done for them.
"""

import hmac
import ipaddress
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from runpod_emulator.config import MAX_BODY_BYTES, Config
from runpod_emulator.context import CONTEXT, Context
from runpod_emulator.control.http import TOO_LARGE
from runpod_emulator.control.problem import Problem
from runpod_emulator.control.records import RESERVED_SEGMENTS
from runpod_emulator.limits import LIMITER, RateLimiter

log = logging.getLogger("runpod_emulator")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

EDGE_REFUSAL = "error code: 1010"
PUBLIC_PATHS = frozenset({"/_emulator/status", "/v2/openapi.json"})


def install(app: web.Application, config: Config, *, between: Sequence[Middleware] = ()) -> None:
    """`between`: what stands behind the rule about Host headers and before everything RunPod does (the levers)."""
    app[LIMITER] = RateLimiter(config.rate_windows, enforced=config.enforce_rate_limits)
    app.middlewares.extend((_record, _shape_errors, _this_machine_only, *between, _guard))
    app.on_response_prepare.append(_add_rate_headers)


def is_control(path: str) -> bool:
    """Whether a path belongs to the control plane: its first segment under /v2 is reserved."""
    parts = path.split("/", 3)
    return len(parts) > 2 and parts[1] == "v2" and parts[2] in RESERVED_SEGMENTS


@web.middleware
async def _record(request: web.Request, handler: Handler) -> web.StreamResponse:
    """One line per request on stderr: method, path, status, time. Never a header, a query or a body."""
    began = time.monotonic()
    response = await handler(request)
    spent = 1000 * (time.monotonic() - began)
    level = logging.DEBUG if request.path.startswith("/_emulator/") or not is_control(request.path) else logging.INFO
    log.log(level, "%s %s %d %.0f ms", request.method, request.path, response.status, spent)
    return response


@web.middleware
async def _shape_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every failure as problem+json. What nobody foresaw is a 500 whose traceback goes to the log only."""
    try:
        return await handler(request)
    except Problem as problem:
        return problem.response()
    except web.HTTPException as error:
        if error.status < 400 or error.content_type == "application/json":
            raise
        kept: dict[str, str] = {name: error.headers[name] for name in (hdrs.ALLOW,) if name in error.headers}
        detail = "resource not found" if error.status == 404 else (error.reason or "request failed")
        return Problem(error.status, detail, headers=kept).response()
    except ConnectionResetError:
        raise  # the caller has gone; there is nobody to answer
    except (sqlite3.OperationalError, OSError) as error:  # a full disk, a read-only file system
        log.error("%s %s failed: %s", request.method, request.path, error)
        return Problem(507, f"the emulator cannot write its state: {error}").response()
    except Exception:  # the outermost edge
        log.exception("%s %s failed; this is a fault of the emulator, please report it", request.method, request.path)
        return Problem(500, "the emulator failed on this request; its log says why").response()


@web.middleware
async def _this_machine_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not names_this_machine(request.headers.get(hdrs.HOST, "")):
        raise Problem(403, "the Host header does not name this machine")
    return await handler(request)


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    ctx = request.app[CONTEXT]
    emulator_only = request.path.startswith("/_emulator/")
    if request.path in PUBLIC_PATHS:
        return await handler(request)
    control = is_control(request.path)
    if control and ctx.config.edge_user_agent_rule and _is_faceless(request):
        return web.Response(status=403, text=EDGE_REFUSAL)
    if control and (request.content_length or 0) > MAX_BODY_BYTES:
        raise Problem(413, TOO_LARGE)
    if control or emulator_only:
        _demand_key(request, ctx)
    if control:
        _count(request, ctx)
    return await handler(request)


def names_this_machine(host: str) -> bool:
    """True for `localhost` and loopback addresses, with or without a port."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_faceless(request: web.Request) -> bool:
    """Python's default agent, or none at all, never passes RunPod's edge (runpod-api-live.md §3, Edge)."""
    agent = request.headers.get(hdrs.USER_AGENT, "")
    return not agent or agent.startswith("Python-urllib")


def _demand_key(request: web.Request, ctx: Context) -> None:
    """The control plane takes `Bearer` and nothing else (§1.1 Auth)."""
    scheme, _, key = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Problem(401, "missing bearer token")
    if not ctx.api_key or not hmac.compare_digest(key.strip().encode(errors="surrogateescape"), ctx.api_key.encode()):
        raise Problem(401, "invalid bearer token")


# Rate limits (§1.1): headers on every authenticated answer; refusing is a mode.

_COUNTED: web.RequestKey[bool] = web.RequestKey("runpod_emulator.counted", bool)


def _count(request: web.Request, ctx: Context) -> None:
    limiter, now = request.app[LIMITER], ctx.clock()
    request[_COUNTED] = True
    refused = limiter.exceeded(now) if limiter.enforced else None
    if refused is not None:
        window, wait = refused
        detail = f"rate limit exceeded for the {window.name} window"
        raise Problem(429, detail, headers={hdrs.RETRY_AFTER: str(wait)})
    limiter.count(now)


async def _add_rate_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Not on a 401: the service knows no caller then (§1.1)."""
    if request.get(_COUNTED):
        limiter = request.app[LIMITER]
        response.headers["RateLimit-Policy"] = limiter.policy()
        response.headers["RateLimit"] = limiter.state(request.app[CONTEXT].clock())
