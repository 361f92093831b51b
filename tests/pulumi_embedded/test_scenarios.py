"""The scenario table through pulumi_embedded, against what the pulumi CLI was recorded to do, and the CLI itself."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pulumi_embedded.random_warm import WarmPython
from tests.pulumi_embedded.record import comparable, differences, play, read, record
from tests.pulumi_embedded.scenarios import SCENARIOS, Scenario
from tests.pulumi_embedded.scenarios_rare import EVERY_DAY, RARE
from tests.pulumi_embedded.support import STACK, Sandbox, has_cli
from tests.pulumi_embedded.virtualenv import cli_virtualenv, own_virtualenv

needs_cli = pytest.mark.skipif(not has_cli(), reason="the pulumi CLI is not on PATH")

_AT_LENGTH = {scenario.name for scenario in RARE} - EVERY_DAY


def _named(scenarios: list[Scenario]) -> list[Any]:
    return [pytest.param(scenario, id=scenario.name) for scenario in scenarios]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A new stack, in an environment whose programs and plugins start in milliseconds, with the SDK already loaded."""
    folder = tmp_path_factory.mktemp("warm")
    with WarmPython(folder / "virtualenv", Path(sys.executable)) as warm:
        sandbox = Sandbox(folder / "made", "embedded", warm.environment)
        sandbox.init()
        yield sandbox


def _check(scenario: Scenario, sandbox: Sandbox, made: Sandbox | None = None) -> None:
    outcomes = play(scenario, sandbox, made)
    found = differences(comparable(scenario, outcomes), read(scenario.name))
    outputs = "\n".join(outcome.output for outcome in outcomes)
    assert not found, "\n".join([*found, outputs])


@pytest.mark.parametrize("scenario", _named([s for s in SCENARIOS if s.quick]))
def test_does_what_the_cli_was_recorded_to_do(scenario: Scenario, tmp_path: Path) -> None:
    """Same operations and provider calls in the same order, same state, same exit code."""
    _check(scenario, Sandbox(tmp_path / "sandbox", "embedded", own_virtualenv()))


@pytest.mark.slow
@pytest.mark.parametrize("scenario", _named([s for s in SCENARIOS if not s.quick and s.name not in _AT_LENGTH]))
def test_does_what_the_cli_was_recorded_to_do_in_rarer_cases(scenario: Scenario, made: Sandbox, tmp_path: Path) -> None:
    """The rest of the table."""
    _check(scenario, made.another(tmp_path / "sandbox"), made)


@pytest.mark.slow
@pytest.mark.pulumi_cli
@needs_cli
@pytest.mark.parametrize("scenario", _named([s for s in SCENARIOS if s.name in _AT_LENGTH]))
def test_does_what_the_cli_was_recorded_to_do_at_length(scenario: Scenario, made: Sandbox, tmp_path: Path) -> None:
    """What would take the everyday run too long; it needs no CLI, but goes with the runs that have one."""
    _check(scenario, made.another(tmp_path / "sandbox"), made)


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


def _bare(value: Any) -> Any:
    """A JSON preview without times, positions and the order of dependencies."""
    if isinstance(value, dict):
        left_out = {"sourcePosition", "stackTrace", "created", "modified", "duration"}
        return {key: _bare(item) for key, item in value.items() if key not in left_out}
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return value


@pytest.mark.slow
@pytest.mark.pulumi_cli
@needs_cli
def test_the_json_preview_is_the_clis_document(tmp_path: Path) -> None:
    """On one state: the same steps, states, reasons, detailed differences, summary and diagnostics."""
    sandbox = Sandbox(tmp_path / "sandbox", "embedded", cli_virtualenv())
    sandbox.init()
    sandbox.program(
        'a = Thing("a", fixed=1, password="hunter22", tags={"x": [1, 2]})\nb = Thing("b", value=a.url)\nThing("c")'
    )
    assert sandbox.outcome("up").exit == 0
    sandbox.program(
        'a = Thing("a", fixed=2, password="hunter33", tags={"x": [1, 3]})\nb = Thing("b", value=a.url)\n'
        'Thing("d", O(protect=True), value=b.serial)\nprint("said")\npulumi.log.warn("careful")'
    )
    documents = {}
    for engine in ("embedded", "cli"):
        sandbox.hand_over_to(engine)
        code, output = sandbox.run("preview", "--stack", STACK, "--json")
        assert code == 0, output
        documents[engine] = _bare(json.loads(output[output.index("{") : output.rindex("}") + 1]))
    ours, theirs = documents["embedded"], documents["cli"]
    assert [step["urn"] for step in ours["steps"]] == [step["urn"] for step in theirs["steps"]]
    for mine, cli in zip(ours["steps"], theirs["steps"], strict=True):
        assert mine == cli
    for key in ("config", "changeSummary"):
        assert ours.get(key) == theirs.get(key)
    # The CLI passes on the program's output in the pieces it came in, with their line ends.
    said = [
        sorted((d["severity"], d["message"].strip(), d.get("urn", "")) for d in side["diagnostics"])
        for side in documents.values()
    ]
    assert said[0] == said[1]


@pytest.mark.slow
@pytest.mark.pulumi_cli
@needs_cli
def test_the_json_previews_of_refresh_and_destroy_are_the_clis_documents(tmp_path: Path) -> None:
    """What was changed, deleted or cannot be reached, on one state; what runs side by side may come in any order."""
    sandbox = Sandbox(tmp_path / "sandbox", "embedded", cli_virtualenv())
    sandbox.init()
    sandbox.program(
        'a = Thing("a", fixed=1, password="hunter22", tags={"x": [1, 2]})\nb = Thing("b", value=a.url)\n'
        'Thing("c", O(depends_on=[b]))\nThing("g", O(id="found"))\nGroup("k")\npulumi.export("u", a.url)'
    )
    sandbox.change_cloud({"+found": {"value": 7, "tier": "basic"}})
    assert sandbox.outcome("up").exit == 0
    changed = {"fixed": 2, "password": "hunter44", "tags": {"x": [2]}, "more": {"k": 1}}
    sandbox.change_cloud({"a": changed, "b": None, "found": {"value": 8}})
    unreachable = {"rpc": "read", "name": "c", "kind": "unreachable"}
    for faults, command in (
        ([], ("refresh",)), ([], ("refresh", "--show-sames")), ([unreachable], ("refresh",)),
        ([], ("destroy",)), ([], ("destroy", "--refresh")),
    ):  # fmt: skip
        sides = []
        for engine in ("embedded", "cli"):
            sandbox.hand_over_to(engine)
            sandbox.faults(faults)
            code, output = sandbox.run(*command, "--stack", STACK, "--preview-only", "--json")
            document = _bare(json.loads(output[output.index("{") : output.rindex("}") + 1]))
            document["steps"].sort(key=lambda step: (step["urn"], step["op"]))
            sides.append((command, code, document))
        assert sides[0] == sides[1]
