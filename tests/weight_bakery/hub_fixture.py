"""The fixture `hub`: a running Hub, and a client that never waits long between its tries."""

from collections.abc import AsyncIterator
from pathlib import Path

import huggingface_hub
import pytest

from tests.weight_bakery.hub import Hub, running_hub
from tests.weight_bakery.support import model_files
from weight_bakery._source_hub import HubSource

_failed = HubSource.failed


def _failed_fast(self: HubSource, error: Exception, failures: int) -> None:
    self._sleep = lambda _: None
    _failed(self, error, failures)


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Hub]:
    """A Hub with the test model; no token of this machine is used, and no pause is long."""
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    monkeypatch.setattr("weight_bakery._source_hub.get_token", lambda: None)
    monkeypatch.setattr("weight_bakery._source_hub.HubSource.failed", _failed_fast)
    async with running_hub(model_files(shard_bytes=3_000_000)) as hub:
        yield hub
    huggingface_hub.close_session()
