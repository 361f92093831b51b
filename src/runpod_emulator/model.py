"""What the emulator's planes hand each other: plain frozen data, no behaviour.

Times are seconds since the epoch (float) unless a name says `_ms`; sizes are GB as RunPod counts them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Json = dict[str, Any]

EndpointType = Literal["QUEUE", "LOAD_BALANCER"]
WorkerStatus = Literal["INITIALIZING", "IDLE", "RUNNING", "THROTTLED", "UNHEALTHY"]


@dataclass(frozen=True)
class Endpoint:
    """A serverless endpoint as the control plane stores it. `version` rises with every release."""

    id: str
    name: str
    type: EndpointType
    image: str
    args: str
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    disk: int
    env: Mapping[str, str]
    ports: tuple[str, ...]
    registry: str | None
    gpu: Json | None
    cpu: tuple[Json, ...] | None
    workers_min: int
    workers_max: int
    idle_timeout_s: int | None
    scaling: Json
    data_center_ids: tuple[str, ...]
    network_volumes: tuple[str, ...]
    timeout_ms: int
    flashboot: str
    created_at: float
    version: int


@dataclass(frozen=True)
class WorkerView:
    """One worker as `GET /v2/serverless/{id}/workers` shows it."""

    id: str
    status: WorkerStatus
    version: int
    image: str
    gpu_type_id: str | None
    gpu_count: int
    data_center_id: str | None
    started_at: float | None


@dataclass(frozen=True)
class ContainerSpec:
    """Everything the host needs to start one worker from an image."""

    worker_id: str
    endpoint_id: str
    image: str
    env: Mapping[str, str]
    """Laid over the image's own Env."""
    entrypoint: tuple[str, ...] = ()
    """Empty means the image's Entrypoint."""
    cmd: tuple[str, ...] = ()
    """Empty means the image's Cmd."""
    volume_dir: Path | None = None
    """Host directory that the worker sees at /runpod-volume."""
    registry_auth: tuple[str, str] | None = None
    """Username and password for the image's registry. Never logged."""
    secrets: tuple[str, ...] = field(default=())
    """Values that must not appear in logs."""
