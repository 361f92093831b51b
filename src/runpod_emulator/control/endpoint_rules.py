"""What a create or a PATCH makes of an endpoint. Pure: (body, template, stored state) -> endpoint, or a Problem.

The bodies have passed `bodies`; what is left are the rules between fields and those that need the stored state:
400, or 422 where the service was seen to answer so (runpod-api.md §1.1, runpod-api-live.md §3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

from runpod_emulator.control import catalog_data
from runpod_emulator.control.checks import quoted
from runpod_emulator.control.containers import Container
from runpod_emulator.control.problem import Problem, bad_request, unprocessable
from runpod_emulator.control.records import Registry, Template, Volume, container_of, with_container
from runpod_emulator.control.views import DEFAULT_IDLE_TIMEOUT_S, ignores_idle_timeout
from runpod_emulator.model import Endpoint, Json

Body = Mapping[str, Any]


class Known(Protocol):
    """What the rules ask of the stored state."""

    def workers_max_elsewhere(self, endpoint_id: str) -> int: ...

    def volume(self, volume_id: str) -> Volume | None: ...

    def registry(self, registry_id: str) -> Registry | None: ...


def created(
    endpoint_id: str, body: Body, template: Template | None, known: Known, *, now: float, quota: int
) -> Endpoint:
    """The endpoint that `POST /v2/serverless` makes."""
    if ("gpu" in body) == ("cpu" in body):
        raise bad_request("exactly one of gpu or cpu must be provided")
    workers = body.get("workers", {})
    scaling = dict(body["scaling"])
    kind: Literal["QUEUE", "LOAD_BALANCER"] = body["type"]
    made = Endpoint(
        id=endpoint_id,
        name=body["name"],
        type=kind,
        image="",
        args="",
        entrypoint=(),
        cmd=(),
        disk=0,
        env={},
        ports=(),
        registry=None,
        gpu=_new_gpu(body["gpu"], template) if "gpu" in body else None,
        cpu=_cpu(body["cpu"]) if "cpu" in body else None,
        workers_min=int(workers.get("min", 0)),
        workers_max=int(workers.get("max", 3)),
        idle_timeout_s=_idle_timeout(kind, scaling, workers, None),
        scaling=scaling,
        data_center_ids=tuple(body.get("dataCenterIds", ())),
        network_volumes=tuple(body.get("networkVolumes", ())),
        # Omitted comes back as 0, not as the schema's 300000 (runpod-api-live.md §3 row 1).
        timeout_ms=int(body.get("timeout", 0)),
        flashboot=body.get("flashboot", "OFF"),
        created_at=now,
        version=1,
    )
    made = with_container(made, _container(Container(), body, template))
    _check(made, known)
    _check_quota(made, known, quota)
    return made


def patched(stored: Endpoint, body: Body, template: Template | None, known: Known, *, quota: int) -> Endpoint:
    """The endpoint after `PATCH /v2/serverless/{id}`: only what the body names changes. `version` is left alone."""
    if "gpu" in body and "cpu" in body:
        raise bad_request("gpu and cpu are mutually exclusive")
    if "gpu" in body and stored.gpu is None:
        raise bad_request("gpu does not apply to a CPU endpoint; the compute family cannot be changed")
    if "cpu" in body and stored.cpu is None:
        raise bad_request("cpu does not apply to a GPU endpoint; the compute family cannot be changed")
    workers = body.get("workers", {})
    scaling = dict(body.get("scaling", stored.scaling))
    if stored.type == "LOAD_BALANCER" and scaling["type"] == "QUEUE_DELAY":
        # The schema cannot know the stored type; the same mistake on create is a 422, so is this (our assumption).
        raise unprocessable("load-balancing endpoints scale on REQUEST_COUNT only")
    after = replace(
        stored,
        name=body.get("name", stored.name),
        gpu=_patched_gpu(stored.gpu, body["gpu"]) if "gpu" in body and stored.gpu is not None else stored.gpu,
        cpu=_cpu(body["cpu"]) if "cpu" in body else stored.cpu,
        workers_min=int(workers.get("min", stored.workers_min)),
        workers_max=int(workers.get("max", stored.workers_max)),
        idle_timeout_s=_idle_timeout(stored.type, scaling, workers, stored.idle_timeout_s),
        scaling=scaling,
        data_center_ids=tuple(body.get("dataCenterIds", stored.data_center_ids)),
        # `[]` detaches (runpod-api-live.md §3 row 8).
        network_volumes=tuple(body.get("networkVolumes", stored.network_volumes)),
        timeout_ms=int(body.get("timeout", stored.timeout_ms)),
        flashboot=body.get("flashboot", stored.flashboot),
    )
    after = with_container(after, _container(container_of(stored), body, template))
    _check(after, known)
    if "max" in workers:
        _check_quota(after, known, quota)
    return after


def _container(base: Container, body: Body, template: Template | None) -> Container:
    """A template's settings count as if they stood in the body; the body wins, `env` key by key (§1.2 templateId)."""
    if template is None:
        return base.overlaid(body)
    if not template.serverless:
        raise unprocessable(f"template '{template.id}' is not a serverless template")
    return template.container.overlaid(body, merge_env=True)


def _idle_timeout(kind: str, scaling: Json, workers: Body, stored: int | None) -> int | None:
    if ignores_idle_timeout(kind, scaling):
        if "idleTimeout" in workers:
            # Seen live: runpod-api-live.md §3 row 3.
            raise unprocessable("idleTimeout does not apply to queue-based endpoints scaling on requestCount")
        return None
    return int(workers.get("idleTimeout", stored or DEFAULT_IDLE_TIMEOUT_S))


def _new_gpu(body: Body, template: Template | None) -> Json:
    allowed = body.get("allowedCudaVersions")
    if allowed is None:
        # A template seeds the set, but never beside a floor (§1.2 templateId).
        allowed = template.allowed_cuda_versions if template and "minCudaVersion" not in body else ()
    return {
        "pools": list(body["pools"]),
        "excludedTypes": [name.strip() for name in body.get("excludedTypes", ())],
        "count": int(body.get("count", 1)),
        "allowedCudaVersions": list(allowed),
        "minCudaVersion": body.get("minCudaVersion"),
    }


def _patched_gpu(stored: Json, body: Body) -> Json:
    gpu = dict(stored)
    if "pools" in body:
        # The selection is replaced whole: leaving out excludedTypes clears it (§1.2 gpu.excludedTypes).
        gpu["pools"] = list(body["pools"])
        gpu["excludedTypes"] = [name.strip() for name in body.get("excludedTypes", ())]
    if "count" in body:
        gpu["count"] = int(body["count"])
    if "allowedCudaVersions" in body:
        gpu["allowedCudaVersions"] = list(body["allowedCudaVersions"])
    if "minCudaVersion" in body:
        gpu["minCudaVersion"] = body["minCudaVersion"] or None
    return gpu


def _cpu(choices: Sequence[Body]) -> tuple[Json, ...]:
    return tuple({"id": choice["id"], "vcpuCount": int(choice["vcpuCount"])} for choice in choices)


def _check(endpoint: Endpoint, known: Known) -> None:
    if not endpoint.image:
        raise bad_request("image must not be empty")
    if endpoint.registry is not None and known.registry(endpoint.registry) is None:
        raise bad_request(f"registry credential '{endpoint.registry}' not found")  # our assumption
    if endpoint.gpu is not None:
        _check_gpu(endpoint.gpu)
    for choice in endpoint.cpu or ():
        _check_cpu(choice)
    _check_placement(endpoint, known)


def _check_gpu(gpu: Json) -> None:
    unknown = [pool for pool in gpu["pools"] if pool not in catalog_data.POOLS]
    if unknown:
        raise bad_request(f"unknown GPU pool {quoted(unknown)}")  # our assumption
    if gpu["allowedCudaVersions"] and gpu["minCudaVersion"]:
        raise bad_request("allowedCudaVersions and minCudaVersion are mutually exclusive")
    types = {name for pool in gpu["pools"] for name in catalog_data.POOLS[pool]}
    strangers = [name for name in gpu["excludedTypes"] if name not in types]
    if strangers:
        raise bad_request(f"excludedTypes {quoted(strangers)} not in the selected pools")
    if types <= set(gpu["excludedTypes"]):
        raise bad_request("excludedTypes must leave at least one GPU type in the selected pools")


def _check_cpu(choice: Json) -> None:
    flavor, count = catalog_data.CPU_BY_ID.get(choice["id"]), choice["vcpuCount"]
    if flavor is None:
        raise bad_request(f"unknown CPU flavor '{choice['id']}'")  # our assumption
    if count & (count - 1):
        raise bad_request("vcpuCount must be a power of two")
    if not flavor.vcpu_min <= count <= flavor.vcpu_max:
        raise bad_request(f"vcpuCount of '{flavor.id}' must be between {flavor.vcpu_min} and {flavor.vcpu_max}")


def _check_placement(endpoint: Endpoint, known: Known) -> None:
    unknown = [name for name in endpoint.data_center_ids if name not in catalog_data.DATA_CENTER_BY_ID]
    if unknown:
        raise bad_request(f"unknown data center {quoted(unknown)}")  # our assumption
    taken: dict[str, str] = {}
    for volume_id in endpoint.network_volumes:
        volume = known.volume(volume_id)
        if volume is None:
            raise bad_request(f"network volume '{volume_id}' not found")  # our assumption
        other = taken.setdefault(volume.data_center, volume_id)
        if other != volume_id or endpoint.network_volumes.count(volume_id) > 1:
            # One volume per data centre (§2.3); the code is our assumption.
            raise bad_request(f"network volumes '{other}' and '{volume_id}' are both in {volume.data_center}; use one")
        if endpoint.data_center_ids and volume.data_center not in endpoint.data_center_ids:
            raise bad_request(f"network volume '{volume_id}' is in {volume.data_center}, not in dataCenterIds")


def _check_quota(endpoint: Endpoint, known: Known, quota: int) -> None:
    """Counts `workers.max` of all endpoints, idle ones too (runpod-api-live.md §3 row 9)."""
    others = known.workers_max_elsewhere(endpoint.id)
    if others + endpoint.workers_max > quota:
        raise Problem(
            400,
            f"Max workers across all endpoints must not exceed your workers quota ({quota}). Reduce the max workers "
            f"for other endpoints or lower this endpoint's max workers to at most {max(0, quota - others)}.",
        )
