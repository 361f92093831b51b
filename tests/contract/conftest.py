"""`published`: the contract, or a skip that says where it comes from."""

import pytest

from tests.contract import support


@pytest.fixture(scope="session")
def published() -> support.Contract:
    found = support.contract()
    if found is None:
        pytest.skip(support.MISSING)
    return found
