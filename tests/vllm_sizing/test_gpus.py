"""From GPU types to pools."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_sizing import (
    GpuSelection,
    InvalidQuantity,
    TypesWithoutPool,
    UnknownNames,
    check_pools,
    gpu_types_to_pools,
    snapshot,
)

CATALOGUE = snapshot()
PLACEABLE = sorted(kind.id for kind in CATALOGUE.types.values() if kind.pool)


def test_the_only_type_of_a_pool_excludes_nothing() -> None:
    """An RTX 4090 is a whole pool."""
    assert gpu_types_to_pools(["NVIDIA GeForce RTX 4090"], CATALOGUE) == GpuSelection(("ADA_24",))


def test_the_other_types_of_a_pool_are_excluded() -> None:
    """Who asks for an L40S does not get an L40."""
    chosen = gpu_types_to_pools(["NVIDIA L40S"], CATALOGUE)
    assert chosen == GpuSelection(("ADA_48_PRO",), ("NVIDIA L40", "NVIDIA RTX 6000 Ada Generation"))


def test_unknown_types_are_named_all_at_once_with_the_nearest() -> None:
    """A short name is enough to be understood."""
    with pytest.raises(UnknownNames) as caught:
        gpu_types_to_pools(["RTX 4090", "NVIDIA H20O", "NVIDIA L40S"], CATALOGUE)
    assert caught.value.suggestions == {"RTX 4090": "NVIDIA GeForce RTX 4090", "NVIDIA H20O": "NVIDIA H200"}
    assert "unknown GPU types `RTX 4090` (did you mean `NVIDIA GeForce RTX 4090`?), `NVIDIA H20O`" in str(caught.value)


def test_a_type_without_a_pool_is_refused() -> None:
    """It is not silently left out."""
    with pytest.raises(TypesWithoutPool) as caught:
        gpu_types_to_pools(["NVIDIA L40S", "NVIDIA A30"], CATALOGUE)
    assert caught.value.types == ("NVIDIA A30",)
    assert "in no serverless pool" in str(caught.value)


def test_nothing_asked_is_refused() -> None:
    """An empty wish names no pool."""
    with pytest.raises(InvalidQuantity):
        gpu_types_to_pools([], CATALOGUE)
    with pytest.raises(InvalidQuantity):
        check_pools([], CATALOGUE)


def test_pools_are_checked_by_name() -> None:
    """A misspelt pool is named with the nearest one; a repeated one counts once."""
    assert check_pools(["ADA_24", "ADA_24", "AMPERE_80"], CATALOGUE) == ("ADA_24", "AMPERE_80")
    with pytest.raises(UnknownNames, match=r"unknown GPU pool `ADA_80` \(did you mean `ADA_80_PRO`\?\)"):
        check_pools(["ADA_80"], CATALOGUE)


@given(st.lists(st.sampled_from(PLACEABLE), min_size=1))
def test_pools_minus_exclusions_are_exactly_the_wish(types: list[str]) -> None:
    """What RunPod may place on is what was asked for: not less, and not more."""
    chosen = gpu_types_to_pools(types, CATALOGUE)
    allowed = {kind for pool in chosen.pools for kind in CATALOGUE.pools[pool].type_ids} - set(chosen.excluded_types)
    assert allowed == set(types)
    assert len(set(chosen.pools)) == len(chosen.pools)
