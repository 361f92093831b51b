"""Nested outputs, and what the functions return.

Written by `python -m pulumi_runpod.provider.generate` from pulumi_runpod.declarations; do not edit.
"""

from collections.abc import Sequence
from typing import Any

import pulumi


@pulumi.output_type
class PersistentMount(dict[str, Any]):
    """A disk of its own for each pod."""

    def __init__(
        self,
        *,
        size: int,
        path: str,
    ) -> None:
        super().__init__()
        pulumi.set(self, "size", size)
        pulumi.set(self, "path", path)

    size: int = pulumi.property("size")
    """Size. In GB. At least 10."""
    path: str = pulumi.property("path")
    """Where the container sees it."""


@pulumi.output_type
class Mounts(dict[str, Any]):
    """Disks of pods started from the template; serverless workers have none."""

    def __init__(
        self,
        *,
        persistent: PersistentMount | None = None,
    ) -> None:
        super().__init__()
        if persistent is not None:
            pulumi.set(self, "persistent", persistent)

    persistent: PersistentMount | None = pulumi.property("persistent")
    """The pod's volume disk."""


@pulumi.output_type
class Gpu(dict[str, Any]):
    """Which GPUs workers run on."""

    def __init__(
        self,
        *,
        pools: Sequence[str],
        excluded_types: Sequence[str] | None = None,
        count: int | None = None,
        allowed_cuda_versions: Sequence[str] | None = None,
        min_cuda_version: str | None = None,
    ) -> None:
        super().__init__()
        pulumi.set(self, "pools", pools)
        if excluded_types is not None:
            pulumi.set(self, "excluded_types", excluded_types)
        if count is not None:
            pulumi.set(self, "count", count)
        if allowed_cuda_versions is not None:
            pulumi.set(self, "allowed_cuda_versions", allowed_cuda_versions)
        if min_cuda_version is not None:
            pulumi.set(self, "min_cuda_version", min_cuda_version)

    pools: Sequence[str] = pulumi.property("pools")
    """GPU pools, such as `ADA_24`; a worker is placed in whichever has room. `get_gpus` maps types to pools."""
    excluded_types: Sequence[str] | None = pulumi.property("excludedTypes")
    """GPU type ids taken out of the pools."""
    count: int = pulumi.property("count")
    """GPUs per worker. In GPUs. At least 1."""
    allowed_cuda_versions: Sequence[str] | None = pulumi.property("allowedCudaVersions")
    """CUDA versions a host may have, matched exactly. Excludes `min_cuda_version`."""
    min_cuda_version: str | None = pulumi.property("minCudaVersion")
    """The lowest CUDA version a host may have."""


@pulumi.output_type
class Cpu(dict[str, Any]):
    """One eligible CPU configuration."""

    def __init__(
        self,
        *,
        id: str,
        vcpu_count: int,
        memory: float | None = None,
    ) -> None:
        super().__init__()
        pulumi.set(self, "id", id)
        pulumi.set(self, "vcpu_count", vcpu_count)
        if memory is not None:
            pulumi.set(self, "memory", memory)

    id: str = pulumi.property("id")
    """CPU flavor, such as `cpu3c`."""
    vcpu_count: int = pulumi.property("vcpuCount")
    """vCPUs per worker, a power of two. In vCPUs. At least 2."""
    memory: float | None = pulumi.property("memory")
    """Memory that comes with it. In GB."""


@pulumi.output_type
class Workers(dict[str, Any]):
    """How many workers there may be, and how long an idle one stays."""

    def __init__(
        self,
        *,
        min: int | None = None,
        max: int | None = None,
        idle_timeout: int | None = None,
    ) -> None:
        super().__init__()
        if min is not None:
            pulumi.set(self, "min", min)
        if max is not None:
            pulumi.set(self, "max", max)
        if idle_timeout is not None:
            pulumi.set(self, "idle_timeout", idle_timeout)

    min: int = pulumi.property("min")
    """Workers that are always on, and billed while idle. In workers. At least 0."""
    max: int = pulumi.property("max")
    """The most workers there may be; 0 turns the endpoint off. In workers. At least 0."""
    idle_timeout: int | None = pulumi.property("idleTimeout")
    """How long an idle worker stays. Not for a QUEUE that scales by REQUEST_COUNT. In s. From 1 to 3600. Default: 10,
    but none for a QUEUE that scales by REQUEST_COUNT.
    """


@pulumi.output_type
class Scaling(dict[str, Any]):
    """What makes RunPod add workers."""

    def __init__(
        self,
        *,
        type: str,
        queue_delay: float | None = None,
        request_count: int | None = None,
    ) -> None:
        super().__init__()
        pulumi.set(self, "type", type)
        if queue_delay is not None:
            pulumi.set(self, "queue_delay", queue_delay)
        if request_count is not None:
            pulumi.set(self, "request_count", request_count)

    type: str = pulumi.property("type")
    """By how long requests wait, or by how many there are. A LOAD_BALANCER takes only REQUEST_COUNT. One of
    `QUEUE_DELAY`, `REQUEST_COUNT`.
    """
    queue_delay: float | None = pulumi.property("queueDelay")
    """How long a request may wait. Belongs to QUEUE_DELAY and to nothing else. In s. At least 0.5."""
    request_count: int | None = pulumi.property("requestCount")
    """Requests per worker. Belongs to REQUEST_COUNT and to nothing else. In requests. At least 1."""


@pulumi.output_type
class GpuPrice(dict[str, Any]):
    """US dollars per GPU and hour."""

    def __init__(
        self,
        *,
        secure: float | None = None,
        community: float | None = None,
        serverless: float | None = None,
    ) -> None:
        super().__init__()
        if secure is not None:
            pulumi.set(self, "secure", secure)
        if community is not None:
            pulumi.set(self, "community", community)
        if serverless is not None:
            pulumi.set(self, "serverless", serverless)

    secure: float | None = pulumi.property("secure")
    """For a pod in the secure cloud."""
    community: float | None = pulumi.property("community")
    """For a pod in the community cloud."""
    serverless: float | None = pulumi.property("serverless")
    """For a serverless worker; missing where the type is in no pool you can see."""


@pulumi.output_type
class GpuType(dict[str, Any]):
    """A GPU type of the catalogue."""

    def __init__(
        self,
        *,
        id: str,
        name: str,
        pool: str | None = None,
        manufacturer: str | None = None,
        memory: float | None = None,
        secure: bool | None = None,
        community: bool | None = None,
        price: GpuPrice | None = None,
        availability: str | None = None,
    ) -> None:
        super().__init__()
        pulumi.set(self, "id", id)
        pulumi.set(self, "name", name)
        if pool is not None:
            pulumi.set(self, "pool", pool)
        if manufacturer is not None:
            pulumi.set(self, "manufacturer", manufacturer)
        if memory is not None:
            pulumi.set(self, "memory", memory)
        if secure is not None:
            pulumi.set(self, "secure", secure)
        if community is not None:
            pulumi.set(self, "community", community)
        if price is not None:
            pulumi.set(self, "price", price)
        if availability is not None:
            pulumi.set(self, "availability", availability)

    id: str = pulumi.property("id")
    """RunPod's id, such as `NVIDIA L4`."""
    name: str = pulumi.property("name")
    """Short name."""
    pool: str | None = pulumi.property("pool")
    """Serverless pool; missing where the type is in none."""
    manufacturer: str | None = pulumi.property("manufacturer")
    """NVIDIA, AMD or UNKNOWN."""
    memory: float | None = pulumi.property("memory")
    """Memory. In GB."""
    secure: bool | None = pulumi.property("secure")
    """Whether the secure cloud sells it."""
    community: bool | None = pulumi.property("community")
    """Whether the community cloud sells it."""
    price: GpuPrice | None = pulumi.property("price")
    """List prices."""
    availability: str | None = pulumi.property("availability")
    """NONE, LOW, MEDIUM or HIGH."""


@pulumi.output_type
class DataCenter(dict[str, Any]):
    """A data center of the catalogue."""

    def __init__(
        self,
        *,
        id: str,
        name: str | None = None,
        region: str | None = None,
        network_volume_types: Sequence[str] | None = None,
        compliance: Sequence[str] | None = None,
        global_network: bool | None = None,
    ) -> None:
        super().__init__()
        pulumi.set(self, "id", id)
        if name is not None:
            pulumi.set(self, "name", name)
        if region is not None:
            pulumi.set(self, "region", region)
        if network_volume_types is not None:
            pulumi.set(self, "network_volume_types", network_volume_types)
        if compliance is not None:
            pulumi.set(self, "compliance", compliance)
        if global_network is not None:
            pulumi.set(self, "global_network", global_network)

    id: str = pulumi.property("id")
    """RunPod's id, such as `EU-RO-1`."""
    name: str | None = pulumi.property("name")
    """Name."""
    region: str | None = pulumi.property("region")
    """Region."""
    network_volume_types: Sequence[str] | None = pulumi.property("networkVolumeTypes")
    """Storage tiers; empty means no network volumes there."""
    compliance: Sequence[str] | None = pulumi.property("compliance")
    """Certificates."""
    global_network: bool | None = pulumi.property("globalNetwork")
    """Whether it is part of the global network."""


@pulumi.output_type
class GetGpusResult(dict[str, Any]):
    """GPU types."""

    def __init__(
        self,
        *,
        gpus: Sequence[GpuType],
    ) -> None:
        super().__init__()
        pulumi.set(self, "gpus", gpus)

    gpus: Sequence[GpuType] = pulumi.property("gpus")
    """The types."""


@pulumi.output_type
class GetDataCentersResult(dict[str, Any]):
    """Data centers."""

    def __init__(
        self,
        *,
        data_centers: Sequence[DataCenter],
    ) -> None:
        super().__init__()
        pulumi.set(self, "data_centers", data_centers)

    data_centers: Sequence[DataCenter] = pulumi.property("dataCenters")
    """The data centers."""


__all__ = [
    "Cpu",
    "DataCenter",
    "GetDataCentersResult",
    "GetGpusResult",
    "Gpu",
    "GpuPrice",
    "GpuType",
    "Mounts",
    "PersistentMount",
    "Scaling",
    "Workers",
]
