"""What the emulator says of itself, and the lever that empties it: `/_emulator/status` and `/_emulator/reset`."""

import os
from http import HTTPStatus

from aiohttp import web

from runpod_emulator.context import Context
from runpod_emulator.control.problem import Problem
from runpod_emulator.control.records import Records
from runpod_emulator.control.volumes import discard
from runpod_emulator.pods import PODS


def add_routes(app: web.Application, ctx: Context) -> None:
    records = Records(ctx.store)
    started = ctx.clock()

    async def status(_request: web.Request) -> web.Response:
        endpoints = records.endpoints()
        return web.json_response(
            {
                "ready": True,
                "pid": os.getpid(),
                "url": ctx.base_url,
                "state_dir": str(ctx.config.state_dir.absolute()),
                "uptime_s": round(ctx.clock() - started, 1),
                "endpoints": len(endpoints),
                "workers": sum(len(ctx.fleet.workers(endpoint.id)) for endpoint in endpoints),
            }
        )

    async def reset(request: web.Request) -> web.Response:
        """Delete everything that was made here. Refused while workers run, unless `?force`."""
        endpoints = records.endpoints()
        runner, pods = request.app.get(PODS), records.pods()
        running = sum(len(ctx.fleet.workers(endpoint.id)) for endpoint in endpoints)
        if running and "force" not in request.query:
            raise Problem(HTTPStatus.CONFLICT, f"{running} workers are running; delete their endpoints or add ?force")
        living = [pod.id for pod in pods if runner is not None and runner.run_of(pod.id) is not None]
        if living and "force" not in request.query:
            raise Problem(HTTPStatus.CONFLICT, f"{len(living)} pods are running; terminate them or add ?force")
        for endpoint in endpoints:
            records.delete_endpoint(endpoint.id)
            await ctx.fleet.endpoint_deleted(endpoint.id)
        for pod in pods:
            if runner is not None:
                await runner.terminate(pod.id)
        for template in records.templates():
            records.delete_template(template.id)
        for volume in records.volumes():
            await discard(ctx.config, records, volume)
        for registry in records.registries():
            records.delete_registry(registry.id)
        return web.json_response({"reset": True})

    app.router.add_get("/_emulator/status", status, allow_head=False)
    app.router.add_post("/_emulator/reset", reset)
