"""`/v2/pods`: create, list, read, start, stop, restart and terminate (runpod-api.md §1.6)."""

import secrets

from aiohttp import web

from runpod_emulator.context import Context
from runpod_emulator.control import bodies
from runpod_emulator.control.catalog import public_template
from runpod_emulator.control.http import answer, checked_body, no_content, rfc3339
from runpod_emulator.control.images import check_image
from runpod_emulator.control.paging import Pager
from runpod_emulator.control.problem import Problem, not_found
from runpod_emulator.control.records import Pod, Records, Template, new_id
from runpod_emulator.model import Json
from runpod_emulator.pods._rules import ACTIONS, created, http_ports
from runpod_emulator.pods._runner import PODS, PodRunner


def add_routes(app: web.Application, ctx: Context) -> None:
    """Register the pods' part of the control plane. Must come before `control.add_routes`, which has the last word on
    every reserved path."""
    records = Records(ctx.store)
    new_key = secrets.token_hex(16)
    runner = app[PODS] = PodRunner(ctx, records)
    routes = _PodRoutes(ctx, records, Pager(lambda: records.meta("cursor-key", new_key), ctx.config.page_size), runner)
    app.on_startup.append(runner.start)
    app.on_shutdown.append(runner.stop)
    app.router.add_get("/v2/pods", routes.list, allow_head=False)
    app.router.add_post("/v2/pods", routes.create)
    app.router.add_get("/v2/pods/{id}", routes.get, allow_head=False)
    app.router.add_patch("/v2/pods/{id}", routes.update)
    app.router.add_delete("/v2/pods/{id}", routes.delete)
    app.router.add_post("/v2/pods/{id}/action", routes.action)
    app.router.add_get("/v2/pods/{id}/logs", routes.logs, allow_head=False)


class _PodRoutes:
    def __init__(self, ctx: Context, records: Records, pager: Pager, runner: PodRunner) -> None:
        self._ctx, self._records, self._pager, self._runner = ctx, records, pager, runner

    async def list(self, request: web.Request) -> web.Response:
        page = self._pager.page(request, "pods", self._records.pod_page)
        return answer({"pods": [self._shown(pod) for pod in page.items], "pagination": page.marker()})

    async def get(self, request: web.Request) -> web.Response:
        return answer(self._shown(self._stored(request)))

    async def create(self, request: web.Request) -> web.Response:
        body = await checked_body(request, bodies.create_pod)
        template = self._template(body.get("templateId"))
        pod = created(new_id(14), body, template, self._records, now=self._ctx.clock())
        await check_image(self._ctx.host, self._records, pod.container.image, pod.container.registry)
        self._runner.check_ports(pod)
        self._runner.begin(pod)
        return answer(self._shown(pod), 201)

    async def update(self, request: web.Request) -> web.Response:
        self._stored(request)
        raise Problem(501, "changing a pod is not emulated; terminate it and create another one")

    async def logs(self, request: web.Request) -> web.Response:
        self._stored(request)
        raise Problem(501, "logs of pods are not emulated; they are in the emulator's state directory")

    async def delete(self, request: web.Request) -> web.Response:
        await self._runner.terminate(self._stored(request).id)
        return no_content()

    async def action(self, request: web.Request) -> web.Response:
        """200 with the pod as it is then; a stopped one's process is gone (our assumption)."""
        self._stored(request)  # an unknown id is a 404 whatever the body is
        asked = (await checked_body(request, bodies.pod_action))["action"]
        pod = self._stored(request)
        status = self._status(pod)
        if asked not in ACTIONS[status]:
            raise Problem(409, f"action '{asked}' is not valid for a pod that is {status}")
        if asked == "terminate":
            return await self.delete(request)
        if asked in ("stop", "restart"):
            await self._runner.end(pod.id)
            pod = self._stored(request)
            if self._runner.run_of(pod.id) is not None:
                raise Problem(409, "the pod was started by another call meanwhile")
        if asked in ("start", "restart"):
            self._runner.check_ports(pod)
            self._runner.begin(pod)
        return answer(self._shown(self._stored(request)))

    def _stored(self, request: web.Request) -> Pod:
        pod = self._records.pod(request.match_info["id"])
        if pod is None:
            raise not_found("pod")
        return pod

    def _template(self, template_id: str | None) -> Template | None:
        if template_id is None:
            return None
        template = self._records.template(template_id) or public_template(template_id)
        if template is None:
            raise not_found("template")
        return template

    def _status(self, pod: Pod) -> str:
        run = self._runner.run_of(pod.id)
        return run.status if run is not None else pod.at_rest or "EXITED"

    def _shown(self, pod: Pod) -> Json:
        run, status = self._runner.run_of(pod.id), self._status(pod)
        running = run is not None and run.status == "RUNNING"
        started_at = run.started_at if run is not None else None
        shown: Json = {"id": pod.id, "name": pod.name, **pod.container.as_json()}
        if pod.gpu is not None:
            shown["gpu"] = pod.gpu
        if pod.cpu is not None:
            shown["cpu"] = pod.cpu
        return {
            **shown,
            "status": status,
            "actions": list(ACTIONS[status]),
            "mounts": {},
            "cloud": pod.cloud,
            "dataCenterId": pod.data_center_id,
            "cudaVersion": None,
            "ssh": {"proxy": None, "direct": None},
            "template": None,
            "cost": 0.0 if status == "EXITED" else pod.cost,
            "locked": False,
            "globalNetworking": {"enabled": False},
            "runtime": self._runtime(pod, started_at) if running else None,
            "createdAt": rfc3339(pod.created_at),
            "startedAt": None if started_at is None else rfc3339(started_at),
        }

    def _runtime(self, pod: Pod, started_at: float | None) -> Json:
        """Ports are this machine's own: nothing stands between (our assumption)."""
        ports = [
            {"private": port, "public": port, "type": kind, "ip": "127.0.0.1"}
            for port, kind in http_ports(pod.container)
        ]
        return {"uptime": max(0, int(self._ctx.clock() - (started_at or 0.0))), "ports": ports}
