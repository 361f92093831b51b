"""What every container-shaped resource shares: image, command, disk, env, ports, registry credential."""

from pulumi_runpod.declarations._model import Field, Integer, ListOf, MapOf, Text

CUDA = Text(pattern=r"\d+\.\d+", hint='a CUDA version such as "13.0"')


def container(*, image_required: bool) -> tuple[Field, ...]:
    """The container block of a template or an endpoint."""
    return (
        Field(
            "image",
            Text(min_length=1),
            "The image that workers run, best pinned by digest (`repository@sha256:...`)."
            + ("" if image_required else " May come from a template instead."),
            required=image_required,
            ours="range",
            left_out="" if image_required else "refused, unless a template supplies it",
        ),
        Field(
            "args",
            Text(),
            "The command's arguments as one shell string, or the JSON object RunPod stores for `entrypoint` and `cmd`. "
            "An alternative to these two; forms that mean the same command are no change.",
            clear="",
        ),
        Field("entrypoint", ListOf(Text()), "Replaces the image's ENTRYPOINT, one string per word.", clear=[]),
        Field("cmd", ListOf(Text()), "Replaces the image's CMD, one string per word.", clear=[]),
        Field(
            "disk",
            Integer(minimum=1),
            "Size of the container's own disk; it is empty again after each start.",
            server_chosen=True,
            unit="GB",
        ),
        Field(
            "env",
            MapOf(Text(), may_hold_secrets=True),
            "Environment variables. A value may be secret by itself; one that looks like a credential always is. "
            "RunPod returns all of them in clear to anyone who has the key.",
            clear={},
        ),
        Field(
            "ports",
            ListOf(
                Text(pattern=r"\d{1,5}/(http|tcp|udp)", hint='a port and its protocol, such as "8000/http"'),
                ordered=False,
            ),
            "Ports to expose, each `port/protocol`.",
            clear=[],
        ),
        Field(
            "registry",
            Text(min_length=1),
            "Id of the `RegistryCredential` with which the image is pulled.",
            clear=None,
            ours="range",
        ),
    )
