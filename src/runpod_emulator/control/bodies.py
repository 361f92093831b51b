"""Which bodies the control plane accepts: one table per request. A mistake found here is a 422 (runpod-api.md §1.1).

Rules between fields, and rules that need the stored state, are not here: they are 400s and live with their resource.
"""

from collections.abc import Iterator
from typing import Any

from runpod_emulator.control.checks import (
    Check,
    array,
    boolean,
    integer,
    kind_of,
    nullable,
    number,
    one_of,
    record,
    string,
    string_map,
)

_CUDA = r"^\d+\.\d+$"
_CUDA_OR_EMPTY = r"^$|^\d+\.\d+$"
_NOT_A_MINUS = r"^\s*[^-\s]"

# §1.1 shared container block, with `entrypoint` and `cmd` of runpod-api-live.md §2.2.
CONTAINER: dict[str, Check] = {
    "image": string(),
    "args": string(),
    "entrypoint": array(string()),
    "cmd": array(string()),
    "disk": integer(minimum=1),
    "env": string_map(),
    "ports": array(string()),
    "registry": nullable(string()),
}

_GPU = {
    "pools": array(string(), min_items=1),
    "excludedTypes": array(string(pattern=_NOT_A_MINUS), unique=True),
    "count": integer(minimum=1),
    "allowedCudaVersions": array(string(pattern=_CUDA)),
}
_CPU = array(
    record({"id": string(min_length=1), "vcpuCount": integer(minimum=2)}, required=("id", "vcpuCount")),
    min_items=1,
    unique=True,
)
_WORKERS = record(
    {"min": integer(minimum=0), "max": integer(minimum=0), "idleTimeout": integer(minimum=1, maximum=3600)}
)
_SCALERS = {
    "QUEUE_DELAY": record(
        {"type": one_of("QUEUE_DELAY"), "queueDelay": number(minimum=0.5)}, required=("type", "queueDelay")
    ),
    "REQUEST_COUNT": record(
        {"type": one_of("REQUEST_COUNT"), "requestCount": integer(minimum=1)}, required=("type", "requestCount")
    ),
}


def _scaling(value: Any, path: str) -> Iterator[str]:
    """A union told apart by `type`."""
    if not isinstance(value, dict):
        yield f"{path}: got {kind_of(value)}, want object"
    elif "type" not in value:
        yield f"{path}: missing property 'type'"
    else:
        wrong = list(one_of(*_SCALERS)(value["type"], f"{path}.type"))
        yield from wrong or _SCALERS[value["type"]](value, path)


_ENDPOINT_COMMON: dict[str, Check] = {
    "name": string(min_length=1),
    "cpu": _CPU,
    "workers": _WORKERS,
    "scaling": _scaling,
    "dataCenterIds": array(string()),
    "networkVolumes": array(string()),
    "timeout": integer(),
    "flashboot": one_of("OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT"),
}
_ENDPOINT_CREATE: dict[str, Check] = {
    **_ENDPOINT_COMMON,
    "type": one_of("QUEUE", "LOAD_BALANCER"),
    "gpu": record({**_GPU, "minCudaVersion": string(pattern=_CUDA)}, required=("pools",)),
    "templateId": string(min_length=1),
}
_endpoint_create = record(
    {**CONTAINER, **_ENDPOINT_CREATE}, required=("name", "type", "scaling"), also_blamed=_ENDPOINT_CREATE
)


def create_endpoint(value: Any, path: str) -> Iterator[str]:
    yield from _endpoint_create(value, path)
    if not isinstance(value, dict):
        return
    if "templateId" not in value and "image" not in value:
        yield f"{path}: missing property 'image'"
    scaling = value.get("scaling")
    if value.get("type") == "LOAD_BALANCER" and isinstance(scaling, dict) and scaling.get("type") == "QUEUE_DELAY":
        yield f"{path}.scaling.type: value must be 'REQUEST_COUNT'"


update_endpoint = record(
    {
        **CONTAINER,
        **_ENDPOINT_COMMON,
        "gpu": record(
            {**_GPU, "minCudaVersion": string(pattern=_CUDA_OR_EMPTY)}, required_with={"excludedTypes": "pools"}
        ),
        "templateId": string(),
    }
)

_TEMPLATE: dict[str, Check] = {
    "name": string(min_length=1),
    "mounts": record(
        {"persistent": record({"size": integer(minimum=10), "path": string()}, required=("size", "path"))}
    ),
    "serverless": boolean(),
    "public": boolean(),
    "category": one_of("CPU", "NVIDIA", "AMD"),
    "startSsh": boolean(),
    "startJupyter": boolean(),
    "allowedCudaVersions": array(string(pattern=_CUDA)),
}
create_template = record({**CONTAINER, **_TEMPLATE}, required=("name", "image"), also_blamed=_TEMPLATE)
update_template = record({**CONTAINER, **_TEMPLATE})

_NETWORK_MOUNTS = array(record({"volumeId": string(), "path": string()}, required=("volumeId", "path")))


def _network_mounts(value: Any, path: str) -> Iterator[str]:
    yield from _NETWORK_MOUNTS(value, path)
    if isinstance(value, list) and len(value) > 1:
        yield f"{path}: maxItems: got {len(value)}, want 1"


_POD_MOUNTS = record(
    {
        "persistent": record({"size": integer(minimum=10), "path": string()}, required=("size", "path")),
        "network": _network_mounts,
    }
)
_POD: dict[str, Check] = {
    "name": string(min_length=1),
    "cloud": one_of("SECURE", "COMMUNITY"),
    "cpu": record({"id": string(min_length=1), "vcpuCount": integer(minimum=2)}, required=("id", "vcpuCount")),
    "dataCenterIds": array(string()),
    "globalNetworking": boolean(),
    "gpu": record(
        {
            "id": string(),
            "count": integer(minimum=1),
            "allowedCudaVersions": array(string(pattern=_CUDA)),
            "minCudaVersion": string(pattern=_CUDA),
        },
        required=("id",),
    ),
    "mounts": _POD_MOUNTS,
    "startJupyter": boolean(),
    "startSsh": boolean(),
    "templateId": string(min_length=1),
}
_pod_create = record({**CONTAINER, **_POD}, required=("name",), also_blamed=_POD)


def create_pod(value: Any, path: str) -> Iterator[str]:
    yield from _pod_create(value, path)
    if isinstance(value, dict) and "templateId" not in value and "image" not in value:
        yield f"{path}: missing property 'image'"


pod_action = record({"action": one_of("start", "stop", "restart", "terminate")}, required=("action",))

_VOLUME_SIZE = integer(minimum=10, maximum=4096)
create_volume = record(
    {
        "name": string(min_length=1),
        "size": _VOLUME_SIZE,
        "dataCenter": string(min_length=1),
        "type": one_of("STANDARD", "HIGH_PERFORMANCE"),
    },
    required=("name", "size", "dataCenter"),
)
update_volume = record({"name": string(min_length=1), "size": _VOLUME_SIZE}, min_properties=1)

create_registry = record(
    {"name": string(min_length=1), "username": string(min_length=1), "password": string(min_length=1)},
    required=("name", "username", "password"),
)
