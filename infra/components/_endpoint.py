"""The `VllmEndpoint` component: one template, one endpoint."""

import pulumi

import pulumi_runpod as runpod

from ._arguments import VllmEndpointArgs
from ._endpoint_plan import EndpointPlan, TemplatePlan, plan_vllm_endpoint


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
        self.endpoint = self._endpoint(name, plan.endpoint)
        self.endpoint_id = self.endpoint.id
        self.openai_base_url = self.endpoint.openai_base_url
        self.register_outputs({"endpointId": self.endpoint_id, "openaiBaseUrl": self.openai_base_url})

    def _endpoint(self, name: str, plan: EndpointPlan) -> runpod.Endpoint:
        return runpod.Endpoint(
            name,
            name=name,
            type="QUEUE",
            template=self.template,
            env=dict(plan.env) or None,
            gpu=runpod.GpuArgs(
                pools=list(plan.gpu.pools),
                # Empty lists are left out: RunPod reads both alike, and a preview without them is shorter.
                excluded_types=list(plan.gpu.excluded_types) or None,
                count=plan.gpu.count,
                allowed_cuda_versions=list(plan.gpu.allowed_cuda_versions) or None,
                min_cuda_version=plan.gpu.min_cuda_version,
            ),
            workers=runpod.WorkersArgs(
                min=plan.workers.min, max=plan.workers.max, idle_timeout=plan.workers.idle_timeout
            ),
            scaling=runpod.ScalingArgs(
                type=plan.scaling.type, queue_delay=plan.scaling.queue_delay, request_count=plan.scaling.request_count
            ),
            data_center_ids=list(plan.data_center_ids) or None,
            network_volumes=list(plan.network_volumes) or None,
            timeout=plan.timeout_ms,
            flashboot=plan.flashboot,
            wait_for_ready=plan.wait_for_ready,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _template(self, name: str, plan: TemplatePlan) -> runpod.Template:
        return runpod.Template(
            name,
            name=name,
            image=plan.image,
            env=dict(plan.env) or None,
            disk=plan.disk,
            registry=plan.registry,
            serverless=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
