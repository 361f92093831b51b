"""The Makefile hands what the user typed to the command line, letter by letter."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "prompt", ["What does $HOME mean?", "$(id) and `id`", "say \"hi\" and 'bye'", "-n", "100 % \\ #"]
)
def test_a_prompt_arrives_as_it_was_typed(prompt: str, tmp_path: Path) -> None:
    """Neither make nor the shell may take a `$` or a quote in a question for its own."""
    command = tmp_path / "cli"
    command.write_text('#!/bin/sh\nfor last; do :; done\nprintf %s "$last"\n')
    command.chmod(0o755)
    done = subprocess.run(
        ["make", "-s", "ask", f"PROMPT={prompt}", "PYTHON=true", f"CLI={command}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == prompt
