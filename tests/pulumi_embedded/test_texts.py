"""What is printed is what the pulumi CLI prints: rows, trees, messages, outputs, summary, each on its own stream."""

import difflib
from pathlib import Path
from typing import Any

import pytest

from tests.pulumi_embedded.support import Sandbox, has_cli
from tests.pulumi_embedded.texts import RECORDED, STORIES, tell
from tests.pulumi_embedded.virtualenv import cli_virtualenv, own_virtualenv

needs_cli = pytest.mark.skipif(not has_cli(), reason="the pulumi CLI is not on PATH")

_EVERY_DAY = ("own_diff", "failures", "outputs_that_go")

# Where ours says it in other words, on purpose: (what the CLI says, what we say).
_IN_OTHER_WORDS = [
    (
        "from the resource in your Pulumi program and run `pulumi up`, or use the command:",
        "from the resource in your program and run `up`, or use the command:",
    ),
    (
        "from your resource in your Pulumi program and run `pulumi up`, or use the command:",
        "from the resource in your program and run `up`, or use the command:",
    ),
    (
        "The resources in the stack have been deleted, but the history and configuration associated with the stack are "
        "still maintained.\nIf you want to remove the stack completely, run `pulumi stack rm dev`.",
        "The stack is empty now; its history and configuration are kept. To remove them too, run `stack rm dev`.",
    ),
]


def _difference(name: str, told: str) -> str:
    recorded = (RECORDED / f"{name}.txt").read_text()
    for theirs, ours in _IN_OTHER_WORDS:
        recorded = recorded.replace(theirs, ours)
    return "\n".join(
        difflib.unified_diff(recorded.splitlines(), told.splitlines(), "the CLI", "ours", lineterm="", n=2)
    )


def _marked(name: str) -> Any:
    # The longer ones need no CLI, but go with the runs that have one.
    return pytest.param(name, marks=[] if name in _EVERY_DAY else [pytest.mark.pulumi_cli, needs_cli])


@pytest.mark.slow
@pytest.mark.parametrize("name", [_marked(name) for name in STORIES])
def test_prints_what_the_cli_was_recorded_to_print(name: str, tmp_path: Path) -> None:
    """Word for word, where chance and times are taken out."""
    difference = _difference(name, tell(STORIES[name], Sandbox(tmp_path / "sandbox", "embedded", own_virtualenv())))
    assert not difference, difference


@pytest.mark.slow
@pytest.mark.pulumi_cli
@needs_cli
@pytest.mark.parametrize("name", STORIES)
def test_the_cli_still_prints_what_was_recorded(name: str, tmp_path: Path) -> None:
    """The recordings are the CLI's text, not ours."""
    told = tell(STORIES[name], Sandbox(tmp_path / "sandbox", "cli", cli_virtualenv()))
    assert told == (RECORDED / f"{name}.txt").read_text()
