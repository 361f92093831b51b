"""What it costs at list price. Unknown stays unknown; nothing is rounded before it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal

from vllm_sizing._catalogue import Catalogue
from vllm_sizing._errors import InvalidQuantity, UnknownNames
from vllm_sizing._gpus import check_pools

_CENT = Decimal("0.01")


@dataclass(frozen=True)
class HourlyCost:
    """What an endpoint costs per hour: at least, with the workers that always run, and at most, with all of them.

    None means that a price it depends on is not published. `basis` says in one line what the figures rest on.
    """

    floor_usd: Decimal | None
    ceiling_usd: Decimal | None
    basis: str


@dataclass(frozen=True)
class MonthlyCost:
    """What a network volume costs per month; None where no price is published."""

    usd: Decimal | None
    basis: str


def hourly_cost(
    pools: Sequence[str], gpu_count: int, min_workers: int, max_workers: int, catalogue: Catalogue
) -> HourlyCost:
    """Floor and ceiling of an endpoint: `min_workers` and `max_workers` on the dearest of `pools`, for a full hour.

    RunPod gives the listed pools no order, so the dearest one is the only honest bound. Container disk and network
    volumes are not in it. A worker count of zero costs nothing, also where the price is unknown.
    """
    if gpu_count < 1:
        raise InvalidQuantity(f"a worker needs at least one GPU, not {gpu_count}")
    if not 0 <= min_workers <= max_workers:
        raise InvalidQuantity(f"{min_workers} to {max_workers} workers is no range")
    wanted = check_pools(pools, catalogue)
    prices = {name: catalogue.pools[name].usd_per_hour for name in wanted}
    unknown = [name for name, price in prices.items() if price is None]
    dearest = max(prices, key=lambda name: prices[name] or Decimal(0))
    price = None if unknown else prices[dearest]
    gpus = f"{gpu_count} GPU{'s' if gpu_count > 1 else ''} per worker"
    if price is None:
        basis = f"no price is published for {', '.join(unknown)} (catalogue of {catalogue.as_of})"
    else:
        basis = f"list price of {dearest}, {format_usd(price)} USD per GPU and hour, {gpus}, as of {catalogue.as_of}"
    return HourlyCost(_times(min_workers * gpu_count, price), _times(max_workers * gpu_count, price), basis)


def volume_monthly_cost(size_gb: int, volume_type: str, catalogue: Catalogue) -> MonthlyCost:
    """What a network volume of `size_gb` costs per month, used or not.

    The lower rate counts for the part above the step only; RunPod's pages can be read both ways (runpod-api.md §8,
    row 23), and this reading never understates.
    """
    if size_gb < 1:
        raise InvalidQuantity(f"a volume of {size_gb} GB is no volume")
    if volume_type not in catalogue.volume_tiers:
        raise UnknownNames("volume type", [volume_type], catalogue.volume_tiers, catalogue.as_of)
    tier = catalogue.volume_tiers[volume_type]
    if tier is None:
        return MonthlyCost(None, f"no price is published for {volume_type} volumes (catalogue of {catalogue.as_of})")
    below = min(size_gb, tier.above_gb)
    usd = below * tier.usd_per_gb_month + (size_gb - below) * tier.usd_per_gb_month_above
    return MonthlyCost(usd, f"list price per GB and month, as of {catalogue.as_of}")


def format_usd(amount: Decimal | None) -> str:
    """An amount for people: whole cents, rounded up so that it never promises too little; `unknown` for None."""
    return "unknown" if amount is None else str(amount.quantize(_CENT, rounding=ROUND_UP))


def _times(count: int, price: Decimal | None) -> Decimal | None:
    if count == 0:
        return Decimal(0)
    return None if price is None else count * price
