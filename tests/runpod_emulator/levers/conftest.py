"""`cloud`: one fresh control plane per test, and `levers`: the client of its levers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.runpod_emulator.control import support
from tests.support.levers import Levers


@pytest_asyncio.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[support.Cloud]:
    async with support.cloud(tmp_path / "state") as live:
        yield live


@pytest_asyncio.fixture
async def levers(cloud: support.Cloud) -> AsyncIterator[Levers]:
    async with Levers(cloud.ctx.base_url, support.KEY) as client:
        yield client
