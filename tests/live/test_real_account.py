"""The life cycle against a real RunPod account; only on request.

    RUNPOD_LIVE=1 RUNPOD_API_KEY=... make test PYTEST_ARGS="tests/live -m live"

It starts no worker. The cap below is held before anything is created: what the program declares must cost at most
RUNPOD_LIVE_MAX_USD (default 0.10) per hour, the 10 GB volume included. Whatever bears the run's name prefix is deleted
at the end, whether the run succeeded or not.
"""

import os
import secrets
from decimal import Decimal
from pathlib import Path

import pytest

import tests.conftest
from runpod_rest import DEFAULT_API_URL, DEFAULT_JOBS_URL
from tests.live.life_cycle import Cloud, run_life_cycle
from vllm_sizing import hourly_cost, snapshot, volume_monthly_cost

pytestmark = [
    pytest.mark.live,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.environ.get("RUNPOD_LIVE") != "1", reason="a real account is used only with RUNPOD_LIVE=1"),
    pytest.mark.skipif(not os.environ.get("RUNPOD_API_KEY"), reason="RUNPOD_API_KEY is not set"),
]

HOURS_PER_MONTH = 730


def test_the_whole_life_cycle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Create, update, drift, refresh, repair, destroy; nothing is left and nothing leaks."""
    monkeypatch.setattr(tests.conftest, "OUTSIDE_ALLOWED", True)
    cap = Decimal(os.environ.get("RUNPOD_LIVE_MAX_USD", "0.10"))
    workers = hourly_cost(["ADA_24"], 1, 0, 0, snapshot()).ceiling_usd
    volume = volume_monthly_cost(10, "STANDARD", snapshot()).usd
    assert workers is not None
    assert volume is not None
    assert workers + volume / HOURS_PER_MONTH <= cap, "the run would cost more than RUNPOD_LIVE_MAX_USD allows"
    run_life_cycle(
        tmp_path,
        Cloud(
            DEFAULT_API_URL, DEFAULT_JOBS_URL, os.environ["RUNPOD_API_KEY"], f"vllm-runpod-live-{secrets.token_hex(4)}"
        ),
    )
