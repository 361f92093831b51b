"""One controller per kind of resource; `controllers` gives them by type token."""

from pulumi_runpod.provider.lookups import Lookups
from pulumi_runpod.provider.resources.baked_image import BakedImageController
from pulumi_runpod.provider.resources.base import Call, Controller, Difference
from pulumi_runpod.provider.resources.endpoint import EndpointController
from pulumi_runpod.provider.resources.network_volume import NetworkVolumeController
from pulumi_runpod.provider.resources.registry_credential import RegistryCredentialController
from pulumi_runpod.provider.resources.template import TemplateController
from pulumi_runpod.provider.session import Session

_KINDS: tuple[type[Controller], ...] = (
    NetworkVolumeController,
    TemplateController,
    RegistryCredentialController,
    EndpointController,
    BakedImageController,
)


def controllers(session: Session) -> dict[str, Controller]:
    """A controller for each type token the provider knows."""
    lookups = Lookups(session)
    return {kind.declaration.token: kind(session, lookups) for kind in _KINDS}


__all__ = ["Call", "Controller", "Difference", "controllers"]
