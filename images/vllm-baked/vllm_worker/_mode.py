"""What a worker is part of: a queue endpoint, a load-balancer endpoint, or a Pod."""

from collections.abc import Mapping
from typing import Literal, cast

from vllm_options import WorkerSettings

Mode = Literal["queue", "load_balancer", "pod"]


def mode_of(settings: WorkerSettings, environ: Mapping[str, str]) -> Mode | None:
    """WORKER_MODE, else what the variables that RunPod sets tell; None where nothing does."""
    if settings.worker_mode is not None:
        return cast("Mode", settings.worker_mode)
    if "RUNPOD_WEBHOOK_GET_JOB" in environ:
        return "queue"
    if "RUNPOD_ENDPOINT_ID" in environ:
        return "load_balancer"
    return "pod" if "RUNPOD_POD_ID" in environ else None


def mode_mistakes(mode: Mode | None, settings: WorkerSettings, environ: Mapping[str, str]) -> list[str]:
    """What this mode needs and the environment lacks."""
    if mode is None:
        return [
            "RUNPOD_WEBHOOK_GET_JOB: is not set; jobs come from RunPod, or locally from `vllm-runpod emulator`. "
            "WORKER_MODE=load_balancer or pod answers HTTP instead"
        ]
    if mode == "queue" and "RUNPOD_WEBHOOK_GET_JOB" not in environ:
        return ["RUNPOD_WEBHOOK_GET_JOB: is not set, and WORKER_MODE=queue takes its jobs from there"]
    if mode == "pod" and settings.worker_api_key is None and not settings.worker_allow_no_key:
        return [
            "WORKER_API_KEY: is not set, and a Pod's port is open to everybody; set it to a secret that callers send, "
            "or WORKER_ALLOW_NO_KEY=true"
        ]
    return []
