"""From the arguments of a `VllmEndpoint` to those of its template and its endpoint: pure, and complete."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pulumi

from ._arguments import DEFAULT_MODEL, DEFAULT_WORKER_IMAGE, FlashBoot, ScalingType, VllmEndpointArgs
from ._environment import MODEL_VARIABLES, environment_mistakes, worker_environment
from ._errors import InvalidArguments

_DEFAULT_IDLE_TIMEOUT_S = 60
# RunPod's own listing of its vLLM worker asks for 150 GB, so that a downloaded model has room; a baked image brings
# its weights in its layers, and 20 GB is what RunPod's examples show.
_DOWNLOAD_DISK_GB, _BAKED_DISK_GB = 150, 20
# More pools are accepted by the API and leave workers initializing for ever (runpod-api-live.md §3, "Workers").
_MOST_POOLS = 3

_TEMPLATE_ARGUMENTS = (
    "model", "revision", "served_model_name", "image", "weights", "trust_remote_code", "hf_token", "container_disk_gb",
    "registry",
)  # fmt: skip


@dataclass(frozen=True)
class TemplatePlan:
    """Arguments of the `runpod.Template`."""

    image: pulumi.Input[str]
    env: Mapping[str, pulumi.Input[str]]
    disk: int
    registry: pulumi.Input[str] | None


@dataclass(frozen=True)
class GpuPlan:
    """The `gpu` argument of the `runpod.Endpoint`."""

    pools: tuple[str, ...]
    excluded_types: tuple[str, ...]
    count: int
    allowed_cuda_versions: tuple[str, ...]
    min_cuda_version: str | None


@dataclass(frozen=True)
class WorkersPlan:
    """The `workers` argument. No idle timeout where RunPod decides it itself."""

    min: int
    max: int
    idle_timeout: int | None


@dataclass(frozen=True)
class ScalingPlan:
    """The `scaling` argument: the one figure that belongs to the type, and not the other."""

    type: ScalingType
    queue_delay: float | None = None
    request_count: int | None = None


@dataclass(frozen=True)
class EndpointPlan:
    """Arguments of the `runpod.Endpoint`, beside the template."""

    env: Mapping[str, pulumi.Input[str]]
    gpu: GpuPlan
    workers: WorkersPlan
    scaling: ScalingPlan
    data_center_ids: tuple[str, ...]
    network_volumes: tuple[pulumi.Input[str], ...]
    timeout_ms: int
    flashboot: FlashBoot
    wait_for_ready: bool


@dataclass(frozen=True)
class VllmEndpointPlan:
    """All that a `VllmEndpoint` will register. `template` is None where a ready-made one was passed in."""

    template: TemplatePlan | None
    endpoint: EndpointPlan
    warnings: tuple[str, ...]


def plan_vllm_endpoint(args: VllmEndpointArgs) -> VllmEndpointPlan:
    """Plan template and endpoint. Raises InvalidArguments with every mistake at once; looks at plain values only."""
    mistakes = [*_container_mistakes(args), *_placement_mistakes(args), *_worker_mistakes(args)]
    if mistakes:
        raise InvalidArguments("VllmEndpoint", mistakes)
    warnings = []
    if len(args.gpu_pools) > _MOST_POOLS:
        warnings.append(
            f"{len(args.gpu_pools)} GPU pools: RunPod accepts more than {_MOST_POOLS}, but its workers may then stay "
            "initializing for ever"
        )
    return VllmEndpointPlan(
        template=None if args.template is not None else _template(args),
        endpoint=EndpointPlan(
            env={name: value for name, value in worker_environment(args).items() if name not in MODEL_VARIABLES},
            gpu=GpuPlan(
                tuple(args.gpu_pools),
                tuple(args.excluded_gpu_types),
                args.gpu_count,
                tuple(args.allowed_cuda_versions),
                args.min_cuda_version,
            ),
            workers=_workers(args),
            scaling=_scaling(args),
            data_center_ids=tuple(args.data_centers),
            network_volumes=tuple(args.network_volumes),
            timeout_ms=args.execution_timeout_s * 1000,
            flashboot=args.flashboot,
            wait_for_ready=args.wait_for_ready,
        ),
        warnings=tuple(warnings),
    )


def _template(args: VllmEndpointArgs) -> TemplatePlan:
    download = args.weights == "download"
    if download and args.model is None:
        args = replace(args, model=DEFAULT_MODEL)
    return TemplatePlan(
        image=DEFAULT_WORKER_IMAGE if args.image is None else args.image,
        env={name: value for name, value in worker_environment(args).items() if name in MODEL_VARIABLES},
        disk=args.container_disk_gb or (_DOWNLOAD_DISK_GB if download else _BAKED_DISK_GB),
        registry=args.registry,
    )


def _workers(args: VllmEndpointArgs) -> WorkersPlan:
    # RunPod refuses an idle timeout for a queue that scales by request count (runpod-api-live.md §3 row 3).
    by_delay = args.scaling.type == "QUEUE_DELAY"
    idle_timeout = args.idle_timeout_s or _DEFAULT_IDLE_TIMEOUT_S
    return WorkersPlan(args.min_workers, args.max_workers, idle_timeout if by_delay else None)


def _scaling(args: VllmEndpointArgs) -> ScalingPlan:
    if args.scaling.type == "QUEUE_DELAY":
        return ScalingPlan("QUEUE_DELAY", queue_delay=args.scaling.threshold)
    return ScalingPlan("REQUEST_COUNT", request_count=int(args.scaling.threshold))


def _container_mistakes(args: VllmEndpointArgs) -> list[tuple[str, str]]:
    mistakes = []
    defaults = VllmEndpointArgs()
    if args.template is not None:
        both = [name for name in _TEMPLATE_ARGUMENTS if getattr(args, name) != getattr(defaults, name)]
        mistakes += [(name, "excludes template: a ready-made template brings its own") for name in both]
    elif args.weights == "baked":
        if args.image is None:
            mistakes.append(("image", 'weights="baked" needs the image that holds them'))
        if args.revision is not None:
            mistakes.append(("revision", 'excludes weights="baked": the image was baked from one revision already'))
    for name, lowest in (("max_model_len", 1), ("max_num_seqs", 1), ("max_concurrency", 1), ("container_disk_gb", 1)):
        value = getattr(args, name)
        if value is not None and value < lowest:
            mistakes.append((name, f"is {value}; it must be at least {lowest}"))
    if args.gpu_memory_utilization is not None and not 0 < args.gpu_memory_utilization <= 1:
        mistakes.append(
            ("gpu_memory_utilization", f"is {args.gpu_memory_utilization:g}; it must be above 0, at most 1")
        )
    if args.init_timeout_s is not None and args.init_timeout_s < 1:
        mistakes.append(("init_timeout_s", f"is {args.init_timeout_s}; it must be at least 1"))
    return mistakes or environment_mistakes(args)


def _placement_mistakes(args: VllmEndpointArgs) -> list[tuple[str, str]]:
    mistakes = []
    if not args.gpu_pools:
        mistakes.append(("gpu_pools", "is empty; name at least one pool, such as ADA_24"))
    if args.gpu_count < 1:
        mistakes.append(("gpu_count", f"is {args.gpu_count}; a worker needs at least 1"))
    if args.min_cuda_version is not None and args.allowed_cuda_versions:
        mistakes.append(("min_cuda_version", "excludes allowed_cuda_versions; give one of them"))
    if args.network_volumes and not args.data_centers:
        mistakes.append(("data_centers", "a network volume pins workers to its data center; name that one"))
    return mistakes


def _worker_mistakes(args: VllmEndpointArgs) -> list[tuple[str, str]]:
    mistakes = []
    if args.min_workers < 0:
        mistakes.append(("min_workers", f"is {args.min_workers}; it must be at least 0"))
    if args.min_workers > args.max_workers:
        mistakes.append(
            ("min_workers", f"is {args.min_workers}, above max_workers ({args.max_workers}); lower it or raise that")
        )
    if args.idle_timeout_s is not None:
        if args.scaling.type == "REQUEST_COUNT":
            mistakes.append(("idle_timeout_s", "excludes scaling by REQUEST_COUNT: RunPod then decides it itself"))
        if not 1 <= args.idle_timeout_s <= 3600:
            mistakes.append(("idle_timeout_s", f"is {args.idle_timeout_s}; it must be from 1 to 3600"))
    if args.scaling.type == "QUEUE_DELAY" and args.scaling.threshold < 0.5:
        mistakes.append(("scaling", f"a queue delay of {args.scaling.threshold:g} s; it must be at least 0.5"))
    if args.scaling.type == "REQUEST_COUNT" and (args.scaling.threshold < 1 or args.scaling.threshold % 1):
        mistakes.append(
            ("scaling", f"{args.scaling.threshold:g} requests per worker; it must be a whole number from 1")
        )
    if not 5 <= args.execution_timeout_s <= 604_800:
        # The range that RunPod documents for the execution timeout (runpod-api.md §2.3).
        mistakes.append(("execution_timeout_s", f"is {args.execution_timeout_s}; it must be from 5 s to 7 days"))
    return mistakes
