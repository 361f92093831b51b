"""This deployment: from the settings to resources and outputs.

Everything that can be wrong is found before the first resource is registered, and ends the program with one message.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pulumi

import pulumi_runpod as runpod
from components import (
    InvalidArguments,
    ModelVolume,
    ModelVolumeArgs,
    Scaling,
    VllmEndpoint,
    VllmEndpointArgs,
    plan_vllm_endpoint,
)
from images import LockUnreadable, PinsUnreadable, WorkerImage, worker_image
from redaction import register_secret
from settings import InvalidSettings, Mistake, Settings, camel, read_settings
from vllm_sizing import (
    HourlyCost,
    SizingError,
    format_usd,
    hourly_cost,
    snapshot,
    volume_monthly_cost,
)


@dataclass(frozen=True)
class Stack:
    """What the engine tells a program about itself."""

    project: str
    name: str
    root: Path
    preview: bool
    config: Mapping[str, str]
    secret_keys: frozenset[str]


def run(stack: Stack) -> dict[str, Any]:
    """Register the stack's resources and give back its outputs. Raises pulumi.RunError for whatever is wrong."""
    try:
        for key in stack.secret_keys:
            register_secret(stack.config.get(key))
        settings = read_settings(stack.config, stack.secret_keys, namespace=stack.project, stack=stack.name)
        image = worker_image(settings, stack.root)
        cost = hourly_cost(
            settings.gpus.pools, settings.gpu_count, settings.min_workers, settings.max_workers, snapshot()
        )
        arguments = endpoint_arguments(settings, image, env_is_secret=f"{stack.project}:env" in stack.secret_keys)
        plan_vllm_endpoint(VllmEndpointArgs(**arguments))
    except InvalidArguments as error:
        mistakes = [Mistake(_key_of(argument), _in_keys(reason)) for argument, reason in error.mistakes]
        raise pulumi.RunError(str(InvalidSettings(mistakes, stack.project, stack.name))) from error
    except (InvalidSettings, LockUnreadable, PinsUnreadable, SizingError) as error:
        raise pulumi.RunError(str(error)) from error
    if image.reference is None and image.bake is None:
        if not stack.preview:
            raise pulumi.RunError(f"the worker image is not baked yet: {image.missing}")
        pulumi.log.warn(f"the worker image is unknown: {image.missing}")
    return _declare(settings, stack, arguments, image, cost)


def _declare(
    settings: Settings, stack: Stack, arguments: dict[str, Any], image: WorkerImage, cost: HourlyCost
) -> dict[str, Any]:
    name = settings.name or f"{stack.project}-{stack.name}"
    more: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    if settings.registry_username is not None and settings.registry_password is not None:
        credential = runpod.RegistryCredential(
            f"{name}-registry",
            name=f"{name}-registry",
            username=settings.registry_username,
            password=pulumi.Output.secret(settings.registry_password),
        )
        more["registry"] = credential.id
    if settings.volume_size is not None:
        volume = ModelVolume(
            f"{name}-models",
            ModelVolumeArgs(
                data_center=settings.data_centers[0],
                size_gb=settings.volume_size,
                type=settings.volume_type,  # type: ignore[arg-type]  # one of the two, settings made sure
                protect=settings.protect_volume,
            ),
        )
        more["network_volumes"] = [volume.volume_id]
        monthly = volume_monthly_cost(settings.volume_size, settings.volume_type or "STANDARD", snapshot())
        outputs["volumeMonthlyUsd"] = format_usd(monthly.usd)
    digest: pulumi.Input[str] = unknown() if image.reference is None else image.digest or "not pinned"
    if image.bake is not None:
        baked = runpod.BakedImage(f"{name}-image", **image.bake)
        more["image"], digest = baked.image, baked.digest
        outputs["bake"] = pulumi.Output.all(
            at=baked.baked_at, seconds=baked.bake_seconds, bytesSent=baked.bytes_to_send, bytesReused=baked.bytes_reused
        )
    endpoint = VllmEndpoint(name, VllmEndpointArgs(**(arguments | more)))

    free = _runs_here(stack)
    return outputs | {
        "endpointId": endpoint.endpoint_id,
        "openaiBaseUrl": endpoint.openai_base_url,
        "model": settings.served_model_name or settings.model,
        "imageDigest": digest,
        "hourlyFloorUsd": "0.00" if free else format_usd(cost.floor_usd),
        "hourlyCeilingUsd": "0.00" if free else format_usd(cost.ceiling_usd),
        "priceBasis": "this machine" if free else cost.basis,
    }


def endpoint_arguments(settings: Settings, image: WorkerImage, *, env_is_secret: bool) -> dict[str, Any]:
    """The arguments of the `VllmEndpoint` that the settings decide."""
    scaling = settings.scaling or {"type": "QUEUE_DELAY"}
    threshold = scaling.get("queueDelay", 4) if scaling["type"] == "QUEUE_DELAY" else scaling["requestCount"]
    return {
        "model": None if settings.baked else settings.model,
        "revision": None if settings.baked else settings.revision,
        "served_model_name": settings.served_model_name,
        # Of a baked image the plan needs to know only that there is one.
        "image": image.bake["to"] if image.bake else unknown() if image.reference is None else image.reference,
        "weights": "baked" if settings.baked else "download",
        "max_model_len": settings.max_model_len,
        "max_num_seqs": settings.max_num_seqs,
        "quantization": settings.quantization,
        "dtype": settings.dtype,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "trust_remote_code": settings.trust_remote_code,
        "max_concurrency": settings.max_concurrency,
        "env": {name: pulumi.Output.secret(value) if env_is_secret else value for name, value in settings.env.items()},
        "hf_token": settings.hf_token,
        "init_timeout_s": settings.init_timeout,
        "gpu_pools": settings.gpus.pools,
        "excluded_gpu_types": settings.gpus.excluded_types,
        "gpu_count": settings.gpu_count,
        "min_cuda_version": settings.min_cuda_version,
        "allowed_cuda_versions": settings.allowed_cuda_versions,
        "data_centers": settings.data_centers,
        "container_disk_gb": settings.container_disk,
        "min_workers": settings.min_workers,
        "max_workers": settings.max_workers,
        "idle_timeout_s": settings.idle_timeout,
        "scaling": Scaling(scaling["type"], threshold),
        "execution_timeout_s": settings.execution_timeout,
        "flashboot": settings.flashboot,
        "wait_for_ready": settings.wait_for_ready,
    }


def _hourly(settings: Settings) -> HourlyCost:
    low, high = settings.min_workers, settings.max_workers
    return hourly_cost(settings.gpus.pools, settings.gpu_count, low, high, snapshot())


def unknown() -> "pulumi.Output[str]":
    """A value that only a later run will know. Means something in a preview only."""

    async def no() -> bool:
        return False

    async def placeholder() -> Any:
        return pulumi.UNKNOWN

    return pulumi.Output(set(), asyncio.ensure_future(placeholder()), asyncio.ensure_future(no()))


def _key_of(argument: str) -> str:
    """The stack's key for a component's argument: without the unit, in the stack's spelling."""
    name, dot, rest = argument.partition(".")
    return camel(name.removesuffix("_s").removesuffix("_gb")) + dot + rest


def _in_keys(reason: str) -> str:
    """`reason` with the stack's keys where it names a component's arguments."""
    names = {field.name for field in fields(VllmEndpointArgs)}
    return re.sub(r"\b[a-z]+(_[a-z]+)+\b", lambda at: _key_of(at[0]) if at[0] in names else at[0], reason)


def _runs_here(stack: Stack) -> bool:
    """Whether the stack talks to this machine, where nothing is billed."""
    try:
        host = urlsplit(stack.config.get("runpod:apiUrl", "")).hostname
    except ValueError:
        return False  # the provider will say what is wrong with it
    return host in ("127.0.0.1", "localhost", "::1")
