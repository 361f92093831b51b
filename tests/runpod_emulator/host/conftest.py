"""The table of ways: each test that takes `isolation` runs with every way a root is made."""

import pytest

from runpod_emulator.host import Isolation
from tests.runpod_emulator.host.support import MODES


@pytest.fixture(params=MODES)
def isolation(request: pytest.FixtureRequest) -> Isolation:
    chosen: Isolation = request.param
    return chosen
