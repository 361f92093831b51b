"""`cloud`: one fresh control plane per test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.runpod_emulator.control import support


@pytest_asyncio.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[support.Cloud]:
    async with support.cloud(tmp_path / "state") as live:
        yield live
