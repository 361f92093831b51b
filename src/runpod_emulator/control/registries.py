"""`/v2/registries`: credentials for private images (runpod-api.md §1.5). Username and password are write-only."""

from dataclasses import replace

from aiohttp import web

from runpod_emulator.context import Context
from runpod_emulator.control import bodies
from runpod_emulator.control.http import answer, checked_body, no_content
from runpod_emulator.control.problem import bad_request, not_found
from runpod_emulator.control.records import Records, Registry, new_id
from runpod_emulator.control.views import registry_json


class RegistryRoutes:
    def __init__(self, ctx: Context, records: Records) -> None:
        self._ctx, self._records = ctx, records

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/v2/registries", self._list, allow_head=False)
        app.router.add_post("/v2/registries", self._create)
        app.router.add_get("/v2/registries/{id}", self._get, allow_head=False)
        app.router.add_delete("/v2/registries/{id}", self._delete)

    def _stored(self, request: web.Request) -> Registry:
        registry = self._records.registry(request.match_info["id"])
        if registry is None:
            raise not_found("registry credential")
        return registry

    async def _list(self, _request: web.Request) -> web.Response:
        return answer({"registries": [registry_json(registry) for registry in self._records.registries()]})

    async def _get(self, request: web.Request) -> web.Response:
        return answer(registry_json(self._stored(request)))

    async def _create(self, request: web.Request) -> web.Response:
        body = await checked_body(request, bodies.create_registry)
        registry = Registry(new_id(25), body["name"], body["username"], body["password"])
        self._records.save_registry(registry)
        return answer(registry_json(registry), 201)

    async def _delete(self, request: web.Request) -> web.Response:
        """Only pods hold a credential back (§1.5). Templates lose the reference silently; so do endpoints, each of
        which keeps its settings in a private template (our assumption)."""
        registry = self._stored(request)
        users = [pod.id for pod in self._records.pods() if pod.container.registry == registry.id]
        if users:
            raise bad_request(f"registry credential is in use by pod {', '.join(users)}")
        with self._records.store.transaction():
            for template in self._records.templates():
                if template.container.registry == registry.id:
                    bare = replace(template.container, registry=None)
                    self._records.save_template(replace(template, container=bare))
            for endpoint in self._records.endpoints():
                if endpoint.registry == registry.id:
                    self._records.save_endpoint(replace(endpoint, registry=None))
            self._records.delete_registry(registry.id)
        return no_content()
