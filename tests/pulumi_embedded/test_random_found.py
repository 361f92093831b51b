"""What random programs found, as scenarios: through pulumi_embedded against the recording, and the CLI itself."""

from pathlib import Path
from typing import Any

import pytest

from tests.pulumi_embedded.random_found import FOUND
from tests.pulumi_embedded.record import comparable, differences, play, read, record
from tests.pulumi_embedded.scenario import Scenario
from tests.pulumi_embedded.support import Sandbox, has_cli
from tests.pulumi_embedded.virtualenv import own_virtualenv

NAMED: list[Any] = [pytest.param(scenario, id=scenario.name) for scenario in FOUND]


@pytest.mark.parametrize("scenario", NAMED)
def test_what_random_programs_found_stays_mended(scenario: Scenario, tmp_path: Path) -> None:
    """Same operations, provider calls, state and exit code as the CLI."""
    outcomes = play(scenario, Sandbox(tmp_path / "sandbox", "embedded", own_virtualenv()))
    found = differences(comparable(scenario, outcomes), read(scenario.name))
    assert not found, "\n".join([*found, *(outcome.output for outcome in outcomes)])


@pytest.mark.slow
@pytest.mark.pulumi_cli
@pytest.mark.skipif(not has_cli(), reason="the pulumi CLI is not on PATH")
@pytest.mark.parametrize("scenario", NAMED)
def test_the_cli_still_does_what_was_found(scenario: Scenario, tmp_path: Path) -> None:
    """The recordings are the CLI's behaviour, not ours."""
    assert not differences(record(scenario, tmp_path / "sandbox"), read(scenario.name))
