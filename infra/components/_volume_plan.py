"""From the arguments of a `ModelVolume` to those of its network volume."""

from dataclasses import dataclass
from typing import Literal

from ._errors import InvalidArguments

StorageTier = Literal["STANDARD", "HIGH_PERFORMANCE"]


@dataclass(frozen=True)
class ModelVolumeArgs:
    """A network volume lives in one data center and pins the workers that mount it there."""

    data_center: str
    size_gb: int = 100
    type: StorageTier | None = None
    """Storage tier; left out, the data center's primary one."""
    protect: bool = True
    """Whether Pulumi refuses to delete it: a deletion, or a replacement, destroys what is on it."""


@dataclass(frozen=True)
class VolumePlan:
    """Arguments of the `runpod.NetworkVolume`."""

    size: int
    data_center: str
    type: StorageTier | None
    protect: bool


def plan_model_volume(args: ModelVolumeArgs) -> VolumePlan:
    """Plan the volume. Raises InvalidArguments with every mistake at once."""
    mistakes = []
    if not 10 <= args.size_gb <= 4096:
        mistakes.append(("size_gb", f"is {args.size_gb}; a volume has from 10 to 4096 GB"))
    if not args.data_center.strip():
        mistakes.append(("data_center", "is empty; name the one it shall live in, such as EU-RO-1"))
    if mistakes:
        raise InvalidArguments("ModelVolume", mistakes)
    return VolumePlan(args.size_gb, args.data_center, args.type, args.protect)
