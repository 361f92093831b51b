"""`/v2/serverless`: create, list, read, change and delete endpoints (runpod-api.md §1.2)."""

import json
from dataclasses import replace
from typing import Any

from aiohttp import web

from runpod_emulator.config import MAX_BODY_BYTES
from runpod_emulator.context import Context
from runpod_emulator.control import bodies, endpoint_rules, releases
from runpod_emulator.control.catalog import public_template
from runpod_emulator.control.http import answer, checked_body, no_content
from runpod_emulator.control.images import check_image
from runpod_emulator.control.paging import Pager
from runpod_emulator.control.problem import Problem, not_found
from runpod_emulator.control.records import Records, Template, new_id
from runpod_emulator.control.views import endpoint_json
from runpod_emulator.model import Endpoint, Json


class EndpointRoutes:
    def __init__(self, ctx: Context, records: Records, pager: Pager) -> None:
        self._ctx, self._records, self._pager = ctx, records, pager

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/v2/serverless", self._list, allow_head=False)
        app.router.add_post("/v2/serverless", self._create)
        app.router.add_get("/v2/serverless/{id}", self._get, allow_head=False)
        app.router.add_patch("/v2/serverless/{id}", self._update)
        app.router.add_delete("/v2/serverless/{id}", self._delete)

    def stored(self, request: web.Request) -> Endpoint:
        endpoint = self._records.endpoint(request.match_info["id"])
        if endpoint is None:
            raise not_found("endpoint")
        return endpoint

    async def _list(self, request: web.Request) -> web.Response:
        page = self._pager.page(request, "serverless", self._records.endpoint_page)
        return answer({"endpoints": [self._shown(endpoint) for endpoint in page.items], "pagination": page.marker()})

    async def _get(self, request: web.Request) -> web.Response:
        return answer(self._shown(self.stored(request)))

    async def _create(self, request: web.Request) -> web.Response:
        body = await checked_body(request, bodies.create_endpoint)
        template = self._template(body)
        endpoint_id = new_id(14)

        def make() -> Endpoint:
            return endpoint_rules.created(
                endpoint_id,
                body,
                template,
                self._records,
                now=self._ctx.clock(),
                quota=self._ctx.config.worker_quota,
            )

        # Twice: the look at the registry may take long, and the rules must hold at the moment of writing.
        await self._check_image(make(), None)
        with self._records.store.transaction():
            endpoint = make()
            self._records.save_endpoint(endpoint, template_id=body.get("templateId"))
            self._records.add_release(endpoint.id, endpoint.version, endpoint.created_at, [])
        self._ctx.fleet.endpoint_changed(endpoint.id)
        return answer(self._shown(endpoint), 201)

    async def _update(self, request: web.Request) -> web.Response:
        self.stored(request)  # an unknown id is a 404 whatever the body is
        body = await checked_body(request, bodies.update_endpoint)
        template = self._template(body)

        def change(stored: Endpoint) -> Endpoint:
            return endpoint_rules.patched(stored, body, template, self._records, quota=self._ctx.config.worker_quota)

        before = self.stored(request)
        await self._check_image(change(before), before)
        with self._records.store.transaction():
            stored = self.stored(request)
            endpoint = change(stored)
            diff = releases.difference(stored, endpoint)
            if diff:
                endpoint = replace(endpoint, version=stored.version + 1)
                self._records.add_release(endpoint.id, endpoint.version, self._ctx.clock(), diff)
            self._records.save_endpoint(endpoint, template_id=body.get("templateId") or None)
        if endpoint != stored:
            self._ctx.fleet.endpoint_changed(endpoint.id)
        return answer(self._shown(endpoint))

    async def _delete(self, request: web.Request) -> web.Response:
        """The record goes first, so that nothing starts another worker; then workers end and jobs are cancelled."""
        endpoint = self.stored(request)
        self._records.delete_endpoint(endpoint.id)
        await self._ctx.fleet.endpoint_deleted(endpoint.id)
        return no_content()

    def _shown(self, endpoint: Endpoint) -> Json:
        return endpoint_json(endpoint, self._ctx.base_url)

    def _template(self, body: dict[str, Any]) -> Template | None:
        template_id = body.get("templateId")
        if not template_id:
            return None
        template = self._records.template(template_id) or public_template(template_id)
        if template is None:
            raise not_found("template")
        expanded = {**body, **template.container.overlaid(body, merge_env=True).as_json()}
        if len(json.dumps(expanded)) > MAX_BODY_BYTES:
            raise Problem(413, f"expanded deployment exceeds {MAX_BODY_BYTES} bytes")
        return template

    async def _check_image(self, endpoint: Endpoint, before: Endpoint | None) -> None:
        if before is None or (before.image, before.registry) != (endpoint.image, endpoint.registry):
            await check_image(self._ctx.host, self._records, endpoint.image, endpoint.registry)
