"""The snapshot that ships, and the data it refuses."""

import datetime
from typing import Any

import pytest

import vllm_sizing
from vllm_sizing import CatalogueError, snapshot
from vllm_sizing._catalogue import read_catalogue


def document() -> dict[str, Any]:
    """The smallest catalogue that holds together."""
    return {
        "as_of": "2026-01-01",
        "source": "test",
        "pools": [{"id": "P", "vram_gb": 24, "usd_per_second": "0.001"}],
        "types": [{"id": "T", "vram_gb": 24, "pool": "P"}],
        "network_volumes": {"STANDARD": None},
    }


def test_the_snapshot_is_dated_and_whole() -> None:
    """Every pool has cards, every card's pool exists, and only one price is missing."""
    catalogue = snapshot()
    assert datetime.date.fromisoformat(catalogue.as_of) <= datetime.date(2026, 11, 21)
    assert catalogue.source
    assert [pool.id for pool in catalogue.pools.values() if pool.usd_per_hour is None] == ["ADA_32_PRO"]
    for pool in catalogue.pools.values():
        assert min(catalogue.types[name].vram_gb for name in pool.type_ids) >= pool.vram_gb


def test_a_small_catalogue_can_take_its_place() -> None:
    """Data alone decides."""
    assert read_catalogue(document()).pools["P"].type_ids == ("T",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"types": [{"id": "T", "vram_gb": 24, "pool": "Q"}]}, "puts T in Q"),
        ({"types": []}, "P has no GPU type"),
        ({"pools": [{"id": "P", "vram_gb": 24, "usd_per_second": "cheap"}]}, "damaged"),
        ({"types": [{"id": "T"}]}, "damaged"),
    ],
)
def test_contradictions_are_refused(change: dict[str, Any], message: str) -> None:
    """A damaged catalogue is an error, not a wrong price."""
    with pytest.raises(CatalogueError, match=message):
        read_catalogue(document() | change)


def test_the_public_face_is_what_it_says() -> None:
    """Everything in __all__ exists, and is sorted so that a change shows."""
    assert list(vllm_sizing.__all__) == sorted(vllm_sizing.__all__)
    assert all(hasattr(vllm_sizing, name) for name in vllm_sizing.__all__)
