"""What each resource is, said once.

The Python classes, schema.json, the docs pages, validation in Check, the replace/update/clear table of Diff and the
secret marks all follow from here; no other file lists fields. Imports nothing, not even pulumi: both the generator
and the provider read it, users' programs never load it.
"""

from pulumi_runpod.declarations._model import (
    NOT_CLEARABLE,
    Field,
    Flag,
    Function,
    Integer,
    Json,
    ListOf,
    MapOf,
    Number,
    Object,
    Replace,
    Resource,
    Text,
    Type,
    camel,
    constant,
    nothing,
)
from pulumi_runpod.declarations.baked_image import BAKED_IMAGE
from pulumi_runpod.declarations.endpoint import ENDPOINT, TEMPLATE_CONTENT
from pulumi_runpod.declarations.functions import GET_DATA_CENTERS, GET_GPUS
from pulumi_runpod.declarations.network_volume import NETWORK_VOLUME
from pulumi_runpod.declarations.provider_config import DEFAULT_API_URL, DEFAULT_JOBS_URL, PROVIDER_CONFIG
from pulumi_runpod.declarations.registry_credential import REGISTRY_CREDENTIAL
from pulumi_runpod.declarations.template import TEMPLATE

CLOUD_RESOURCES: tuple[Resource, ...] = (NETWORK_VOLUME, TEMPLATE, REGISTRY_CREDENTIAL, ENDPOINT)
"""What RunPod itself keeps."""
RESOURCES: tuple[Resource, ...] = (*CLOUD_RESOURCES, BAKED_IMAGE)
FUNCTIONS: tuple[Function, ...] = (GET_GPUS, GET_DATA_CENTERS)

__all__ = [
    "BAKED_IMAGE",
    "CLOUD_RESOURCES",
    "DEFAULT_API_URL",
    "DEFAULT_JOBS_URL",
    "ENDPOINT",
    "FUNCTIONS",
    "GET_DATA_CENTERS",
    "GET_GPUS",
    "NETWORK_VOLUME",
    "NOT_CLEARABLE",
    "PROVIDER_CONFIG",
    "REGISTRY_CREDENTIAL",
    "RESOURCES",
    "TEMPLATE",
    "TEMPLATE_CONTENT",
    "Field",
    "Flag",
    "Function",
    "Integer",
    "Json",
    "ListOf",
    "MapOf",
    "Number",
    "Object",
    "Replace",
    "Resource",
    "Text",
    "Type",
    "camel",
    "constant",
    "nothing",
]
