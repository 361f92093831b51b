"""Endpoint: template content merged in, rules between fields, and the wait until it serves."""

from typing import Any, ClassVar

from pulumi_runpod.declarations import ENDPOINT, TEMPLATE_CONTENT, Resource
from pulumi_runpod.provider.checking import Failure, check_fields
from pulumi_runpod.provider.diffing import Changes, changed_roots
from pulumi_runpod.provider.errors import Cancelled, Code, InitFailed, ProviderError, one_line, said
from pulumi_runpod.provider.readiness import NotReady, Readiness
from pulumi_runpod.provider.reading import mark_secrets
from pulumi_runpod.provider.resources.base import Call, Collection, Difference, Json
from pulumi_runpod.provider.resources.cloud_rules import CloudRules
from pulumi_runpod.provider.resources.container import ContainerController
from pulumi_runpod.provider.resources.container_rules import check_container
from pulumi_runpod.provider.resources.endpoint_rules import check_rules, fill_idle_timeout
from pulumi_runpod.provider.template_content import content_of, merge, unknown_content, unresolved
from pulumi_runpod.provider.values import UNKNOWN, Properties, Secret, Value, has_unknown, plain
from runpod_rest import BadRequest, Client, NetworkError, NotFound, RunPodError

_TIMEOUT_S = 20 * 60.0
_RELEASING = {"image", "args", "entrypoint", "cmd", "disk", "env", "ports", "registry", "gpu", "cpu"}
"""A change of these makes a new release (runpod-api.md §1.2, Timing)."""

_ENV = [field for field in ENDPOINT.fields if field.wire == "env"]


class EndpointController(ContainerController):
    declaration: ClassVar[Resource] = ENDPOINT
    kind: ClassVar[str] = "endpoint"

    def collection(self, client: Client) -> Collection:
        return client.endpoints

    # Check and Diff.

    async def prepare(self, call: Call, news: Properties, failures: list[Failure]) -> Properties:
        own = news.get("env")
        merged = await self._with_template(call, _trimmed(news), failures)
        if own is not None and plain(own) is not UNKNOWN and plain(merged.get("env")) is UNKNOWN:
            # Under content that is not known the own variables would be checked only when it is too late.
            check_container(check_fields(_ENV, {"env": own}, failures), failures)
        return merged

    async def _with_template(self, call: Call, news: Properties, failures: list[Failure]) -> Properties:
        template, template_id = news.pop("template", None), news.get("templateId")
        if template is not None and template_id is not None:
            failures.append(Failure("templateId", "excludes template; give one of them"))
        if template is not None:
            content = content_of(template)
            mistakes: list[Failure] = []
            check_fields(TEMPLATE_CONTENT.fields, content, mistakes, "template")
            if mistakes:
                failures += mistakes
                return merge(news, unknown_content())
            news["templateId"] = content.get("id")
            if content.get("serverless") is False:
                reason = "is a template for pods; give the Template serverless=True"
                failures.append(Failure("template", reason))
            return merge(news, content)
        return await self._with_template_of_id(call, news, failures)

    async def _with_template_of_id(self, call: Call, news: Properties, failures: list[Failure]) -> Properties:
        template_id = plain(news.get("templateId"))
        if template_id is None:
            return news
        if template_id is UNKNOWN:
            return merge(news, unknown_content())
        if not isinstance(template_id, str) or not template_id:
            return merge(news, unknown_content())  # a mistake that the declaration reports
        try:
            content = await self._fetch_template(template_id)
        except NotFound:
            failures.append(Failure("templateId", f"names the template {template_id}, which does not exist"))
            return merge(news, unknown_content())
        except ProviderError as error:
            await self.session.engine.warning(call.urn, f"the content of template {template_id} is unknown: {error}")
            return {**news, "template": {"id": template_id}}
        except NetworkError as error:
            reason = one_line(str(error))
            await self.session.engine.warning(call.urn, f"the content of template {template_id} is unknown: {reason}")
            return {**news, "template": {"id": template_id}}
        if content.get("serverless") is False:
            failures.append(Failure("templateId", f"names the template {template_id}, which is for pods"))
        return merge(news, content)

    async def _fetch_template(self, template_id: str) -> Json:
        client = await self.session.client()
        return await client.templates.look_up(template_id)

    async def rules(self, call: Call, inputs: Properties, failures: list[Failure]) -> Properties:
        inputs = await super().rules(call, inputs, failures)
        inputs = fill_idle_timeout(inputs)
        check_rules(inputs, failures)
        pools = (plain(inputs.get("gpu")) or {}).get("pools") if isinstance(plain(inputs.get("gpu")), dict) else None
        if isinstance(pools, list) and len(pools) > 3:
            # RunPod takes more without complaint, and such workers initialise for ever (runpod-api-live.md §3).
            await self.session.engine.warning(
                call.urn, f"gpu.pools names {len(pools)} pools; with more than 3 RunPod leaves workers initializing"
            )
        return inputs

    async def cloud_rules(self, rules: CloudRules) -> None:
        await super().cloud_rules(rules)
        await rules.gpu()
        await rules.cpu()
        await rules.data_centers()
        await rules.volumes()

    def diff(self, olds: Properties, old_inputs: Properties, news: Properties) -> Difference:
        if unresolved(news):
            news = merge(news, unknown_content())
        return super().diff(olds, old_inputs, news)

    def planned_outputs(self, inputs: Properties, olds: Properties | None) -> Properties:
        if unresolved(inputs):
            inputs = merge(inputs, unknown_content())
        return super().planned_outputs(inputs, olds)

    def planned_computed(self, outputs: Properties, olds: Properties | None) -> Properties:
        outputs = super().planned_computed(outputs, olds)
        planned = _with_memory(outputs.get("cpu"), plain((olds or {}).get("cpu")))
        return outputs if planned is None else {**outputs, "cpu": planned}

    def computed(self, answer: Json, outputs: Properties) -> Properties:
        if answer.get("type") != "QUEUE":
            return {**outputs, "openaiBaseUrl": ""}
        return {**outputs, "openaiBaseUrl": f"{self.session.settings.jobs_url}/{answer['id']}/openai/v1"}

    # Create, Read, Update.

    async def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        resolved = await self._resolved(inputs)
        deadline = self._deadline(call)
        try:
            endpoint_id, outputs = await super().create(call, resolved)
        except BadRequest as error:
            raise _explained(error) from error
        await self._wait(call, endpoint_id, outputs, resolved, deadline, version=None)
        return endpoint_id, outputs

    async def update(
        self, call: Call, resource_id: str, olds: Properties, old_inputs: Properties, news: Properties
    ) -> Properties:
        resolved = await self._resolved(news)
        deadline = self._deadline(call)
        changes = self.diff(olds, old_inputs, resolved).changes
        body = self.update_body(changes, resolved)
        waits = self._waits(resolved)
        before = await self._version(resource_id) if waits and body else None
        try:
            answer = await self.patch(resource_id, body)
        except BadRequest as error:
            raise _explained(error) from error
        outputs = self.outputs(answer, resolved, olds)
        if waits:
            expects_release = before is not None and bool(changed_roots(changes) & _RELEASING)
            version = await self._version_after(resource_id, before if expects_release else None)
            await self._wait(call, resource_id, outputs, resolved, deadline, version=version)
        return outputs

    async def _resolved(self, inputs: Properties) -> Properties:
        """Inputs with the template's content, where Check could not get it."""
        if not unresolved(inputs):
            return inputs
        failures: list[Failure] = []
        content = await self._fetch_template(str(plain(inputs["templateId"])))
        own = {key: value for key, value in inputs.items() if key != "template"}
        resolved = mark_secrets(ENDPOINT.fields, fill_idle_timeout(merge(own, content)))
        check_rules(resolved, failures)
        if failures:
            raise ProviderError("; ".join(f"{f.path} {f.reason}" for f in failures), Code.INVALID_ARGUMENT)
        return resolved

    def create_body(self, inputs: Properties) -> Json:
        body = super().create_body(inputs)
        for key in ("ports", "networkVolumes", "dataCenterIds", "env"):
            if not body.get(key):
                body.pop(key, None)
        return _tidy(body)

    def update_body(self, changes: Changes, news: Properties) -> Json:
        body = super().update_body(changes, news)
        for key in ("gpu", "workers"):
            if key in body:
                body[key] = _changed_members(key, changes, plain(news.get(key)) or {})
        return _tidy({key: value for key, value in body.items() if value != {} or key == "env"})

    # Readiness.

    def _deadline(self, call: Call) -> float:
        return self.session.clock() + (call.timeout_s or _TIMEOUT_S)

    def _waits(self, inputs: Properties) -> bool:
        return plain(inputs.get("waitForReady")) is not False

    async def _version(self, endpoint_id: str) -> int | None:
        client = await self.session.client()
        version = (await client.endpoint_releases(endpoint_id)).get("endpointVersion")
        return version if isinstance(version, int) else None

    async def _version_after(self, endpoint_id: str, before: int | None) -> int | None:
        """The version that has to answer. After a change that makes a release, wait a little for it to show."""
        for _ in range(5):
            version = await self._version(endpoint_id)
            if before is None or version is None or version > before:
                return version
            await self.session.pause(self.session.poll_s)
        return version

    async def _wait(
        self,
        call: Call,
        endpoint_id: str,
        outputs: Properties,
        inputs: Properties,
        deadline: float,
        *,
        version: int | None,
    ) -> None:
        if not self._waits(inputs):
            return
        workers = plain(outputs.get("workers")) or {}
        if workers.get("max") == 0:
            await self.session.engine.warning(call.urn, "workers.max is 0, so nothing was asked of the endpoint")
            return
        readiness = Readiness(
            session=self.session,
            urn=call.urn,
            endpoint_id=endpoint_id,
            endpoint_type=str(plain(outputs.get("type"))),
            request_urls=plain(outputs.get("requestUrls")) or {},
            probe=plain(inputs.get("readyProbe")),
            deadline=deadline,
            version=version,
        )
        try:
            await readiness.wait()
        except NotReady as error:
            raise InitFailed(endpoint_id, outputs, inputs, error.reasons) from error
        except Cancelled as error:
            reason = "cancelled while waiting until it serves; the next `up` goes on waiting"
            raise InitFailed(endpoint_id, outputs, inputs, [reason]) from error
        except (RunPodError, ProviderError) as error:
            why = said(error) if isinstance(error, RunPodError) else str(error)
            raise InitFailed(endpoint_id, outputs, inputs, [f"cannot tell whether it serves: {why}"]) from error


def _trimmed(inputs: Properties) -> Properties:
    """`gpu.excludedTypes` without white space around the names: RunPod stores them so, and that is no drift."""
    gpu = inputs.get("gpu")
    members = gpu.value if isinstance(gpu, Secret) else gpu
    if not isinstance(members, dict) or not isinstance(members.get("excludedTypes"), list):
        return inputs
    excluded = members["excludedTypes"]
    trimmed = {**members, "excludedTypes": [item.strip() if isinstance(item, str) else item for item in excluded]}
    return {**inputs, "gpu": Secret(trimmed) if isinstance(gpu, Secret) else trimmed}


def _with_memory(cpu: Value, before: Value) -> Value:
    """The CPU choices as RunPod will answer them: with the memory, known where the choice was there before."""
    if isinstance(cpu, Secret):
        return Secret(_with_memory(cpu.value, before))
    if not isinstance(cpu, list):
        return cpu
    known = {
        (entry.get("id"), entry.get("vcpuCount")): entry.get("memory", UNKNOWN)
        for entry in (before if isinstance(before, list) else [])
        if isinstance(entry, dict) and not has_unknown(entry)
    }
    return [
        {**entry, "memory": known.get((plain(entry.get("id")), plain(entry.get("vcpuCount"))), UNKNOWN)}
        if isinstance(entry, dict)
        else entry
        for entry in cpu
    ]


def _changed_members(key: str, changes: Changes, news: Json) -> Json:
    """Only the members of `gpu` or `workers` that changed.

    `pools` and `excludedTypes` go together: a PATCH with pools alone clears the exclusions, and exclusions alone are
    refused. A CUDA field that gives way to the other one is cleared in the same PATCH (runpod-api.md §1.2).
    """
    prefix = f"{key}."
    if any(path == key for path in changes):
        return news
    members = {path[len(prefix) :].split("[")[0].split(".")[0] for path in changes if path.startswith(prefix)}
    if members & {"pools", "excludedTypes"}:
        members |= {"pools", "excludedTypes"}
    cleared: dict[str, Any] = {"allowedCudaVersions": [], "minCudaVersion": ""}
    changed: Json = {}
    for member in members:
        value = news.get(member)
        if value:
            changed[member] = value
        elif member in cleared:
            changed[member] = cleared[member]
        elif value is not None and member != "excludedTypes":
            changed[member] = value
    return changed


def _tidy(body: Json) -> Json:
    """Leave out members of nested objects that say nothing."""
    gpu = body.get("gpu")
    if isinstance(gpu, dict) and gpu.get("excludedTypes") == []:
        body = {**body, "gpu": {key: value for key, value in gpu.items() if key != "excludedTypes"}}
    return body


def _explained(error: BadRequest) -> Exception:
    """RunPod's 400 has no machine code; the account's worker quota is common enough to get its own remedy."""
    words = said(error)
    lowered = words.lower()
    if "quota" in lowered and "worker" in lowered:
        return ProviderError(
            f"workers.max: it is above what the account has left of its worker quota; lower it here or on other "
            f"endpoints, idle ones count too. RunPod says: {words}",
            Code.RESOURCE_EXHAUSTED,
        )
    return error
