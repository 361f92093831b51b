"""The outermost edge: what is wrong with input or machine is one line and an exit code, never a traceback."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.support import free_port
from tests.weight_bakery.support import write_deps, write_model, write_package
from vllm_runpod import emulator_process, up
from vllm_runpod.main import main

ROOT = Path(__file__).resolve().parents[2]
MODEL = ".local/models/smollm2-135m-instruct"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What `up` of stack local needs before it bakes, in small."""
    for name in ("Pulumi.yaml", "Pulumi.local.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    write_model(tmp_path / MODEL, shards=1)
    write_deps(tmp_path / ".local/worker-deps")
    write_package(tmp_path / "images/vllm-baked", "vllm_worker")
    for name in ("vllm_options", "redaction"):
        write_package(tmp_path / "src", name)
    return tmp_path


def without_config(project: Path) -> None:
    (project / MODEL / "config.json").unlink()


def truncated(project: Path) -> None:
    path = project / MODEL / "model.safetensors"
    os.truncate(path, path.stat().st_size - 100)


def without_weights(project: Path) -> None:
    (project / MODEL / "model.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [(without_config, "config.json"), (truncated, "model.safetensors"), (without_weights, "safetensors")],
)
def test_a_damaged_model_is_one_line(
    project: Path, capfd: pytest.CaptureFixture[str], damage: Callable[[Path], None], words: str
) -> None:
    """The bakery's own words, as `vllm-runpod bake` shows them; nothing was written and nothing was started."""

    damage(project)
    assert main(["--cwd", str(project), "up"]) == 1
    shown = capfd.readouterr().err
    (line,) = [line for line in shown.splitlines() if line.startswith("error:")]
    assert words in line
    assert "Traceback" not in shown
    assert "a fault of" not in shown
    assert not (project / ".local/weights.lock").exists()
    assert not (project / ".local/emulator").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_the_machine_refuses_is_one_line(
    project: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """A full disk, a folder of another user, a read-only one: which file, and why."""

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), str(project / ".local/emulator"))

    monkeypatch.setattr(emulator_process, "start", refuse)
    monkeypatch.setattr(up, "bake_local", lambda _: None)
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
    monkeypatch.setattr(up, "bake_local", lambda _: 1 / 0)
    assert main(["--cwd", str(project), "up"]) == 255
    shown = capfd.readouterr().err
    assert "ZeroDivisionError" in shown
    assert "please report it" in shown
