"""RegistryCredential: written once, never read back."""

from typing import ClassVar

from pulumi_runpod.declarations import REGISTRY_CREDENTIAL, Resource
from pulumi_runpod.provider.resources.base import Collection, Controller
from runpod_rest import Client


class RegistryCredentialController(Controller):
    declaration: ClassVar[Resource] = REGISTRY_CREDENTIAL
    kind: ClassVar[str] = "registry credential"

    def collection(self, client: Client) -> Collection:
        return client.registries
