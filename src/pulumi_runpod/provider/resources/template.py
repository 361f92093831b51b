"""Template: everything changes in place, but for a mount that would have to go."""

from typing import ClassVar

from pulumi_runpod.declarations import TEMPLATE, Resource
from pulumi_runpod.provider.checking import Failure
from pulumi_runpod.provider.errors import ProviderError
from pulumi_runpod.provider.resources.base import Call, Collection, Json
from pulumi_runpod.provider.resources.container import ContainerController, secret_env_keys
from pulumi_runpod.provider.values import UNKNOWN, Properties, Secret, plain
from runpod_rest import Client


class TemplateController(ContainerController):
    declaration: ClassVar[Resource] = TEMPLATE
    kind: ClassVar[str] = "template"

    def collection(self, client: Client) -> Collection:
        return client.templates

    async def rules(self, call: Call, inputs: Properties, failures: list[Failure]) -> Properties:
        inputs = await super().rules(call, inputs, failures)
        if plain(inputs.get("serverless")) is True and plain(inputs.get("mounts")) not in (None, UNKNOWN, {}):
            # runpod-api.md §1.3: serverless templates do not support volume disks.
            failures.append(Failure("mounts", "only pods have one; leave it out, or give serverless=False"))
        return inputs

    async def update(
        self, call: Call, resource_id: str, olds: Properties, old_inputs: Properties, news: Properties
    ) -> Properties:
        if plain(news.get("serverless")) is True and plain(olds.get("mounts")):
            # `{}` in a PATCH means "unchanged" (runpod-api.md §1.3), so nothing can take the mount away.
            reason = (
                "serverless: the template has a mount, which no serverless template can have and RunPod cannot take"
            )
            raise ProviderError(f"{reason} away; make it anew with `pulumi up --replace '{call.urn}'`")
        return await super().update(call, resource_id, olds, old_inputs, news)

    def computed(self, answer: Json, outputs: Properties) -> Properties:
        del answer
        return {**outputs, "secretEnvKeys": secret_env_keys(outputs.get("env"))}

    def planned_computed(self, outputs: Properties, olds: Properties | None) -> Properties:
        outputs = super().planned_computed(outputs, olds)
        env = outputs.get("env")
        whole = env.value if isinstance(env, Secret) else env
        keys = UNKNOWN if whole is UNKNOWN else secret_env_keys(env)
        return {**outputs, "secretEnvKeys": keys}
