"""On a terminal: rows that update, and a question before anything is done."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.pulumi_embedded.support import HERE, STACK, Sandbox
from tests.pulumi_embedded.virtualenv import own_virtualenv

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def _in_terminal(sandbox: Sandbox, answer: bytes, *arguments: str) -> tuple[int, str]:
    env = {**sandbox.env, "TERM": "xterm", "COLUMNS": "100", "LINES": "40", "PYTHONPATH": str(HERE.parents[1] / "src")}
    env.pop("CI", None)
    env.pop("NO_COLOR", None)
    terminal, other_side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pulumi_embedded", *arguments],
        cwd=sandbox.project, env=env, stdin=other_side, stdout=other_side, stderr=other_side, start_new_session=True,
    )  # fmt: skip
    os.close(other_side)
    output, answered, end = b"", False, time.monotonic() + 30
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                data = os.read(terminal, 65536)
            except OSError:
                break
            if not data:
                break
            output += data
            if b"[y/N]" in output and not answered:
                os.write(terminal, answer)
                answered = True
    os.close(terminal)
    return process.wait(timeout=10), output.decode()


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """A project with an empty stack and a program of one resource."""
    made = Sandbox(tmp_path / "sandbox", "embedded", own_virtualenv())
    made.init()
    made.program('Thing("a", value=1)')
    return made


@pytest.mark.slow
def test_rows_update_and_the_answer_yes_goes_on(sandbox: Sandbox) -> None:
    """The preview, the question, then rows with the provider's status; colour, since this is a terminal."""
    sandbox.faults([{"rpc": "create", "name": "a", "kind": "slow", "seconds": 0.6}])
    code, raw = _in_terminal(sandbox, b"y\n", "up", "--stack", STACK)
    text = _CONTROL.sub("", raw)
    assert code == 0, text
    assert "Do you want to perform this update? [y/N]" in text
    assert re.search(r" \+   └─ demo:index:Thing +a +creating \(0s\) +making a", text)
    assert re.search(r" \+   └─ demo:index:Thing +a +created \(0\.\d+s\) +1 message", text)
    assert "\x1b[" in raw
    assert len(sandbox.things()) == 1


@pytest.mark.slow
def test_any_other_answer_does_nothing(sandbox: Sandbox) -> None:
    """Exit code 8, as with the CLI, and an untouched state."""
    before = sandbox.state_file.read_bytes()
    code, raw = _in_terminal(sandbox, b"\n", "up", "--stack", STACK)
    assert code == 8, raw
    assert "confirmation declined, not proceeding with the update" in raw
    assert sandbox.state_file.read_bytes() == before
    assert sandbox.things() == {}
