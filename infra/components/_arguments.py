"""What a `VllmEndpoint` can be told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import pulumi

if TYPE_CHECKING:
    import pulumi_runpod as runpod

DEFAULT_WORKER_IMAGE = "runpod/worker-v1-vllm:v2.25.2"
"""RunPod's own vLLM worker: it downloads the model when it starts."""
DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"

FlashBoot = Literal["OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT"]
ScalingType = Literal["QUEUE_DELAY", "REQUEST_COUNT"]


@dataclass(frozen=True)
class Scaling:
    """When RunPod adds workers.

    `QUEUE_DELAY`: a request has waited longer than `threshold` seconds. `REQUEST_COUNT`: one worker per `threshold`
    requests; RunPod then decides itself how long an idle worker stays.
    """

    type: ScalingType = "QUEUE_DELAY"
    threshold: float = 4


@dataclass(frozen=True)
class VllmEndpointArgs:
    """Everything is optional: without any argument a small model is served by RunPod's own worker image.

    Plain values throughout, but for what may be known only later: `image`, `registry`, `network_volumes`, `hf_token`
    and the values of `env`.
    """

    model: str | None = None
    """Model id on the Hugging Face Hub. Left out, a small one is downloaded; a baked image brings its own."""
    revision: str | None = None
    """Branch, tag or commit to download."""
    served_model_name: str | None = None
    """Name that requests call the model by."""
    image: pulumi.Input[str] | None = None
    """Worker image. Left out: RunPod's vLLM worker."""
    weights: Literal["baked", "download"] = "download"
    """Whether the image holds the weights, or downloads them at every start."""
    template: "runpod.Template | None" = None
    """A ready-made template instead of one of our own. It brings image, model, disk and registry credential, so none
    of these may be given beside it; how vLLM runs may."""

    max_model_len: int | None = None
    max_num_seqs: int | None = None
    quantization: str | None = None
    dtype: str | None = None
    gpu_memory_utilization: float | None = None
    trust_remote_code: bool = False
    max_concurrency: int | None = None
    env: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Further variables for the worker, beside those that the other arguments set."""
    hf_token: pulumi.Input[str] | None = field(default=None, repr=False)
    """Token for gated models; kept secret."""
    init_timeout_s: int | None = None
    """Seconds a worker may take to start before RunPod calls it unhealthy (its own limit: 7 minutes)."""

    gpu_pools: Sequence[str] = ("ADA_24",)
    excluded_gpu_types: Sequence[str] = ()
    gpu_count: int = 1
    min_cuda_version: str | None = None
    allowed_cuda_versions: Sequence[str] = ()
    data_centers: Sequence[str] = ()
    """Where workers may run; empty means anywhere."""
    container_disk_gb: int | None = None
    network_volumes: Sequence[pulumi.Input[str]] = ()
    registry: pulumi.Input[str] | None = None
    """Id of the registry credential that pulls the image."""

    min_workers: int = 0
    max_workers: int = 1
    idle_timeout_s: int | None = None
    """Seconds an idle worker stays. Left out: 60, since a vLLM start costs more than an idle minute."""
    scaling: Scaling = Scaling()
    execution_timeout_s: int = 600
    """Seconds one request may take."""
    flashboot: FlashBoot = "OFF"
    wait_for_ready: bool = True
    """Whether `up` ends only when a request has been answered."""
