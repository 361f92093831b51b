"""From GPU types, which people think in, to pools and exclusions, which RunPod places by."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vllm_sizing._catalogue import Catalogue
from vllm_sizing._errors import InvalidQuantity, TypesWithoutPool, UnknownNames


@dataclass(frozen=True)
class GpuSelection:
    """The pools to ask for, and the types in them that are not wanted."""

    pools: tuple[str, ...]
    excluded_types: tuple[str, ...] = ()


def gpu_types_to_pools(types: Sequence[str], catalogue: Catalogue) -> GpuSelection:
    """The pools that hold `types`, in the order they are named, and every other type of those pools as an exclusion.

    All unknown names are reported in one error. A type without a pool is refused: leaving it out silently would place
    the endpoint on cards that nobody asked for.
    """
    wanted = tuple(dict.fromkeys(types))
    if not wanted:
        raise InvalidQuantity("name at least one GPU type")
    unknown = [name for name in wanted if name not in catalogue.types]
    if unknown:
        placeable = [kind.id for kind in catalogue.types.values() if kind.pool is not None]
        raise UnknownNames("GPU type", unknown, placeable, catalogue.as_of)
    without_pool = [name for name in wanted if catalogue.types[name].pool is None]
    if without_pool:
        raise TypesWithoutPool(without_pool, catalogue.as_of)
    pools = tuple(dict.fromkeys(pool for name in wanted if (pool := catalogue.types[name].pool) is not None))
    excluded = (name for pool in pools for name in catalogue.pools[pool].type_ids if name not in wanted)
    return GpuSelection(pools, tuple(excluded))


def check_pools(pools: Iterable[str], catalogue: Catalogue) -> tuple[str, ...]:
    """`pools` without repetitions; raises UnknownNames for those that the catalogue does not know."""
    wanted = tuple(dict.fromkeys(pools))
    if not wanted:
        raise InvalidQuantity("name at least one GPU pool")
    unknown = [name for name in wanted if name not in catalogue.pools]
    if unknown:
        raise UnknownNames("GPU pool", unknown, catalogue.pools, catalogue.as_of)
    return wanted
