"""Container settings under a name: image, command, disk, environment, ports, registry credential.

Written by `python -m pulumi_runpod.provider.generate` from pulumi_runpod.declarations; do not edit.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import pulumi

from pulumi_runpod import _enums, _inputs, _outputs, _registration


@pulumi.input_type
class _Properties:
    name: pulumi.Input[str] | None = pulumi.property("name", default=None)
    image: pulumi.Input[str] | None = pulumi.property("image", default=None)
    args: pulumi.Input[str] | None = pulumi.property("args", default=None)
    entrypoint: pulumi.Input[Sequence[pulumi.Input[str]]] | None = pulumi.property("entrypoint", default=None)
    cmd: pulumi.Input[Sequence[pulumi.Input[str]]] | None = pulumi.property("cmd", default=None)
    disk: pulumi.Input[int] | None = pulumi.property("disk", default=None)
    env: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = pulumi.property("env", default=None)
    ports: pulumi.Input[Sequence[pulumi.Input[str]]] | None = pulumi.property("ports", default=None)
    registry: pulumi.Input[str] | None = pulumi.property("registry", default=None)
    serverless: pulumi.Input[bool] | None = pulumi.property("serverless", default=None)
    public: pulumi.Input[bool] | None = pulumi.property("public", default=None)
    category: pulumi.Input[_enums.TemplateCategory | Literal["CPU", "NVIDIA", "AMD"]] | None = pulumi.property(
        "category", default=None
    )
    start_ssh: pulumi.Input[bool] | None = pulumi.property("startSsh", default=None)
    start_jupyter: pulumi.Input[bool] | None = pulumi.property("startJupyter", default=None)
    allowed_cuda_versions: pulumi.Input[Sequence[pulumi.Input[str]]] | None = pulumi.property(
        "allowedCudaVersions", default=None
    )
    mounts: pulumi.Input[_inputs.MountsArgs] | None = pulumi.property("mounts", default=None)
    secret_env_keys: pulumi.Input[Sequence[pulumi.Input[str]]] | None = pulumi.property("secretEnvKeys", default=None)


class Template(pulumi.CustomResource):
    """Container settings under a name: image, command, disk, environment, ports, registry credential.

    RunPod copies a template into an endpoint once and keeps no link. Pass the resource itself as
    `Endpoint(template=...)`: a change of the template then shows in the same preview as an update of the endpoint,
    and `up` makes both.

    RunPod refuses to delete a template for about two minutes after its last use; the provider goes on trying.
    """

    pulumi_type = "runpod:index:Template"

    name: pulumi.Output[str]
    """Display name."""
    image: pulumi.Output[str]
    """The image that workers run, best pinned by digest (`repository@sha256:...`)."""
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
    serverless: pulumi.Output[bool]
    """Whether it is for endpoints (true) or for pods. RunPod's own default is false."""
    public: pulumi.Output[bool]
    """Whether everybody may use it."""
    category: pulumi.Output[str]
    """How the console groups it; decides nothing else. One of `CPU`, `NVIDIA`, `AMD`."""
    start_ssh: pulumi.Output[bool] = pulumi.property("startSsh")
    """Pods only: start an SSH server."""
    start_jupyter: pulumi.Output[bool] = pulumi.property("startJupyter")
    """Pods only: start Jupyter."""
    allowed_cuda_versions: pulumi.Output[Sequence[str]] = pulumi.property("allowedCudaVersions")
    """CUDA versions a host may have; empty means any."""
    mounts: pulumi.Output[_outputs.Mounts | None]
    """Pods only: the volume disk."""
    secret_env_keys: pulumi.Output[Sequence[str]] = pulumi.property("secretEnvKeys")
    """Which names in `env` hold secret values. An endpoint that is made from the template keeps the others readable in
    previews.
    """

    def __init__(
        self,
        resource_name: str,
        *,
        image: pulumi.Input[str],
        name: pulumi.Input[str] | None = None,
        args: pulumi.Input[str] | None = None,
        entrypoint: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None,
        cmd: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None,
        disk: pulumi.Input[int] | None = None,
        env: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None,
        ports: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None,
        registry: pulumi.Input[str] | None = None,
        serverless: pulumi.Input[bool] | None = None,
        public: pulumi.Input[bool] | None = None,
        category: pulumi.Input[_enums.TemplateCategory | Literal["CPU", "NVIDIA", "AMD"]] | None = None,
        start_ssh: pulumi.Input[bool] | None = None,
        start_jupyter: pulumi.Input[bool] | None = None,
        allowed_cuda_versions: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None,
        mounts: pulumi.Input[_inputs.MountsArgs | _inputs.MountsArgsDict] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Container settings under a name: image, command, disk, environment, ports, registry credential.

        :param resource_name: The resource's name in this program.
        :param image: The image that workers run, best pinned by digest (`repository@sha256:...`).
        :param name: Display name.
        :param args: The command's arguments as one shell string, or the JSON object RunPod stores for `entrypoint`
            and `cmd`. An alternative to these two; forms that mean the same command are no change.
        :param entrypoint: Replaces the image's ENTRYPOINT, one string per word.
        :param cmd: Replaces the image's CMD, one string per word.
        :param disk: Size of the container's own disk; it is empty again after each start. In GB. At least 1.
        :param env: Environment variables. A value may be secret by itself; one that looks like a credential always
            is. RunPod returns all of them in clear to anyone who has the key.
        :param ports: Ports to expose, each `port/protocol`.
        :param registry: Id of the `RegistryCredential` with which the image is pulled.
        :param serverless: Whether it is for endpoints (true) or for pods. RunPod's own default is false.
        :param public: Whether everybody may use it.
        :param category: How the console groups it; decides nothing else. One of `CPU`, `NVIDIA`, `AMD`.
        :param start_ssh: Pods only: start an SSH server.
        :param start_jupyter: Pods only: start Jupyter.
        :param allowed_cuda_versions: CUDA versions a host may have; empty means any.
        :param mounts: Pods only: the volume disk.
        :param opts: Options of the resource.
        """
        properties = _registration.properties(
            _Properties,
            f"Template {resource_name!r}",
            image=image,
            name=name,
            args=args,
            entrypoint=entrypoint,
            cmd=cmd,
            disk=disk,
            env=env,
            ports=ports,
            registry=registry,
            serverless=serverless,
            public=public,
            category=category,
            start_ssh=start_ssh,
            start_jupyter=start_jupyter,
            allowed_cuda_versions=allowed_cuda_versions,
            mounts=mounts,
        )
        super().__init__(self.pulumi_type, resource_name, properties, opts)
        _registration.remember(self)

    @staticmethod
    def get(resource_name: str, id: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None) -> "Template":
        """Look at an existing Template by its id, without managing it."""
        resource = Template.__new__(Template)
        options = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(id=id))
        properties = _registration.properties(_Properties)
        pulumi.CustomResource.__init__(resource, Template.pulumi_type, resource_name, properties, options)
        _registration.remember(resource)
        return resource


__all__ = [
    "Template",
]
