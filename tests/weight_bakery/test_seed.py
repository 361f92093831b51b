"""Seeding, without a gateway: addresses, part sizes, what is refused before anything is asked."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weight_bakery import BadRequest, SeedRequest, seed_volume
from weight_bakery._seed_request import DATA_CENTERS, MAX_PART_SIZE, check_repository, check_volume, part_size
from weight_bakery._seed_s3 import multipart_etag


@pytest.mark.parametrize("center", DATA_CENTERS)
def test_a_data_centre_has_an_address_of_its_own(center: str) -> None:
    """In lower case, whatever case was written."""
    request = SeedRequest(volume="1a2b3c4d5e", datacenter=center.lower())
    assert check_volume(request) == f"https://s3api-{center.lower()}.runpod.io"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"volume": "My Volume"}, "not its name"),
        ({"datacenter": None}, "--datacenter"),
        ({"datacenter": "EU-XX-9"}, "EU-RO-1"),
        ({"endpoint_url": "http://example.com"}, "https://"),
        ({"endpoint_url": "example.com"}, "https://"),
        ({"part_size": 500_000_000}, "476MiB"),
        ({"part_size": 1}, "5MiB"),
        ({"prefix": "../x"}, "huggingface-cache/hub"),
        ({"prefix": "/x"}, "huggingface-cache/hub"),
    ],
)
def test_what_cannot_be_a_volume_is_refused(changes: dict[str, object], said: str) -> None:
    """Each with what to write instead."""
    settings: dict[str, object] = {"volume": "1a2b3c4d5e", "datacenter": "EU-RO-1", **changes}
    with pytest.raises(BadRequest, match=said):
        check_volume(SeedRequest(**settings))  # type: ignore[arg-type]


@given(st.integers(min_value=0, max_value=4_000_000_000_000))
def test_parts_are_few_enough_and_below_the_limit(size: int) -> None:
    """At most 10 000 parts, each below 500 MB; the same for the same size, or nothing could be resumed."""
    length = part_size(size)
    assert length <= MAX_PART_SIZE < 500_000_000
    assert -(-size // length) <= 10_000
    assert length == part_size(size)


@pytest.mark.parametrize("repository", ["a/b/c", "../x", "a--b/c", "", "a/..", "/a"])
def test_a_repository_that_no_cache_folder_can_mean_is_refused(repository: str) -> None:
    """Two dashes stand for the slash in a cache, so a name with them would be read as another."""
    with pytest.raises(BadRequest, match="--repository"):
        check_repository(repository)


def test_the_etag_of_parts_is_that_of_s3() -> None:
    """A vector for the parts `a` x 5 MiB and `b`: md5 of the two md5s, and their number."""
    parts = ["79b281060d337b9b2b84ccf390adcf74", "92eb5ffee6ae2fec3ad71c777531578f"]
    assert multipart_etag(parts) == "e5a8c5272b26fc10581a21089559b006-2"


@pytest.mark.parametrize(("lock", "said"), [(None, "--model"), ("weights.lock", "names no baked image")])
def test_without_a_model_the_lock_must_name_one(tmp_path: Path, lock: str | None, said: str) -> None:
    """Nothing is asked of the volume before that is clear."""
    request = SeedRequest(volume="1a2b3c4d5e", datacenter="EU-RO-1", lock=tmp_path / lock if lock is not None else None)
    with pytest.raises(BadRequest, match=said):
        seed_volume(request)
