"""Levers below /_emulator/, no part of RunPod: workers by phase for the start table, and a switch for THROTTLED.

The caller's key is demanded by `runpod_emulator.guard`, as for everything below /_emulator/.
"""

from aiohttp import web

from runpod_emulator.context import Context
from runpod_emulator.workers._access import worker_plane


def add_levers(app: web.Application, ctx: Context) -> None:
    async def show(request: web.Request) -> web.Response:
        endpoint_id = _endpoint(request, ctx)
        return web.json_response({"workers": worker_plane(ctx).worker_details(endpoint_id)})

    async def throttle(request: web.Request) -> web.Response:
        """POST: no capacity from now on. DELETE: there is some again."""
        endpoint_id = _endpoint(request, ctx)
        worker_plane(ctx).throttle(endpoint_id, request.method == "POST")
        return web.json_response({"throttled": request.method == "POST"})

    path = "/_emulator/endpoints/{endpoint_id}"
    app.router.add_route("GET", f"{path}/workers", show)
    app.router.add_route("POST", f"{path}/throttle", throttle)
    app.router.add_route("DELETE", f"{path}/throttle", throttle)


def _endpoint(request: web.Request, ctx: Context) -> str:
    endpoint_id = request.match_info["endpoint_id"]
    if ctx.endpoints.endpoint(endpoint_id) is None:
        raise web.HTTPNotFound(text='{"error": "endpoint not found"}', content_type="application/json")
    return endpoint_id
