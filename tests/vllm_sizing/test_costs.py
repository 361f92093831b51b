"""Prices: what is known, and what is said to be unknown."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_sizing import (
    InvalidQuantity,
    UnknownNames,
    format_usd,
    hourly_cost,
    snapshot,
    volume_monthly_cost,
)

CATALOGUE = snapshot()
PRICED = sorted(pool.id for pool in CATALOGUE.pools.values() if pool.usd_per_hour is not None)


def test_floor_and_ceiling_are_workers_times_price() -> None:
    """0.00031 USD a second are 1.116 USD an hour."""
    cost = hourly_cost(["ADA_24"], 1, 1, 3, CATALOGUE)
    assert (cost.floor_usd, cost.ceiling_usd) == (Decimal("1.116"), Decimal("3.348"))
    assert cost.basis == "list price of ADA_24, 1.12 USD per GPU and hour, 1 GPU per worker, as of 2026-06-08"


def test_the_dearest_pool_bounds_the_cost() -> None:
    """Pools have no order: H100 at 4.176 bounds RTX PRO 6000 at 3.996, though it has less memory."""
    cost = hourly_cost(["BLACKWELL_96", "ADA_80_PRO"], 2, 0, 1, CATALOGUE)
    assert (cost.floor_usd, cost.ceiling_usd) == (Decimal(0), Decimal("8.352"))
    assert "ADA_80_PRO" in cost.basis
    assert "2 GPUs per worker" in cost.basis


def test_an_unpublished_price_is_unknown_and_said_so() -> None:
    """One unknown pool makes the ceiling unknown; no worker at all still costs nothing."""
    cost = hourly_cost(["ADA_24", "ADA_32_PRO"], 1, 0, 2, CATALOGUE)
    assert (cost.floor_usd, cost.ceiling_usd) == (Decimal(0), None)
    assert cost.basis == "no price is published for ADA_32_PRO (catalogue of 2026-06-08)"
    assert format_usd(cost.ceiling_usd) == "unknown"


@pytest.mark.parametrize(("count", "low", "high"), [(0, 0, 1), (1, 2, 1), (1, -1, 1)])
def test_senseless_counts_are_refused(count: int, low: int, high: int) -> None:
    """No negative workers, no worker without a GPU, no floor above the ceiling."""
    with pytest.raises(InvalidQuantity):
        hourly_cost(["ADA_24"], count, low, high, CATALOGUE)


@given(
    st.lists(st.sampled_from(PRICED), min_size=1),
    st.sampled_from(PRICED),
    st.integers(1, 8),
    st.integers(0, 10),
    st.integers(0, 10),
)
def test_asking_for_more_never_costs_less(pools: list[str], extra: str, count: int, low: int, more: int) -> None:
    """Another pool, another GPU or another worker never lowers either bound, and the floor never tops the ceiling."""
    cost = hourly_cost(pools, count, low, low + more, CATALOGUE)
    for dearer in (
        hourly_cost([*pools, extra], count, low, low + more, CATALOGUE),
        hourly_cost(pools, count + 1, low, low + more, CATALOGUE),
        hourly_cost(pools, count, low + 1, low + more + 1, CATALOGUE),
    ):
        assert cost.floor_usd is not None
        assert cost.ceiling_usd is not None
        assert dearer.floor_usd is not None
        assert dearer.ceiling_usd is not None
        assert cost.floor_usd <= cost.ceiling_usd
        assert cost.floor_usd <= dearer.floor_usd
        assert cost.ceiling_usd <= dearer.ceiling_usd


def test_a_volume_costs_less_above_the_step() -> None:
    """1000 GB at 0.07, the rest at 0.05."""
    assert volume_monthly_cost(100, "STANDARD", CATALOGUE).usd == Decimal("7.00")
    assert volume_monthly_cost(1500, "STANDARD", CATALOGUE).usd == Decimal("95.00")


def test_the_fast_volume_has_no_published_price() -> None:
    """RunPod shows it in the console only."""
    cost = volume_monthly_cost(100, "HIGH_PERFORMANCE", CATALOGUE)
    assert cost.usd is None
    assert "no price is published" in cost.basis


def test_unknown_volume_types_are_refused() -> None:
    """With the nearest name."""
    with pytest.raises(UnknownNames, match="did you mean `STANDARD`"):
        volume_monthly_cost(100, "STANDART", CATALOGUE)
    with pytest.raises(InvalidQuantity):
        volume_monthly_cost(0, "STANDARD", CATALOGUE)


@given(st.decimals(min_value=0, max_value=10**6, places=6))
def test_shown_amounts_never_promise_too_little(amount: Decimal) -> None:
    """Rounded up to whole cents, by less than one."""
    shown = Decimal(format_usd(amount))
    assert amount <= shown < amount + Decimal("0.01")
