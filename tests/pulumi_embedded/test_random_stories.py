"""Random programs, edits and faults: the embedded engine against what the CLI was recorded to do, and the laws."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pulumi_embedded.random_compare import (
    STORIES,
    compare,
    compare_these,
    digest,
    happened,
    histogram,
    recorded,
    recording,
)
from tests.pulumi_embedded.random_laws import broken, kill_breaks, law_breaks
from tests.pulumi_embedded.random_play import Player, Stage, stage
from tests.pulumi_embedded.random_program import in_order
from tests.pulumi_embedded.random_render import rendered
from tests.pulumi_embedded.random_shrink import smaller, smallest
from tests.pulumi_embedded.random_story import Command, Story, story, told
from tests.pulumi_embedded.support import has_cli

LAWFUL = (3, 151)
"""Stories whose laws are tried every day."""

# What the recorded stories hold at least of each, so that they cannot become trivial unnoticed.
COVERED = {
    "kind Thing": 1000, "kind Plain": 200, "kind Group": 200, "kind Demo": 100, "kind Get": 50,
    "command preview": 100, "command refresh": 50, "command destroy": 50, "flag --refresh": 20,
    "flag --continue-on-error": 20, "program error": 10, "parallel program": 100, "changed configuration": 10,
    "cloud changed": 20, "cloud deleted": 20, "cloud found": 30,
    "alias name": 20, "alias parent": 5, "alias type": 8,
    "value $out": 500, "value $secret": 100, "value $concat": 30,
    **{f"option {option}": 20 for option in (
        "additional_secret_outputs", "custom_timeouts", "delete_before_replace", "deleted_with", "depends_on",
        "hide_diffs", "ignore_changes", "import_", "parent", "protect", "provider", "providers", "replace_on_changes",
        "replace_with", "replacement_trigger", "retain_on_delete", "version",
    )},
    **{f"fault {fault}": 3 for fault in (
        "check error", "diff error", "create error", "create init", "create internal", "create slow", "create exit",
        "update error", "update init", "update internal", "update slow", "delete error", "delete internal",
        "delete slow", "read error", "read init", "read slow",
    )},
}  # fmt: skip
HAPPENED = {
    "operation create": 500, "operation same": 500, "operation update": 100, "operation delete": 100,
    "operation create-replacement": 50, "operation replace": 50, "operation delete-replaced": 50,
    "operation read": 30, "operation import": 10, "operation discard": 5, "operation refresh": 200,
    "exit 0": 500, "exit 1": 100, "state with init errors": 20, "state with left-overs": 10, "call diff (unknowns)": 20,
}  # fmt: skip


@pytest.fixture(scope="module")
def embedded() -> Iterator[Stage]:
    """A stage for the embedded engine."""
    with stage("embedded") as made:
        yield made


def test_a_sample_of_random_programs_does_what_the_cli_was_recorded_to_do() -> None:
    """Same operations, provider calls, cloud, state and exit code, command by command."""
    done, found = compare_these(recording()["sample"], live=False)
    assert done == len(recording()["sample"])
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.pulumi_cli
@pytest.mark.skipif(not has_cli(), reason="the pulumi CLI is not on PATH")
def test_the_cli_still_does_what_was_recorded_in_random_programs() -> None:
    """Some stories again through both."""
    done, found = compare(4, cli=True)
    assert done == 4
    assert not found, "\n".join(found)


@pytest.mark.parametrize("seed", LAWFUL)
def test_the_laws_hold_for_a_random_program(embedded: Stage, seed: int) -> None:
    """Every written state is whole and without secrets; previews tell the truth; a second update is nothing."""
    assert not law_breaks(embedded, story(seed))


@pytest.mark.parametrize(("seed", "at", "when"), [(0, 1, "before"), (3, 1, "after")])
def test_a_killed_engine_is_recovered_from(embedded: Stage, seed: int, at: int, when: str) -> None:
    """kill -9 around a change of the cloud: the state is whole, and the next update brings everything about."""
    killed, found = kill_breaks(embedded, story(seed), at, when)
    assert killed
    assert not found, "\n".join(found)


def test_the_recording_is_of_these_stories_and_covers_what_there_is() -> None:
    """Enough stories, the very ones that the generator tells, and enough of everything in them."""
    stories = recording()["stories"]
    assert len(stories) >= STORIES
    counts = histogram(int(seed) for seed in stories) + happened(recorded(int(seed)) for seed in stories)
    missing = {key: counts[key] for key, least in {**COVERED, **HAPPENED}.items() if counts[key] < least}
    assert not missing


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.randoms(use_true_random=False), st.booleans())
def test_any_story_can_be_told(source: random.Random, replacing: bool) -> None:
    """Everything is declared before it is used, the programs are Python, and stories are JSON."""
    for command in told(source, replacing).commands:
        json.dumps([command.cloud, command.faults])
        if command.program is not None:
            assert in_order(command.program["resources"])
            compile(rendered(command.program), "program", "exec")


def test_a_story_is_named_by_its_seed() -> None:
    """The same seed tells the same story."""
    assert digest(story(7)) == digest(story(7)) != digest(story(8))


def test_a_story_is_made_smaller_as_long_as_it_shows_the_same() -> None:
    """What is left is what matters: one command, one resource."""

    def has_a_plain(candidate: Story) -> bool:
        programs = [command.program for command in candidate.commands if command.program is not None]
        return any(resource["kind"] == "Plain" for program in programs for resource in program["resources"])

    seed = next(seed for seed in range(100) if has_a_plain(story(seed)))
    left = smallest(story(seed), has_a_plain)
    assert len(left.commands) == 1
    assert left.commands[0].program is not None
    (resource,) = left.commands[0].program["resources"]
    assert (resource["kind"], resource["props"], resource["opts"]) == ("Plain", {}, {})
    assert all(in_order(c.program["resources"]) for s in smaller(story(seed)) for c in s.commands if c.program)


def test_a_broken_state_is_noticed(embedded: Stage) -> None:
    """The checker of states is one that can fail: wrong order, a secret in clear."""
    player = Player(embedded.sandbox())
    program = {"serial": True, "exports": {}, "error": None, "resources": [
        {"kind": "Thing", "name": "a", "props": {"value": {"$secret": "hush-one"}}, "opts": {}},
        {"kind": "Thing", "name": "b", "props": {"value": {"$out": ["a", "url"]}}, "opts": {}},
    ]}  # fmt: skip
    assert player.play(Command("up", program))["exit"] == 0
    written = player.sandbox.written()
    assert len(written) > 3
    assert not [found for path in written for found in broken(path)]
    document = json.loads(written[-1].read_text())
    document["checkpoint"]["latest"]["resources"].reverse()
    path = Path(player.sandbox.root / "reversed.json")
    path.write_text(json.dumps(document).replace('"tier"', '"hush-one"', 1))
    assert {"hush-one in clear"} < set(broken(path))
    shutil.rmtree(player.sandbox.root)
