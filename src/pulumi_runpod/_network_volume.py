"""A network volume: storage in one data center that endpoints mount at `/runpod-volume`.

Written by `python -m pulumi_runpod.provider.generate` from pulumi_runpod.declarations; do not edit.
"""

from typing import Literal

import pulumi

from pulumi_runpod import _enums, _registration


@pulumi.input_type
class _Properties:
    name: pulumi.Input[str] | None = pulumi.property("name", default=None)
    size: pulumi.Input[int] | None = pulumi.property("size", default=None)
    data_center: pulumi.Input[str] | None = pulumi.property("dataCenter", default=None)
    type: pulumi.Input[_enums.NetworkVolumeType | Literal["STANDARD", "HIGH_PERFORMANCE"]] | None = pulumi.property(
        "type", default=None
    )


class NetworkVolume(pulumi.CustomResource):
    """A network volume: storage in one data center that endpoints mount at `/runpod-volume`.

    A replacement destroys what is on the volume: set `protect` on every volume that holds anything of value.

    It is billed until it is deleted, also while nothing mounts it.
    """

    pulumi_type = "runpod:index:NetworkVolume"

    name: pulumi.Output[str]
    """Display name; need not be unique."""
    size: pulumi.Output[int]
    """Size. Growing happens in place; a volume cannot shrink, so a smaller size replaces it. In GB. From 10 to 4096.
    """
    data_center: pulumi.Output[str] = pulumi.property("dataCenter")
    """Where the volume lives, for example `EU-RO-1`. `get_data_centers` lists those that have volumes."""
    type: pulumi.Output[str]
    """The storage tier; left out, the data center's primary one. One of `STANDARD`, `HIGH_PERFORMANCE`."""

    def __init__(
        self,
        resource_name: str,
        *,
        size: pulumi.Input[int],
        data_center: pulumi.Input[str],
        name: pulumi.Input[str] | None = None,
        type: pulumi.Input[_enums.NetworkVolumeType | Literal["STANDARD", "HIGH_PERFORMANCE"]] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """A network volume: storage in one data center that endpoints mount at `/runpod-volume`.

        :param resource_name: The resource's name in this program.
        :param size: Size. Growing happens in place; a volume cannot shrink, so a smaller size replaces it. In GB.
            From 10 to 4096.
        :param data_center: Where the volume lives, for example `EU-RO-1`. `get_data_centers` lists those that have
            volumes.
        :param name: Display name; need not be unique.
        :param type: The storage tier; left out, the data center's primary one. One of `STANDARD`,
            `HIGH_PERFORMANCE`.
        :param opts: Options of the resource.
        """
        properties = _registration.properties(
            _Properties,
            f"NetworkVolume {resource_name!r}",
            size=size,
            data_center=data_center,
            name=name,
            type=type,
        )
        super().__init__(self.pulumi_type, resource_name, properties, opts)

    @staticmethod
    def get(resource_name: str, id: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None) -> "NetworkVolume":
        """Look at an existing NetworkVolume by its id, without managing it."""
        resource = NetworkVolume.__new__(NetworkVolume)
        options = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(id=id))
        properties = _registration.properties(_Properties)
        pulumi.CustomResource.__init__(resource, NetworkVolume.pulumi_type, resource_name, properties, options)
        return resource


__all__ = [
    "NetworkVolume",
]
