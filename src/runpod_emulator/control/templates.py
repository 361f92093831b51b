"""`/v2/templates` (runpod-api.md §1.3). A template is a snapshot: changing it changes no endpoint made from it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aiohttp import web

from runpod_emulator.context import Context
from runpod_emulator.control import bodies
from runpod_emulator.control.catalog import public_template
from runpod_emulator.control.containers import Container
from runpod_emulator.control.http import answer, checked_body, no_content
from runpod_emulator.control.paging import Pager
from runpod_emulator.control.problem import bad_request, not_found
from runpod_emulator.control.records import Records, Template, new_id
from runpod_emulator.control.views import template_json


class TemplateRoutes:
    def __init__(self, ctx: Context, records: Records, pager: Pager) -> None:
        self._ctx, self._records, self._pager = ctx, records, pager

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/v2/templates", self._list, allow_head=False)
        app.router.add_post("/v2/templates", self._create)
        app.router.add_get("/v2/templates/{id}", self._get, allow_head=False)
        app.router.add_patch("/v2/templates/{id}", self._update)
        app.router.add_delete("/v2/templates/{id}", self._delete)

    def _owned(self, request: web.Request) -> Template:
        """One's own; a public catalogue template is a 404 to whoever would change it."""
        template = self._records.template(request.match_info["id"])
        if template is None:
            raise not_found("template")
        return template

    async def _list(self, request: web.Request) -> web.Response:
        page = self._pager.page(request, "templates", self._records.template_page)
        return answer({"templates": [template_json(item) for item in page.items], "pagination": page.marker()})

    async def _get(self, request: web.Request) -> web.Response:
        return answer(template_json(public_template(request.match_info["id"]) or self._owned(request)))

    async def _create(self, request: web.Request) -> web.Response:
        body = await checked_body(request, bodies.create_template)
        template = self._changed(Template(new_id(10), body["name"], Container()), body)
        self._records.save_template(template)
        return answer(template_json(template), 201)

    async def _update(self, request: web.Request) -> web.Response:
        self._owned(request)
        body = await checked_body(request, bodies.update_template)
        with self._records.store.transaction():
            template = self._changed(self._owned(request), body)
            self._records.save_template(template)
        return answer(template_json(template))

    async def _delete(self, request: web.Request) -> web.Response:
        template = self._owned(request)
        users = self._records.endpoints_made_from(template.id)
        if users:
            # "bound to a serverless endpoint" (§1.3), read strictly: made from it by templateId. The live notes
            # suggest that a copy does not bind (runpod-api-live.md §5); a program that deletes in the right
            # order meets neither (our assumption).
            raise bad_request(f"template is in use by endpoint {users[0]}")
        self._records.delete_template(template.id)
        return no_content()

    def _changed(self, template: Template, body: Mapping[str, Any]) -> Template:
        container = template.container.overlaid(body)
        if not container.image:
            raise bad_request("image must not be empty")
        if container.registry is not None and self._records.registry(container.registry) is None:
            raise bad_request(f"registry credential '{container.registry}' not found")  # our assumption
        after = replace(
            template,
            name=body.get("name", template.name),
            container=container,
            # `{}` leaves the mount unchanged (§1.3).
            mounts=body.get("mounts") or template.mounts,
            serverless=body.get("serverless", template.serverless),
            public=body.get("public", template.public),
            category=body.get("category", template.category),
            start_ssh=body.get("startSsh", template.start_ssh),
            start_jupyter=body.get("startJupyter", template.start_jupyter),
            allowed_cuda_versions=tuple(body.get("allowedCudaVersions", template.allowed_cuda_versions)),
        )
        if after.serverless and after.mounts:
            raise bad_request("serverless templates do not support a persistent mount")  # our assumption
        return after
