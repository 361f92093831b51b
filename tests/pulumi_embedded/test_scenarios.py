"""The scenario table through pulumi_embedded, against what the pulumi CLI was recorded to do, and the CLI itself."""

from pathlib import Path
from typing import Any

import pytest

from tests.pulumi_embedded.record import comparable, differences, play, read, record
from tests.pulumi_embedded.scenarios import SCENARIOS, Scenario
from tests.pulumi_embedded.support import STACK, Sandbox, has_cli
from tests.pulumi_embedded.virtualenv import cli_virtualenv, own_virtualenv

pytestmark = pytest.mark.spread
needs_cli = pytest.mark.skipif(not has_cli(), reason="the pulumi CLI is not on PATH")


def _named(scenarios: list[Scenario]) -> list[Any]:
    return [pytest.param(scenario, id=scenario.name) for scenario in scenarios]


def _check(scenario: Scenario, root: Path) -> None:
    sandbox = Sandbox(root, "embedded", own_virtualenv())
    outcomes = play(scenario, sandbox)
    found = differences(comparable(scenario, outcomes), read(scenario.name))
    outputs = "\n".join(outcome.output for outcome in outcomes)
    assert not found, "\n".join([*found, outputs])


@pytest.mark.parametrize("scenario", _named([s for s in SCENARIOS if s.quick]))
def test_does_what_the_cli_was_recorded_to_do(scenario: Scenario, tmp_path: Path) -> None:
    """Same operations and provider calls in the same order, same state, same exit code."""
    _check(scenario, tmp_path / "sandbox")


@pytest.mark.slow
@pytest.mark.parametrize("scenario", _named([s for s in SCENARIOS if not s.quick]))
def test_does_what_the_cli_was_recorded_to_do_in_rarer_cases(scenario: Scenario, tmp_path: Path) -> None:
    """The rest of the table."""
    _check(scenario, tmp_path / "sandbox")


@pytest.mark.slow
@pytest.mark.pulumi_cli
@needs_cli
@pytest.mark.parametrize("scenario", _named(SCENARIOS))
def test_the_cli_still_does_what_was_recorded(scenario: Scenario, tmp_path: Path) -> None:
    """The recordings are the CLI's behaviour, not ours."""
    assert not differences(record(scenario, tmp_path / "sandbox"), read(scenario.name))


@pytest.mark.slow
@pytest.mark.pulumi_cli
@needs_cli
@pytest.mark.parametrize("scenario", _named([s for s in SCENARIOS if s.handover]))
@pytest.mark.parametrize(("first", "second"), [("embedded", "cli"), ("cli", "embedded")])
def test_a_state_is_taken_over_with_no_changes(scenario: Scenario, first: str, second: str, tmp_path: Path) -> None:
    """Whoever wrote the state, the other one finds nothing to do."""
    sandbox = Sandbox(tmp_path / "sandbox", first, cli_virtualenv())
    outcomes = play(scenario, sandbox)
    if outcomes[-1].exit != 0:
        settled = sandbox.outcome("up")
        assert settled.exit == 0, settled.output
    sandbox.faults([])
    sandbox.hand_over_to(second)
    code, output = sandbox.run("preview", "--stack", STACK, "--expect-no-changes")
    assert code == 0, output
