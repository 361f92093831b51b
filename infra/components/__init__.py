"""Reusable Pulumi components for vLLM on RunPod.

Each component is two things: a pure plan (arguments in, resource arguments out, every mistake named; testable without
an engine) and a thin class that registers what the plan says. Whatever decides how many resources there are is a plain
value; whatever may be known only later (an image digest, a volume id, a secret) is a Pulumi input and is passed on
unread.

In this project they are imported as `components`; the wheel ships them as `vllm_runpod_components`. Imports
pulumi, `pulumi_runpod` and the leaf `vllm_options`; never the settings of this deployment.
"""

from ._arguments import DEFAULT_MODEL, DEFAULT_WORKER_IMAGE, Scaling, VllmEndpointArgs
from ._endpoint import VllmEndpoint
from ._endpoint_plan import (
    EndpointPlan,
    GpuPlan,
    ScalingPlan,
    TemplatePlan,
    VllmEndpointPlan,
    WorkersPlan,
    plan_vllm_endpoint,
)
from ._environment import MODEL_VARIABLES, OWN_VARIABLES, worker_environment
from ._errors import ComponentError, InvalidArguments
from ._volume import ModelVolume
from ._volume_plan import ModelVolumeArgs, VolumePlan, plan_model_volume

__all__ = [
    "DEFAULT_MODEL",
    "DEFAULT_WORKER_IMAGE",
    "MODEL_VARIABLES",
    "OWN_VARIABLES",
    "ComponentError",
    "EndpointPlan",
    "GpuPlan",
    "InvalidArguments",
    "ModelVolume",
    "ModelVolumeArgs",
    "Scaling",
    "ScalingPlan",
    "TemplatePlan",
    "VllmEndpoint",
    "VllmEndpointArgs",
    "VllmEndpointPlan",
    "VolumePlan",
    "WorkersPlan",
    "plan_model_volume",
    "plan_vllm_endpoint",
    "worker_environment",
]
