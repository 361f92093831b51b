"""A configured provider with the emulator behind it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from redaction import forget_secrets
from tests.pulumi_runpod.cloud import KEY, Cloud, live_cloud
from tests.pulumi_runpod.engine_player import Player, engine


@pytest.fixture(autouse=True)
def _no_secrets_left_over() -> None:
    forget_secrets()


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[Cloud]:
    async with live_cloud(tmp_path) as cloud:
        yield cloud


@pytest.fixture
async def player(cloud: Cloud) -> AsyncIterator[Player]:
    async with engine(environ={"RUNPOD_API_KEY": KEY}) as player:
        await player.configure({"apiUrl": cloud.url, "jobsUrl": f"{cloud.url}/v2"})
        yield player
