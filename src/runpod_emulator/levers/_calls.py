"""How often each call of the control plane arrived, by method and route template.

Every request that reached this machine counts once, whatever became of it: refused, struck by a fault, answered.
"""

from collections import Counter

from aiohttp import web

from runpod_emulator.guard import is_control
from runpod_emulator.levers._strike import Handler


class CallCounter(Counter[str]):
    """`{"GET /v2/templates/{id}": 3}`. In memory only."""


CALLS: web.AppKey[CallCounter] = web.AppKey("runpod_emulator.calls", CallCounter)


@web.middleware
async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
    if is_control(request.path):
        request.app[CALLS][f"{request.method} {_template(request)}"] += 1
    return await handler(request)


def _template(request: web.Request) -> str:
    resource = request.match_info.route.resource
    if resource is None:
        return "(no route)"
    # Routes that refuse a whole resource have its name as a variable.
    return resource.canonical.replace("{resource}", request.match_info.get("resource", ""))
