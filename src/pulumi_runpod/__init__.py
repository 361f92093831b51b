"""RunPod as Pulumi resources: `import pulumi_runpod as runpod`.

True here: every resource is declared once, in `pulumi_runpod.declarations`, and these classes are written from it.
This half imports only pulumi; the provider behind it is `pulumi_runpod.provider`, a process of its own.

Written by `python -m pulumi_runpod.provider.generate` from pulumi_runpod.declarations; do not edit.
"""

from pulumi_runpod import _outputs as outputs
from pulumi_runpod._baked_image import BakedImage
from pulumi_runpod._endpoint import Endpoint
from pulumi_runpod._enums import (
    BakeSource,
    EndpointType,
    FlashbootMode,
    NetworkVolumeType,
    ScalingType,
    TemplateCategory,
)
from pulumi_runpod._functions import get_data_centers, get_data_centers_output, get_gpus, get_gpus_output
from pulumi_runpod._inputs import (
    CpuArgs,
    CpuArgsDict,
    GpuArgs,
    GpuArgsDict,
    MountsArgs,
    MountsArgsDict,
    PersistentMountArgs,
    PersistentMountArgsDict,
    ScalingArgs,
    ScalingArgsDict,
    WorkersArgs,
    WorkersArgsDict,
)
from pulumi_runpod._network_volume import NetworkVolume
from pulumi_runpod._provider import Provider
from pulumi_runpod._registry_credential import RegistryCredential
from pulumi_runpod._template import Template

__all__ = [
    "BakeSource",
    "BakedImage",
    "CpuArgs",
    "CpuArgsDict",
    "Endpoint",
    "EndpointType",
    "FlashbootMode",
    "GpuArgs",
    "GpuArgsDict",
    "MountsArgs",
    "MountsArgsDict",
    "NetworkVolume",
    "NetworkVolumeType",
    "PersistentMountArgs",
    "PersistentMountArgsDict",
    "Provider",
    "RegistryCredential",
    "ScalingArgs",
    "ScalingArgsDict",
    "ScalingType",
    "Template",
    "TemplateCategory",
    "WorkersArgs",
    "WorkersArgsDict",
    "get_data_centers",
    "get_data_centers_output",
    "get_gpus",
    "get_gpus_output",
    "outputs",
]
