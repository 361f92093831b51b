"""The outermost edge: what is wrong with input or machine is one line and an exit code, never a traceback."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.support import free_port
from vllm_runpod import emulator_process
from vllm_runpod.main import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project as the command sees it."""
    for name in ("Pulumi.yaml", "Pulumi.local.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_the_machine_refuses_is_one_line(
    project: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A full disk, a folder of another user, a read-only one: which file, and why."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), str(project / ".local/emulator"))

    monkeypatch.setattr(emulator_process, "start", refuse)
    assert main(["--cwd", str(project), "up"]) == 1
    shown = capfd.readouterr().err
    assert f"error: {project}/.local/emulator: {os.strerror(number)}" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("arguments", [["ask", "hello"], ["refresh", "--yes"]])
def test_an_emulator_that_is_not_running_is_one_line(
    project: Path, capfd: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """With the command that starts it, and nothing changed."""
    port = free_port()
    path = project / "Pulumi.local.yaml"
    path.write_text(path.read_text().replace("127.0.0.1:8900", f"127.0.0.1:{port}"))
    assert main(["--cwd", str(project), *arguments]) == 1
    shown = capfd.readouterr()
    assert shown.err == f"error: the emulator is not running on 127.0.0.1:{port}\n\nhint: `make up` starts it\n"
    assert shown.out == ""
    assert not (project / ".local/pulumi").exists()


def test_a_fault_of_ours_says_that_it_is_ours(
    project: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the traceback that a report needs."""
    monkeypatch.setattr(emulator_process, "start", lambda _: 1 / 0)
    assert main(["--cwd", str(project), "up"]) == 255
    shown = capfd.readouterr().err
    assert "ZeroDivisionError" in shown
    assert "please report it" in shown
