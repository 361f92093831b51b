"""GPU types, pools and prices as RunPod published them on one day."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from importlib.resources import files
from typing import Any

from vllm_sizing._errors import CatalogueError

_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class GpuType:
    """One kind of card, by RunPod's id for it. `pool` is None where serverless endpoints cannot have it."""

    id: str
    vram_gb: int
    pool: str | None
    note: str = ""


@dataclass(frozen=True)
class Pool:
    """A group of GPU types that RunPod places and prices alike. No price means: none is published."""

    id: str
    vram_gb: int
    usd_per_second: Decimal | None
    type_ids: tuple[str, ...]
    note: str = ""

    @property
    def usd_per_hour(self) -> Decimal | None:
        """List price of one GPU for one hour."""
        return None if self.usd_per_second is None else self.usd_per_second * _SECONDS_PER_HOUR


@dataclass(frozen=True)
class VolumeTier:
    """The price of a network volume: per GB and month, cheaper for the part above `above_gb`."""

    usd_per_gb_month: Decimal
    above_gb: int
    usd_per_gb_month_above: Decimal


@dataclass(frozen=True)
class Catalogue:
    """What can be had, and for how much, with the day and the source of the figures."""

    as_of: str
    source: str
    pools: Mapping[str, Pool]
    types: Mapping[str, GpuType]
    volume_tiers: Mapping[str, VolumeTier | None]
    """By volume type; None where no price is published."""


@functools.cache
def snapshot() -> Catalogue:
    """The catalogue that ships with this version."""
    text = files("vllm_sizing").joinpath("data/catalogue.json").read_text("utf-8")
    return read_catalogue(json.loads(text))


def read_catalogue(document: Mapping[str, Any]) -> Catalogue:
    """Build a catalogue from its JSON form; raises CatalogueError where the data contradicts itself."""
    try:
        types = {
            entry["id"]: GpuType(entry["id"], entry["vram_gb"], entry["pool"], entry.get("note", ""))
            for entry in document["types"]
        }
        pools = {
            entry["id"]: Pool(
                entry["id"],
                entry["vram_gb"],
                _price(entry["usd_per_second"]),
                tuple(kind.id for kind in types.values() if kind.pool == entry["id"]),
                entry.get("note", ""),
            )
            for entry in document["pools"]
        }
        tiers = {name: _tier(entry) for name, entry in document["network_volumes"].items()}
        catalogue = Catalogue(document["as_of"], document["source"], pools, types, tiers)
    except (KeyError, TypeError, InvalidOperation) as error:
        raise CatalogueError(f"the catalogue is damaged: {error!r}") from error
    for kind in types.values():
        if kind.pool is not None and kind.pool not in pools:
            raise CatalogueError(f"the catalogue puts {kind.id} in {kind.pool}, which it does not have")
    for pool in pools.values():
        if not pool.type_ids:
            raise CatalogueError(f"the catalogue's pool {pool.id} has no GPU type")
    return catalogue


def _price(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def _tier(entry: Mapping[str, Any] | None) -> VolumeTier | None:
    if entry is None:
        return None
    return VolumeTier(Decimal(entry["usd_per_gb_month"]), entry["above_gb"], Decimal(entry["usd_per_gb_month_above"]))
