"""When a change makes a release, and what the release says changed (runpod-api.md §1.2 Timing, Releases; §9).

Container, compute and placement make one; name, workers, scaling, timeout and FlashBoot do not. Field names are the
upstream ones that the contract's prose shows (`template.imageName`, `gpuCount`, `locations`, …); those it does not show
follow the same naming (our assumption).
"""

from collections.abc import Callable
from typing import Any

from runpod_emulator.model import Endpoint, Json


def _gpu(name: str) -> Callable[[Endpoint], Any]:
    return lambda endpoint: None if endpoint.gpu is None else endpoint.gpu.get(name)


def _gpu_ids(endpoint: Endpoint) -> Any:
    if endpoint.gpu is None:
        return None
    return ",".join([*endpoint.gpu["pools"], *(f"-{name}" for name in endpoint.gpu["excludedTypes"])])


FIELDS: tuple[tuple[str, Callable[[Endpoint], Any]], ...] = (
    ("template.imageName", lambda endpoint: endpoint.image),
    ("template.dockerArgs", lambda endpoint: endpoint.args),
    ("template.containerDiskInGb", lambda endpoint: endpoint.disk),
    ("template.env", lambda endpoint: dict(endpoint.env)),
    ("template.ports", lambda endpoint: list(endpoint.ports)),
    ("template.containerRegistryAuthId", lambda endpoint: endpoint.registry),
    ("gpuIds", _gpu_ids),
    ("gpuCount", _gpu("count")),
    ("allowedCudaVersions", _gpu("allowedCudaVersions")),
    ("minCudaVersion", _gpu("minCudaVersion")),
    ("instanceIds", lambda endpoint: None if endpoint.cpu is None else [dict(choice) for choice in endpoint.cpu]),
    ("locations", lambda endpoint: list(endpoint.data_center_ids)),
    ("networkVolumeIds", lambda endpoint: list(endpoint.network_volumes)),
)


def difference(old: Endpoint, new: Endpoint) -> list[Json]:
    """The release's `diff`; empty when the change makes no release."""
    pairs = ((name, read(old), read(new)) for name, read in FIELDS)
    return [{"field": name, "old": before, "new": after} for name, before, after in pairs if before != after]
