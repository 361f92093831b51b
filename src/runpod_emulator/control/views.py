"""Records as the JSON that the published answers have. Pure functions: no state, no clock."""

from collections.abc import Iterable, Sequence
from typing import Any

from runpod_emulator.control import catalog_data
from runpod_emulator.control.http import rfc3339
from runpod_emulator.control.records import Registry, Release, Template, Volume, container_of
from runpod_emulator.model import Endpoint, Json, WorkerView

_QUEUE_URLS = (
    ("run", "run"),
    ("runSync", "runsync"),
    ("status", "status/{job_id}"),
    ("stream", "stream/{job_id}"),
    ("cancel", "cancel/{job_id}"),
    ("retry", "retry/{job_id}"),
    ("purgeQueue", "purge-queue"),
    ("health", "health"),
)
DEFAULT_IDLE_TIMEOUT_S = 10


def ignores_idle_timeout(endpoint_type: str, scaling: Json) -> bool:
    """Queue-based endpoints scaling on requestCount have none (§1.2 `workers.idleTimeout`)."""
    return endpoint_type == "QUEUE" and scaling["type"] == "REQUEST_COUNT"


def request_urls(endpoint: Endpoint, base_url: str) -> Json:
    """`requestUrls` (§1.2), on the emulator's own address."""
    if endpoint.type == "QUEUE":
        return {name: f"{base_url}/v2/{endpoint.id}/{path}" for name, path in _QUEUE_URLS}
    base = f"{base_url}/lb/{endpoint.id}"
    return {"base": base, "health": base + endpoint.env.get("HEALTH_CHECK_PATH", "/ping")}


def endpoint_json(endpoint: Endpoint, base_url: str) -> Json:
    workers: dict[str, Any] = {"min": endpoint.workers_min, "max": endpoint.workers_max}
    if endpoint.idle_timeout_s is not None:
        workers["idleTimeout"] = endpoint.idle_timeout_s
    shown: dict[str, Any] = {
        "id": endpoint.id,
        "name": endpoint.name,
        "type": endpoint.type,
        "requestUrls": request_urls(endpoint, base_url),
        **container_of(endpoint).as_json(),
    }
    if endpoint.gpu is not None:
        shown["gpu"] = _gpu_json(endpoint.gpu)
    if endpoint.cpu is not None:
        shown["cpu"] = [{**choice, "memory": cpu_memory(choice)} for choice in endpoint.cpu]
    return {
        **shown,
        "workers": workers,
        "scaling": dict(endpoint.scaling),
        "dataCenterIds": list(endpoint.data_center_ids),
        "networkVolumes": list(endpoint.network_volumes),
        "timeout": endpoint.timeout_ms,
        "flashboot": endpoint.flashboot,
        "createdAt": rfc3339(endpoint.created_at),
    }


def _gpu_json(gpu: Json) -> Json:
    """`excludedTypes` is left out when there are none, as in the published examples."""
    return {key: value for key, value in gpu.items() if key != "excludedTypes" or value}


def cpu_memory(choice: Json) -> int:
    """GB of memory of one CPU choice: the flavour's multiplier times its vCPUs (§1.2 `cpu`)."""
    return max(1, int(catalog_data.CPU_BY_ID[choice["id"]].ram_gb_per_vcpu * choice["vcpuCount"]))


def template_json(template: Template) -> Json:
    shown = {
        "id": template.id,
        "name": template.name,
        **template.container.as_json(),
        "serverless": template.serverless,
        "public": template.public,
        "category": template.category,
        "startSsh": template.start_ssh,
        "startJupyter": template.start_jupyter,
        "allowedCudaVersions": list(template.allowed_cuda_versions),
    }
    if template.mounts:  # omitted when there is no persistent volume (runpod-api-live.md §3 row 6)
        shown["mounts"] = template.mounts
    return shown


def volume_json(volume: Volume) -> Json:
    return {
        "id": volume.id,
        "name": volume.name,
        "size": volume.size,
        "dataCenter": volume.data_center,
        "type": volume.type,
    }


def registry_json(registry: Registry) -> Json:
    """Username and password are write-only (§1.5)."""
    return {"id": registry.id, "name": registry.name}


def workers_json(endpoint: Endpoint, workers: Sequence[WorkerView], now: float) -> Json:
    """`GET …/workers` (§1.2): the summary always adds up to the list."""
    counts = {
        key: sum(worker.status == key.upper() for worker in workers)
        for key in ("running", "idle", "initializing", "throttled", "unhealthy")
    }
    return {
        "workers": [_worker_json(worker, endpoint.version, now) for worker in workers],
        "summary": {**counts, "total": len(workers)},
        "endpointVersion": endpoint.version,
    }


def _worker_json(worker: WorkerView, version: int, now: float) -> Json:
    return {
        "id": worker.id,
        "status": worker.status,
        "isStale": worker.version != version,
        "version": worker.version,
        "gpuCount": worker.gpu_count,
        "image": worker.image,
        "uptimeSeconds": None if worker.started_at is None else max(0, int(now - worker.started_at)),
        "gpuTypeId": worker.gpu_type_id,
        "dataCenterId": worker.data_center_id,
        "startedAt": None if worker.started_at is None else rfc3339(worker.started_at),
    }


def rollout_json(endpoint: Endpoint, workers: Sequence[WorkerView]) -> Json:
    """How far the current version has come; 0 percent, and not in progress, without workers (§1.2 Releases)."""
    latest = sum(worker.version == endpoint.version for worker in workers)
    return {
        "inProgress": latest < len(workers),
        "workersOnLatest": latest,
        "workersTotal": len(workers),
        "percentOnLatest": 100 * latest // len(workers) if workers else 0,
    }


def release_json(release: Release, workers: Iterable[WorkerView]) -> Json:
    return {
        "id": release.id,
        "version": release.version,
        "source": "MANUAL",
        "buildId": None,
        "createdByUserId": None,
        "workerCount": sum(worker.version == release.version for worker in workers),
        "createdAt": rfc3339(release.created_at),
        "diff": release.diff,
    }
