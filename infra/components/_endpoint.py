"""The `VllmEndpoint` component: one template, one endpoint."""

import pulumi

import pulumi_runpod as runpod

from ._arguments import VllmEndpointArgs
from ._endpoint_plan import TemplatePlan, plan_vllm_endpoint


class VllmEndpoint(pulumi.ComponentResource):
    """A model behind an OpenAI-compatible route.

    Example:
        chat = VllmEndpoint("chat")
        pulumi.export("url", chat.openai_base_url)

    Raises InvalidArguments before anything is registered. Calls under `openai_base_url` need the RunPod API key.
    """

    endpoint_id: pulumi.Output[str]
    openai_base_url: pulumi.Output[str]
    template: runpod.Template
    endpoint: runpod.Endpoint

    def __init__(
        self, name: str, args: VllmEndpointArgs | None = None, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        args = args or VllmEndpointArgs()
        plan = plan_vllm_endpoint(args)
        super().__init__("vllm-runpod:index:VllmEndpoint", name, None, opts)
        for warning in plan.warnings:
            pulumi.log.warn(warning, self)
        if args.template is not None:
            self.template = args.template
        else:
            assert plan.template is not None
            self.template = self._template(name, plan.template)
        endpoint = plan.endpoint
        self.endpoint = runpod.Endpoint(
            name,
            name=name,
            type="QUEUE",
            template_id=self.template.id,
            gpu=endpoint.gpu.arguments(),
            workers=dict(endpoint.workers),
            scaling=dict(endpoint.scaling),
            data_center_ids=list(endpoint.data_center_ids),
            network_volumes=list(endpoint.network_volumes),
            timeout=endpoint.timeout_ms,
            flashboot=endpoint.flashboot,
            wait_for_ready=endpoint.wait_for_ready,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.endpoint_id = self.endpoint.id
        self.openai_base_url = self.endpoint.openai_base_url
        self.register_outputs({"endpointId": self.endpoint_id, "openaiBaseUrl": self.openai_base_url})

    def _template(self, name: str, plan: TemplatePlan) -> runpod.Template:
        return runpod.Template(
            name,
            name=name,
            image=plan.image,
            env=dict(plan.env),
            disk=plan.disk,
            registry=plan.registry,
            serverless=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
