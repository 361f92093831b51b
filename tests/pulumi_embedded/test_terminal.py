"""On a terminal: rows that update, and a question before anything is done."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pulumi_embedded._display import Progress
from pulumi_embedded._live import LiveProgress
from tests.pulumi_embedded.support import HERE, STACK, Sandbox
from tests.pulumi_embedded.virtualenv import own_virtualenv

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def _in_terminal(sandbox: Sandbox, answers: Sequence[bytes], *arguments: str) -> tuple[int, str]:
    """Run a command on a terminal; each question gets the next answer."""
    env = {**sandbox.env, "TERM": "xterm", "COLUMNS": "100", "LINES": "40", "PYTHONPATH": str(HERE.parents[1] / "src")}
    env.pop("CI", None)
    env.pop("NO_COLOR", None)
    terminal, other_side = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pulumi_embedded", *arguments],
        cwd=sandbox.project, env=env, stdin=other_side, stdout=other_side, stderr=other_side, start_new_session=True,
    )  # fmt: skip
    os.close(other_side)
    output, left, end = b"", list(answers), time.monotonic() + 30
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                data = os.read(terminal, 65536)
            except OSError:
                break
            if not data:
                break
            output += data
            if output.count(b"[y/N]") > len(answers) - len(left) and left:
                os.write(terminal, left.pop(0))
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
    code, raw = _in_terminal(sandbox, [b"y\n"], "up", "--stack", STACK)
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
    code, raw = _in_terminal(sandbox, [b"\n"], "up", "--stack", STACK)
    assert code == 8, raw
    assert "confirmation declined, not proceeding with the update" in raw
    assert sandbox.state_file.read_bytes() == before
    assert sandbox.things() == {}


@pytest.mark.slow
def test_a_refresh_asks_of_each_interrupted_creation_whether_to_forget_it(sandbox: Sandbox) -> None:
    """Before the preview, and before rows are drawn over the question; only what got a yes is forgotten."""
    assert sandbox.outcome("up").exit == 0
    sandbox.leave_pending([("creating", "x"), ("creating", "y"), ("creating", "x")])
    code, raw = _in_terminal(sandbox, [b"y\n", b"n\n", b"y\n"], "refresh", "--stack", STACK)
    text = _CONTROL.sub("", raw)
    assert code == 0, text
    asked = [text.index(words) for words in ("Thing::x", "Thing::y", "Previewing refresh", "perform this refresh?")]
    assert asked == sorted(asked)
    assert text.count("did it fail, and is it to be forgotten?") == 2
    assert sandbox.state()[1] == [["creating", "y"]]


def test_on_a_terminal_an_error_is_not_hidden_by_what_is_said_after_it() -> None:
    """The last error stays beside the operation; in plain lines it is the last message, as the CLI has it."""
    urn = "urn:pulumi:dev::shop::demo:index:Thing::a"
    said = {}
    for kind in (LiveProgress, Progress):
        options: dict[str, Any] = {"heading": "Updating"} if kind is LiveProgress else {}
        progress = kind(Console(file=StringIO()), preview=False, stack_name=STACK, **options)
        for severity, message in (("error", "no capacity"), ("info", "giving up")):
            progress.diagnostic(severity, urn, message)
        said[kind] = progress.info(progress.rows[urn])
        progress.close()
    assert said == {LiveProgress: "error: no capacity", Progress: "giving up"}
