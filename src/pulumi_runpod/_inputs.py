"""Nested inputs, each as a class and as a dictionary type.

Written by `python -m pulumi_runpod.provider.generate` from pulumi_runpod.declarations; do not edit.
"""

from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict

import pulumi

from pulumi_runpod import _enums


class PersistentMountArgsDict(TypedDict):
    """A disk of its own for each pod."""

    size: pulumi.Input[int]
    """Size. In GB. At least 10."""
    path: pulumi.Input[str]
    """Where the container sees it."""


@pulumi.input_type
class PersistentMountArgs:
    """A disk of its own for each pod."""

    def __init__(
        self,
        *,
        size: pulumi.Input[int],
        path: pulumi.Input[str],
    ) -> None:
        pulumi.set(self, "size", size)
        pulumi.set(self, "path", path)

    size: pulumi.Input[int] = pulumi.property("size")
    """Size. In GB. At least 10."""
    path: pulumi.Input[str] = pulumi.property("path")
    """Where the container sees it."""


class MountsArgsDict(TypedDict):
    """Disks of pods started from the template; serverless workers have none."""

    persistent: NotRequired[pulumi.Input[PersistentMountArgs | PersistentMountArgsDict]]
    """The pod's volume disk."""


@pulumi.input_type
class MountsArgs:
    """Disks of pods started from the template; serverless workers have none."""

    def __init__(
        self,
        *,
        persistent: pulumi.Input[PersistentMountArgs | PersistentMountArgsDict] | None = None,
    ) -> None:
        if persistent is not None:
            pulumi.set(self, "persistent", persistent)

    persistent: pulumi.Input[PersistentMountArgs] | None = pulumi.property("persistent", default=None)
    """The pod's volume disk."""


class GpuArgsDict(TypedDict):
    """Which GPUs workers run on."""

    pools: pulumi.Input[Sequence[pulumi.Input[str]]]
    """GPU pools, such as `ADA_24`; a worker is placed in whichever has room. `get_gpus` maps types to pools."""
    excluded_types: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """GPU type ids taken out of the pools."""
    count: NotRequired[pulumi.Input[int]]
    """GPUs per worker. In GPUs. At least 1."""
    allowed_cuda_versions: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """CUDA versions a host may have, matched exactly. Excludes `min_cuda_version`."""
    min_cuda_version: NotRequired[pulumi.Input[str]]
    """The lowest CUDA version a host may have."""


@pulumi.input_type
class GpuArgs:
    """Which GPUs workers run on."""

    def __init__(
        self,
        *,
        pools: pulumi.Input[Sequence[pulumi.Input[str]]],
        excluded_types: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None,
        count: pulumi.Input[int] | None = None,
        allowed_cuda_versions: pulumi.Input[Sequence[pulumi.Input[str]]] | None = None,
        min_cuda_version: pulumi.Input[str] | None = None,
    ) -> None:
        pulumi.set(self, "pools", pools)
        if excluded_types is not None:
            pulumi.set(self, "excluded_types", excluded_types)
        if count is not None:
            pulumi.set(self, "count", count)
        if allowed_cuda_versions is not None:
            pulumi.set(self, "allowed_cuda_versions", allowed_cuda_versions)
        if min_cuda_version is not None:
            pulumi.set(self, "min_cuda_version", min_cuda_version)

    pools: pulumi.Input[Sequence[pulumi.Input[str]]] = pulumi.property("pools")
    """GPU pools, such as `ADA_24`; a worker is placed in whichever has room. `get_gpus` maps types to pools."""
    excluded_types: pulumi.Input[Sequence[pulumi.Input[str]]] | None = pulumi.property("excludedTypes", default=None)
    """GPU type ids taken out of the pools."""
    count: pulumi.Input[int] | None = pulumi.property("count", default=None)
    """GPUs per worker. In GPUs. At least 1."""
    allowed_cuda_versions: pulumi.Input[Sequence[pulumi.Input[str]]] | None = pulumi.property(
        "allowedCudaVersions", default=None
    )
    """CUDA versions a host may have, matched exactly. Excludes `min_cuda_version`."""
    min_cuda_version: pulumi.Input[str] | None = pulumi.property("minCudaVersion", default=None)
    """The lowest CUDA version a host may have."""


class CpuArgsDict(TypedDict):
    """One eligible CPU configuration."""

    id: pulumi.Input[str]
    """CPU flavor, such as `cpu3c`."""
    vcpu_count: pulumi.Input[int]
    """vCPUs per worker, a power of two. In vCPUs. At least 2."""


@pulumi.input_type
class CpuArgs:
    """One eligible CPU configuration."""

    def __init__(
        self,
        *,
        id: pulumi.Input[str],
        vcpu_count: pulumi.Input[int],
    ) -> None:
        pulumi.set(self, "id", id)
        pulumi.set(self, "vcpu_count", vcpu_count)

    id: pulumi.Input[str] = pulumi.property("id")
    """CPU flavor, such as `cpu3c`."""
    vcpu_count: pulumi.Input[int] = pulumi.property("vcpuCount")
    """vCPUs per worker, a power of two. In vCPUs. At least 2."""


class WorkersArgsDict(TypedDict):
    """How many workers there may be, and how long an idle one stays."""

    min: NotRequired[pulumi.Input[int]]
    """Workers that are always on, and billed while idle. In workers. At least 0."""
    max: NotRequired[pulumi.Input[int]]
    """The most workers there may be; 0 turns the endpoint off. In workers. At least 0."""
    idle_timeout: NotRequired[pulumi.Input[int]]
    """How long an idle worker stays. Not for a QUEUE that scales by REQUEST_COUNT. In s. From 1 to 3600. Default: 10,
    but none for a QUEUE that scales by REQUEST_COUNT.
    """


@pulumi.input_type
class WorkersArgs:
    """How many workers there may be, and how long an idle one stays."""

    def __init__(
        self,
        *,
        min: pulumi.Input[int] | None = None,
        max: pulumi.Input[int] | None = None,
        idle_timeout: pulumi.Input[int] | None = None,
    ) -> None:
        if min is not None:
            pulumi.set(self, "min", min)
        if max is not None:
            pulumi.set(self, "max", max)
        if idle_timeout is not None:
            pulumi.set(self, "idle_timeout", idle_timeout)

    min: pulumi.Input[int] | None = pulumi.property("min", default=None)
    """Workers that are always on, and billed while idle. In workers. At least 0."""
    max: pulumi.Input[int] | None = pulumi.property("max", default=None)
    """The most workers there may be; 0 turns the endpoint off. In workers. At least 0."""
    idle_timeout: pulumi.Input[int] | None = pulumi.property("idleTimeout", default=None)
    """How long an idle worker stays. Not for a QUEUE that scales by REQUEST_COUNT. In s. From 1 to 3600. Default: 10,
    but none for a QUEUE that scales by REQUEST_COUNT.
    """


class ScalingArgsDict(TypedDict):
    """What makes RunPod add workers."""

    type: pulumi.Input[_enums.ScalingType | Literal["QUEUE_DELAY", "REQUEST_COUNT"]]
    """By how long requests wait, or by how many there are. A LOAD_BALANCER takes only REQUEST_COUNT. One of
    `QUEUE_DELAY`, `REQUEST_COUNT`.
    """
    queue_delay: NotRequired[pulumi.Input[float]]
    """How long a request may wait. Belongs to QUEUE_DELAY and to nothing else. In s. At least 0.5."""
    request_count: NotRequired[pulumi.Input[int]]
    """Requests per worker. Belongs to REQUEST_COUNT and to nothing else. In requests. At least 1."""


@pulumi.input_type
class ScalingArgs:
    """What makes RunPod add workers."""

    def __init__(
        self,
        *,
        type: pulumi.Input[_enums.ScalingType | Literal["QUEUE_DELAY", "REQUEST_COUNT"]],
        queue_delay: pulumi.Input[float] | None = None,
        request_count: pulumi.Input[int] | None = None,
    ) -> None:
        pulumi.set(self, "type", type)
        if queue_delay is not None:
            pulumi.set(self, "queue_delay", queue_delay)
        if request_count is not None:
            pulumi.set(self, "request_count", request_count)

    type: pulumi.Input[_enums.ScalingType | Literal["QUEUE_DELAY", "REQUEST_COUNT"]] = pulumi.property("type")
    """By how long requests wait, or by how many there are. A LOAD_BALANCER takes only REQUEST_COUNT. One of
    `QUEUE_DELAY`, `REQUEST_COUNT`.
    """
    queue_delay: pulumi.Input[float] | None = pulumi.property("queueDelay", default=None)
    """How long a request may wait. Belongs to QUEUE_DELAY and to nothing else. In s. At least 0.5."""
    request_count: pulumi.Input[int] | None = pulumi.property("requestCount", default=None)
    """Requests per worker. Belongs to REQUEST_COUNT and to nothing else. In requests. At least 1."""


__all__ = [
    "CpuArgs",
    "CpuArgsDict",
    "GpuArgs",
    "GpuArgsDict",
    "MountsArgs",
    "MountsArgsDict",
    "PersistentMountArgs",
    "PersistentMountArgsDict",
    "ScalingArgs",
    "ScalingArgsDict",
    "WorkersArgs",
    "WorkersArgsDict",
]
