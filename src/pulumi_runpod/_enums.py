"""Types of fixed words. The words themselves may be given too: `type="QUEUE"`.

Written by `python -m pulumi_runpod.provider.generate` from pulumi_runpod.declarations; do not edit.
"""

from enum import StrEnum


class NetworkVolumeType(StrEnum):
    STANDARD = "STANDARD"
    HIGH_PERFORMANCE = "HIGH_PERFORMANCE"


class TemplateCategory(StrEnum):
    CPU = "CPU"
    NVIDIA = "NVIDIA"
    AMD = "AMD"


class EndpointType(StrEnum):
    QUEUE = "QUEUE"
    LOAD_BALANCER = "LOAD_BALANCER"


class FlashbootMode(StrEnum):
    OFF = "OFF"
    FLASHBOOT = "FLASHBOOT"
    PRIORITY_FLASHBOOT = "PRIORITY_FLASHBOOT"


class BakeSource(StrEnum):
    AUTO = "auto"
    HUB = "hub"
    HF_CACHE = "hf-cache"


class ScalingType(StrEnum):
    QUEUE_DELAY = "QUEUE_DELAY"
    REQUEST_COUNT = "REQUEST_COUNT"


__all__ = [
    "BakeSource",
    "EndpointType",
    "FlashbootMode",
    "NetworkVolumeType",
    "ScalingType",
    "TemplateCategory",
]
