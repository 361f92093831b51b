"""A serverless endpoint: workers that RunPod starts on demand, behind a job queue or a load balancer.

Written by `python -m pulumi_runpod.provider.generate` from pulumi_runpod.declarations; do not edit.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import pulumi

from pulumi_runpod import _enums, _inputs, _outputs, _registration
from pulumi_runpod._template import Template


@pulumi.input_type
class _Properties:
    name: pulumi.Input[str] | None = pulumi.property("name", default=None)
    type: pulumi.Input[_enums.EndpointType | Literal["QUEUE", "LOAD_BALANCER"]] | None = pulumi.property(
        "type", default=None
    )
    template: pulumi.Input[Any] | None = pulumi.property("template", default=None)
    template_id: pulumi.Input[str] | None = pulumi.property("templateId", default=None)
    image: pulumi.Input[str] | None = pulumi.property("image", default=None)
    args: pulumi.Input[str] | None = pulumi.property("args", default=None)
    entrypoint: pulumi.Input[Sequence[pulumi.Input[str]]] | None = pulumi.property("entrypoint", default=None)
    cmd: pulumi.Input[Sequence[pulumi.Input[str]]] | None = pulumi.property("cmd", default=None)
    disk: pulumi.Input[int] | None = pulumi.property("disk", default=None)
    env: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = pulumi.property("env", default=None)
    ports: pulumi.Input[Sequence[pulumi.Input[str]]] | None = pulumi.property("ports", default=None)
    registry: pulumi.Input[str] | None = pulumi.property("registry", default=None)
    gpu: pulumi.Input[_inputs.GpuArgs] | None = pulumi.property("gpu", default=None)
    cpu: pulumi.Input[Sequence[pulumi.Input[_inputs.CpuArgs]]] | None = pulumi.property("cpu", default=None)
    workers: pulumi.Input[_inputs.WorkersArgs] | None = pulumi.property("workers", default=None)
    scaling: pulumi.Input[_inputs.ScalingArgs] | None = pulumi.property("scaling", default=None)
    data_center_ids: pulumi.Input[Sequence[pulumi.Input[str]]] | None = pulumi.property("dataCenterIds", default=None)
    network_volumes: pulumi.Input[Sequence[pulumi.Input[str]]] | None = pulumi.property("networkVolumes", default=None)
    timeout: pulumi.Input[int] | None = pulumi.property("timeout", default=None)
    flashboot: pulumi.Input[_enums.FlashbootMode | Literal["OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT"]] | None = (
        pulumi.property("flashboot", default=None)
    )
    wait_for_ready: pulumi.Input[bool] | None = pulumi.property("waitForReady", default=None)
    ready_probe: pulumi.Input[Any] | None = pulumi.property("readyProbe", default=None)
    request_urls: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = pulumi.property("requestUrls", default=None)
    openai_base_url: pulumi.Input[str] | None = pulumi.property("openaiBaseUrl", default=None)
    created_at: pulumi.Input[str] | None = pulumi.property("createdAt", default=None)


class Endpoint(pulumi.CustomResource):
    """A serverless endpoint: workers that RunPod starts on demand, behind a job queue or a load balancer.

    `up` sends the ready probe through the job API and waits for the answer (20 minutes unless `custom_timeouts`
    says otherwise). After a change that makes a new release, a worker of that release has to answer. An endpoint
    that never gets there stays in the state with the reasons, and the next `up` tries again.

    RunPod lowers `workers.max` by itself after days without requests; `refresh` shows it and `up` restores it.

    A template's id is never sent to RunPod: the provider merges the content itself.
    """

    pulumi_type = "runpod:index:Endpoint"

    name: pulumi.Output[str]
    """Display name."""
    type: pulumi.Output[str]
    """Whether requests go through a job queue or straight to the workers. One of `QUEUE`, `LOAD_BALANCER`."""
    image: pulumi.Output[str]
    """The image that workers run, best pinned by digest (`repository@sha256:...`). May come from a template instead.
    """
    args: pulumi.Output[str]
    """The command's arguments as one shell string, or the JSON object RunPod stores for `entrypoint` and `cmd`. An
    alternative to these two; forms that mean the same command are no change.
    """
    entrypoint: pulumi.Output[Sequence[str]]
    """Replaces the image's ENTRYPOINT, one string per word."""
    cmd: pulumi.Output[Sequence[str]]
    """Replaces the image's CMD, one string per word."""
    disk: pulumi.Output[int]
    """Size of the container's own disk; it is empty again after each start. In GB. At least 1."""
    env: pulumi.Output[Mapping[str, str]]
    """Environment variables. A value may be secret by itself; one that looks like a credential always is. RunPod
    returns all of them in clear to anyone who has the key.
    """
    ports: pulumi.Output[Sequence[str]]
    """Ports to expose, each `port/protocol`."""
    registry: pulumi.Output[str]
    """Id of the `RegistryCredential` with which the image is pulled."""
    gpu: pulumi.Output[_outputs.Gpu | None]
    """GPUs of the workers. Exactly one of `gpu` and `cpu`."""
    cpu: pulumi.Output[Sequence[_outputs.Cpu] | None]
    """Eligible CPU configurations. Exactly one of `gpu` and `cpu`."""
    workers: pulumi.Output[_outputs.Workers]
    """Limits of the worker count."""
    scaling: pulumi.Output[_outputs.Scaling]
    """The scaler."""
    data_center_ids: pulumi.Output[Sequence[str]] = pulumi.property("dataCenterIds")
    """Data centers in which workers may run; left out, any."""
    network_volumes: pulumi.Output[Sequence[str]] = pulumi.property("networkVolumes")
    """Ids of network volumes, at most one per data center; each worker sees the local one at /runpod-volume."""
    timeout: pulumi.Output[int]
    """Longest run of one job; 0 means no limit. Always sent: RunPod takes a missing one as 0. In ms. At least 0."""
    flashboot: pulumi.Output[str]
    """Whether RunPod keeps a snapshot of a stopped worker for a faster start. One of `OFF`, `FLASHBOOT`,
    `PRIORITY_FLASHBOOT`.
    """
    request_urls: pulumi.Output[Mapping[str, str]] = pulumi.property("requestUrls")
    """URLs of the endpoint's operations, by name."""
    openai_base_url: pulumi.Output[str] = pulumi.property("openaiBaseUrl")
    """Base URL for OpenAI clients; only a QUEUE has one."""
    created_at: pulumi.Output[str] = pulumi.property("createdAt")
    """When it was made (RFC 3339)."""

    def __init__(
        self,
        resource_name: str,
        *,
        type: pulumi.Input[_enums.EndpointType | Literal["QUEUE", "LOAD_BALANCER"]],
        scaling: pulumi.Input[_inputs.ScalingArgs | _inputs.ScalingArgsDict],
        name: pulumi.Input[str] | None = None,
        template_id: pulumi.Input[str] | None = None,
        image: pulumi.Input[str] | None = None,
        args: pulumi.Input[str] | None = None,
        entrypoint: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None,
        cmd: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None,
        disk: pulumi.Input[int] | None = None,
        env: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        ports: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None,
        registry: pulumi.Input[str] | None = None,
        gpu: pulumi.Input[_inputs.GpuArgs | _inputs.GpuArgsDict] | None = None,
        cpu: pulumi.Input[Sequence[pulumi.Input[_inputs.CpuArgs | _inputs.CpuArgsDict]]] | None = None,
        workers: pulumi.Input[_inputs.WorkersArgs | _inputs.WorkersArgsDict] | None = None,
        data_center_ids: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None,
        network_volumes: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None,
        timeout: pulumi.Input[int] | None = None,
        flashboot: pulumi.Input[_enums.FlashbootMode | Literal["OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT"]] | None = None,
        wait_for_ready: pulumi.Input[bool] | None = None,
        ready_probe: pulumi.Input[Any] | None = None,
        template: Template | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """A serverless endpoint: workers that RunPod starts on demand, behind a job queue or a load balancer.

        :param resource_name: The resource's name in this program.
        :param type: Whether requests go through a job queue or straight to the workers. One of `QUEUE`,
            `LOAD_BALANCER`.
        :param scaling: The scaler.
        :param name: Display name.
        :param template_id: Id of a template that this program does not manage; its content is read whenever the
            program runs. Excludes `template`.
        :param image: The image that workers run, best pinned by digest (`repository@sha256:...`). May come from a
            template instead.
        :param args: The command's arguments as one shell string, or the JSON object RunPod stores for `entrypoint`
            and `cmd`. An alternative to these two; forms that mean the same command are no change.
        :param entrypoint: Replaces the image's ENTRYPOINT, one string per word.
        :param cmd: Replaces the image's CMD, one string per word.
        :param disk: Size of the container's own disk; it is empty again after each start. In GB. At least 1.
        :param env: Environment variables. A value may be secret by itself; one that looks like a credential always
            is. RunPod returns all of them in clear to anyone who has the key.
        :param ports: Ports to expose, each `port/protocol`.
        :param registry: Id of the `RegistryCredential` with which the image is pulled.
        :param gpu: GPUs of the workers. Exactly one of `gpu` and `cpu`.
        :param cpu: Eligible CPU configurations. Exactly one of `gpu` and `cpu`.
        :param workers: Limits of the worker count.
        :param data_center_ids: Data centers in which workers may run; left out, any.
        :param network_volumes: Ids of network volumes, at most one per data center; each worker sees the local one
            at /runpod-volume.
        :param timeout: Longest run of one job; 0 means no limit. Always sent: RunPod takes a missing one as 0. In
            ms. At least 0.
        :param flashboot: Whether RunPod keeps a snapshot of a stopped worker for a faster start. One of `OFF`,
            `FLASHBOOT`, `PRIORITY_FLASHBOOT`.
        :param wait_for_ready: Whether `up` waits until a created or changed endpoint answers a request.
        :param ready_probe: The request that proves it. QUEUE: a job input, by default `{"openai_route":
            "/v1/models"}`. LOAD_BALANCER: `{"path": "/..."}`, by default `/ping`.
        :param template: A `Template` whose content the endpoint takes. The endpoint's own fields win, `env` key by
            key.
        :param opts: Options of the resource.
        """
        if template is None and (known := _registration.owner_of(template_id)) is not None:
            # `template_id=template.id` means the same as `template=template`.
            template, template_id = cast(Template, known), None
        if template is not None:
            _registration.a_template(template, Template, f"Endpoint {resource_name!r}")
        properties = _registration.properties(
            _Properties,
            f"Endpoint {resource_name!r}",
            type=type,
            scaling=scaling,
            name=name,
            template_id=template_id,
            image=image,
            args=args,
            entrypoint=entrypoint,
            cmd=cmd,
            disk=disk,
            env=env,
            ports=ports,
            registry=registry,
            gpu=gpu,
            cpu=cpu,
            workers=workers,
            data_center_ids=data_center_ids,
            network_volumes=network_volumes,
            timeout=timeout,
            flashboot=flashboot,
            wait_for_ready=wait_for_ready,
            ready_probe=ready_probe,
            template=None if template is None else _content(template),
        )
        super().__init__(self.pulumi_type, resource_name, properties, opts)

    @staticmethod
    def get(resource_name: str, id: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None) -> "Endpoint":
        """Look at an existing Endpoint by its id, without managing it."""
        resource = Endpoint.__new__(Endpoint)
        options = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(id=id))
        properties = _registration.properties(_Properties)
        pulumi.CustomResource.__init__(resource, Endpoint.pulumi_type, resource_name, properties, options)
        return resource


def _content(template: Template) -> dict[str, Any]:
    """The template's outputs travel with the endpoint, so that a change shows in the same preview."""
    return {
        "id": template.id,
        "image": template.image,
        "args": template.args,
        "entrypoint": template.entrypoint,
        "cmd": template.cmd,
        "disk": template.disk,
        "env": template.env,
        "ports": template.ports,
        "registry": template.registry,
        "allowedCudaVersions": template.allowed_cuda_versions,
        "serverless": template.serverless,
        "secretEnvKeys": template.secret_env_keys,
    }


__all__ = [
    "Endpoint",
]
