"""What an endpoint costs, and which GPU pools a wish for GPU types means.

What is true here: prices and pools come from a dated snapshot of what RunPod published, never from memory; each figure
is a list price and says so; what RunPod does not publish is unknown (`None`) and is said to be unknown, not guessed.
The snapshot is plain data, so a newer catalogue (RunPod's `GET /v2/catalog/gpus`) can take its place.

Imports nothing of the project, and nothing outside the standard library. Does no I/O but reading its own data file.
"""

from vllm_sizing._catalogue import Catalogue, GpuType, Pool, VolumeTier, snapshot
from vllm_sizing._costs import HourlyCost, MonthlyCost, format_usd, hourly_cost, volume_monthly_cost
from vllm_sizing._errors import CatalogueError, InvalidQuantity, SizingError, TypesWithoutPool, UnknownNames
from vllm_sizing._gpus import GpuSelection, check_pools, gpu_types_to_pools

__all__ = [
    "Catalogue",
    "CatalogueError",
    "GpuSelection",
    "GpuType",
    "HourlyCost",
    "InvalidQuantity",
    "MonthlyCost",
    "Pool",
    "SizingError",
    "TypesWithoutPool",
    "UnknownNames",
    "VolumeTier",
    "check_pools",
    "format_usd",
    "gpu_types_to_pools",
    "hourly_cost",
    "snapshot",
    "volume_monthly_cost",
]
