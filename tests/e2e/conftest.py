"""Fixtures of the end-to-end tests."""

from collections.abc import Iterator

import pytest

from tests.e2e.stand_in import MISSING, StandIn, deployed


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """One deployed stand-in for all tests that leave it serving."""
    if MISSING:
        pytest.skip(MISSING)
    with deployed(tmp_path_factory.mktemp("stand-in")) as made:
        yield made
