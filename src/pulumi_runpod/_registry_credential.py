"""A container registry's user name and password, kept by RunPod and used when a worker pulls its image.

Written by `python -m pulumi_runpod.provider.generate` from pulumi_runpod.declarations; do not edit.
"""

import pulumi

from pulumi_runpod import _registration


@pulumi.input_type
class _Properties:
    name: pulumi.Input[str] | None = pulumi.property("name", default=None)
    username: pulumi.Input[str] | None = pulumi.property("username", default=None)
    password: pulumi.Input[str] | None = pulumi.property("password", default=None)


class RegistryCredential(pulumi.CustomResource):
    """A container registry's user name and password, kept by RunPod and used when a worker pulls its image.

    RunPod offers no update: any change makes a new credential, moves its users over, then deletes the old one.

    User name and password are never given back: a change made elsewhere cannot be seen, and an imported credential
    is taken to have the ones the program names.
    """

    pulumi_type = "runpod:index:RegistryCredential"

    name: pulumi.Output[str]
    """Display name."""
    username: pulumi.Output[str]
    """User name at the registry."""
    password: pulumi.Output[str]
    """Password or token at the registry."""

    def __init__(
        self,
        resource_name: str,
        *,
        username: pulumi.Input[str],
        password: pulumi.Input[str],
        name: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """A container registry's user name and password, kept by RunPod and used when a worker pulls its image.

        :param resource_name: The resource's name in this program.
        :param username: User name at the registry.
        :param password: Password or token at the registry.
        :param name: Display name.
        :param opts: Options of the resource.
        """
        properties = _registration.properties(
            _Properties,
            f"RegistryCredential {resource_name!r}",
            username=username,
            password=_registration.secret(password),
            name=name,
        )
        super().__init__(
            self.pulumi_type,
            resource_name,
            properties,
            _registration.options(opts, additional_secret_outputs=["password"]),
        )

    @staticmethod
    def get(
        resource_name: str, id: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None
    ) -> "RegistryCredential":
        """Look at an existing RegistryCredential by its id, without managing it."""
        resource = RegistryCredential.__new__(RegistryCredential)
        options = _registration.options(
            pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(id=id)), additional_secret_outputs=["password"]
        )
        properties = _registration.properties(_Properties)
        pulumi.CustomResource.__init__(resource, RegistryCredential.pulumi_type, resource_name, properties, options)
        return resource


__all__ = [
    "RegistryCredential",
]
