"""The Makefile hands what the user typed to the command line, letter by letter."""

import json
import shutil
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


@pytest.mark.parametrize("deployed", [True, False])
def test_clean_keeps_the_state_of_what_is_still_deployed(deployed: bool, tmp_path: Path) -> None:
    """Only that state knows what costs money; without it everything goes."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    state = tmp_path / ".local/pulumi/.pulumi/stacks/vllm-runpod/prod.json"
    for path in (state, tmp_path / ".local/envs/vllm/file", tmp_path / ".venv/file"):
        path.parent.mkdir(parents=True)
        path.touch()
    resources = [{"urn": "urn:pulumi:prod::vllm-runpod::pulumi:pulumi:Stack::vllm-runpod-prod"}] if deployed else []
    state.write_text(json.dumps({"checkpoint": {"latest": {"resources": resources}}}))
    done = subprocess.run(["make", "-s", "clean"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"Makefile"} | ({state.relative_to(tmp_path).as_posix()} if deployed else set())
    assert ("make down STACK=" in done.stdout) is deployed
