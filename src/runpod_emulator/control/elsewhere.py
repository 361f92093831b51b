"""What RunPod has and the emulator has not: refused with 501 and a sentence, never with a wrong answer.

Also the last word on every reserved path: whatever no route of the control plane took is a 404 or a 405 here, and is
never passed on to the job plane.
"""

from typing import NoReturn

from aiohttp import hdrs, web

from runpod_emulator.control.problem import Problem, not_found
from runpod_emulator.control.records import RESERVED_SEGMENTS

_EMULATED = ("pods", "serverless", "templates", "network-volumes", "registries", "catalog")


def _not_emulated(what: str) -> NoReturn:
    raise Problem(501, f"{what} not emulated; see docs/emulator-assumptions.md")


async def _delegations(_request: web.Request) -> web.Response:
    _not_emulated("ECR delegations are")


async def _builds(_request: web.Request) -> web.Response:
    _not_emulated("builds from a repository are")


async def _whole_resource(request: web.Request) -> web.Response:
    _not_emulated(f"/v2/{request.match_info['resource']} is")


async def _nothing_here(request: web.Request) -> web.Response:
    allowed = await _allowed_methods(request)
    if allowed:
        raise Problem(
            405, "The requested method is not allowed for this path.", headers={hdrs.ALLOW: ", ".join(allowed)}
        )
    raise not_found("resource")


async def _allowed_methods(request: web.Request) -> list[str]:
    """Methods that the control plane's own routes take on this path."""
    found: set[str] = set()
    for resource in request.app.router.resources():
        # Routes of other planes have a variable as their first segment, and never speak for a reserved one.
        if resource.canonical.split("/")[2:3] == request.path.split("/")[2:3]:
            _, methods = await resource.resolve(request)
            found |= methods
    return sorted(found - {hdrs.METH_ANY})


def add_delegation_routes(app: web.Application) -> None:
    app.router.add_route("*", "/v2/registries/delegations", _delegations)
    app.router.add_route("*", "/v2/registries/delegations/{id}", _delegations)


def add_routes(app: web.Application) -> None:
    app.router.add_route("*", "/v2/serverless/{id}/builds", _builds)
    app.router.add_route("*", "/v2/serverless/{id}/builds/{tail:.+}", _builds)
    for segment in sorted(RESERVED_SEGMENTS):
        handler = _nothing_here if segment in _EMULATED else _whole_resource
        app.router.add_route("*", f"/v2/{{resource:{segment}}}", handler)
        app.router.add_route("*", f"/v2/{{resource:{segment}}}/{{tail:.*}}", handler)
