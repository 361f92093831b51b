"""NetworkVolume: the declaration says it all, but for where there are volumes."""

from typing import ClassVar

from pulumi_runpod.declarations import NETWORK_VOLUME, Resource
from pulumi_runpod.provider.resources.base import Collection, Controller
from pulumi_runpod.provider.resources.cloud_rules import CloudRules
from runpod_rest import Client


class NetworkVolumeController(Controller):
    declaration: ClassVar[Resource] = NETWORK_VOLUME
    kind: ClassVar[str] = "network volume"

    def collection(self, client: Client) -> Collection:
        return client.network_volumes

    async def cloud_rules(self, rules: CloudRules) -> None:
        await rules.volume_place()
