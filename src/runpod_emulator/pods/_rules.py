"""What a create makes of a pod. Pure: (body, template, stored state) -> pod, or a Problem (runpod-api.md §1.6)."""

import secrets
from collections.abc import Mapping
from typing import Any

from runpod_emulator.control import catalog_data as data
from runpod_emulator.control.containers import Container
from runpod_emulator.control.problem import Problem, bad_request, unprocessable
from runpod_emulator.control.records import Pod, Records, Template
from runpod_emulator.control.views import cpu_memory
from runpod_emulator.model import Json

Body = Mapping[str, Any]
ACTIONS: Mapping[str, tuple[str, ...]] = {
    "PROVISIONING": ("stop", "terminate"),
    "STARTING": ("stop", "terminate"),
    "RUNNING": ("stop", "restart", "terminate"),
    "EXITED": ("start", "terminate"),
    "ERROR": ("start", "terminate"),
}
"""What may be asked of a pod in which status (§1.6)."""


def created(pod_id: str, body: Body, template: Template | None, records: Records, *, now: float) -> Pod:
    """The pod that `POST /v2/pods` makes."""
    if ("gpu" in body) == ("cpu" in body):
        raise bad_request("exactly one of gpu or cpu must be provided")
    if body.get("mounts"):
        raise Problem(501, "mounts of pods are not emulated; see docs/emulator-assumptions.md")
    if body.get("globalNetworking"):
        raise Problem(501, "global networking is not emulated; see docs/emulator-assumptions.md")
    container = _container(body, template)
    if not container.image:
        raise bad_request("image must not be empty")
    if container.registry is not None and records.registry(container.registry) is None:
        raise bad_request(f"registry credential '{container.registry}' not found")
    http_ports(container)
    cloud = str(body.get("cloud", "SECURE"))
    gpu = _gpu(body["gpu"]) if "gpu" in body else None
    cpu = _cpu(body["cpu"]) if "cpu" in body else None
    return Pod(
        id=pod_id,
        name=body["name"],
        container=container,
        gpu=gpu,
        cpu=cpu,
        cloud=cloud,
        data_center_id=_data_center(body.get("dataCenterIds", ())),
        cost=_cost(gpu, cpu, cloud),
        created_at=now,
    )


def http_ports(container: Container) -> list[tuple[int, str]]:
    """The published ports. `<number>/<http or tcp>`; anything else is refused (our assumption)."""
    found = []
    for text in container.ports:
        number, _, kind = text.partition("/")
        if not (number.isascii() and number.isdigit() and 0 < int(number[:6]) < 65_536 and kind in ("http", "tcp")):
            raise bad_request(f"port '{text}' is not of the form 8000/http or 22/tcp")
        found.append((int(number), kind))
    return found


def _container(body: Body, template: Template | None) -> Container:
    if template is not None and template.serverless:
        raise unprocessable(f"template '{template.id}' is a serverless template")
    base = template.container if template is not None else Container()
    container = base.overlaid(body, merge_env=template is not None)
    jupyter = body.get("startJupyter", template is not None and template.start_jupyter)
    if jupyter and "JUPYTER_PASSWORD" not in container.env:
        env = {**container.env, "JUPYTER_PASSWORD": secrets.token_urlsafe(16)}
        container = container.overlaid({"env": env})
    return container


def _gpu(wanted: Json) -> Json:
    if wanted["id"] not in data.GPU_BY_ID:
        raise bad_request(f"unknown GPU type '{wanted['id']}'")
    if wanted.get("allowedCudaVersions") and wanted.get("minCudaVersion"):
        raise bad_request("allowedCudaVersions and minCudaVersion are mutually exclusive")
    return {"id": wanted["id"], "count": int(wanted.get("count", 1))}


def _cpu(wanted: Json) -> Json:
    flavor, count = data.CPU_BY_ID.get(wanted["id"]), int(wanted["vcpuCount"])
    if flavor is None:
        raise bad_request(f"unknown CPU flavor '{wanted['id']}'")
    if count & (count - 1) or not flavor.vcpu_min <= count <= flavor.vcpu_max:
        raise bad_request(
            f"vcpuCount of '{flavor.id}' must be a power of two between {flavor.vcpu_min} and {flavor.vcpu_max}"
        )
    made = {"id": flavor.id, "vcpuCount": count}
    return {**made, "memory": cpu_memory(made)}


def _data_center(wanted: Any) -> str:
    unknown = [name for name in wanted if name not in data.DATA_CENTER_BY_ID]
    if unknown:
        raise bad_request(f"unknown data center '{unknown[0]}'")
    return str(wanted[0]) if wanted else data.DATA_CENTERS[0].id


def _cost(gpu: Json | None, cpu: Json | None, cloud: str) -> float:
    """USD an hour, as the catalogue here has it (our assumption, as its prices are)."""
    if gpu is not None:
        ratio = data.SECURE_TO_SERVERLESS if cloud == "SECURE" else data.COMMUNITY_TO_SERVERLESS
        return float(round((data.GPU_BY_ID[gpu["id"]].per_hour or 0.0) * ratio * gpu["count"], 2))
    assert cpu is not None
    return float(round(data.CPU_BY_ID[cpu["id"]].secure_per_vcpu * cpu["vcpuCount"], 2))
