"""The rules between an endpoint's fields. Each names the property and the way out; unknown values are let pass."""

from typing import Any, TypeGuard

from pulumi_runpod.provider.checking import Failure
from pulumi_runpod.provider.template_content import unresolved
from pulumi_runpod.provider.values import UNKNOWN, Properties, Secret, has_unknown, join_path, plain

_DEFAULT_IDLE_TIMEOUT = 10


def fill_idle_timeout(inputs: Properties) -> Properties:
    """Default of `workers.idleTimeout`. RunPod refuses it for a QUEUE that scales by REQUEST_COUNT."""
    workers, scaling = plain(inputs.get("workers")), plain(inputs.get("scaling"))
    kind, scaler = plain(inputs.get("type")), scaling.get("type") if isinstance(scaling, dict) else scaling
    if not isinstance(workers, dict) or "idleTimeout" in workers or has_unknown([kind, scaler]):
        return inputs
    if kind == "QUEUE" and scaler == "REQUEST_COUNT":
        return inputs
    original = inputs["workers"]
    filled = {**(original.value if isinstance(original, Secret) else original), "idleTimeout": _DEFAULT_IDLE_TIMEOUT}
    return {**inputs, "workers": Secret(filled) if isinstance(original, Secret) else filled}


def check_rules(inputs: Properties, failures: list[Failure]) -> None:
    """Add every broken rule to `failures`."""
    values: dict[str, Any] = plain(inputs)

    def fail(path: str, reason: str) -> None:
        failures.append(Failure(path, reason))

    if values.get("image") is None and not unresolved(inputs):
        fail("image", "is required unless a template supplies it; give image, template or template_id")
    gpu, cpu = values.get("gpu"), values.get("cpu")
    if gpu is not None and cpu is not None:
        fail("cpu", "excludes gpu; give one of them")
    if gpu is None and cpu is None:
        fail("gpu", "is required unless cpu is given")
    if isinstance(gpu, dict):
        _check_gpu(gpu, fail)
    if isinstance(cpu, list):
        _check_cpu(cpu, fail)
    _check_scaling(values, fail)
    workers = values.get("workers")
    if isinstance(workers, dict):
        low, high = workers.get("min"), workers.get("max")
        if _is_count(low) and _is_count(high) and low > high:
            fail("workers.min", f"is {low}, above workers.max ({high}); lower it or raise workers.max")
    _check_probe(values, fail)


def _check_gpu(gpu: dict[str, Any], fail: Any) -> None:
    allowed, lowest = gpu.get("allowedCudaVersions"), gpu.get("minCudaVersion")
    if not has_unknown([allowed, lowest]) and allowed and lowest:
        fail("gpu.minCudaVersion", "excludes gpu.allowedCudaVersions; give one of them")


def _check_cpu(cpu: list[Any], fail: Any) -> None:
    for index, entry in enumerate(cpu):
        count = entry.get("vcpuCount") if isinstance(entry, dict) else None
        if _is_count(count) and count >= 2 and count & (count - 1):
            lower = 1 << (count.bit_length() - 1)
            fail(f"cpu[{index}].vcpuCount", f"must be a power of two, not {count}; use {lower} or {lower * 2}")


def _check_scaling(values: dict[str, Any], fail: Any) -> None:
    scaling, kind = values.get("scaling"), values.get("type")
    if not isinstance(scaling, dict):
        return
    scaler = scaling.get("type")
    if kind == "LOAD_BALANCER" and scaler == "QUEUE_DELAY":
        fail("scaling.type", "must be REQUEST_COUNT for a LOAD_BALANCER, which has no queue")
    for wanted, member, other in (
        ("QUEUE_DELAY", "queueDelay", "requestCount"),
        ("REQUEST_COUNT", "requestCount", "queueDelay"),
    ):
        if scaler == wanted and scaling.get(member) is None:
            fail(f"scaling.{member}", f"is required with scaling.type {wanted}")
        if scaler == wanted and scaling.get(other) is not None:
            fail(f"scaling.{other}", f"does not go with scaling.type {wanted}; leave it out")
    workers = values.get("workers")
    idle = workers.get("idleTimeout") if isinstance(workers, dict) else None
    if kind == "QUEUE" and scaler == "REQUEST_COUNT" and idle is not None:
        fail("workers.idleTimeout", "does not apply to a QUEUE that scales by REQUEST_COUNT; leave it out")


def _check_probe(values: dict[str, Any], fail: Any) -> None:
    probe, kind = values.get("readyProbe"), values.get("type")
    if probe is None or probe is UNKNOWN:
        return
    if not isinstance(probe, dict):
        fail("readyProbe", "must be an object: the input of a job, or for a LOAD_BALANCER {path: ...}")
        return
    if kind != "LOAD_BALANCER":
        return
    for key in sorted(probe.keys() - {"path"}):
        fail(join_path("readyProbe", key), "does not go with a LOAD_BALANCER, which is asked with a GET of path")
    path = probe.get("path", "/")
    if path is not UNKNOWN and not (isinstance(path, str) and path.startswith("/")):
        fail("readyProbe.path", "must be a path that begins with /")


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
