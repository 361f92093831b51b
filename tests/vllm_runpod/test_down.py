"""`down` for stack `local`: what goes, and what is somebody else's."""

import json
from pathlib import Path

import pytest

from tests.e2e.support import free_port
from vllm_runpod import emulator_process, up
from vllm_runpod.errors import EmulatorFailed
from vllm_runpod.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with the state of two stacks, and an emulator's folder."""
    (tmp_path / "Pulumi.local.yaml").write_text(f"config:\n  runpod:apiUrl: http://127.0.0.1:{free_port()}\n")
    made = Project(tmp_path, "demo")
    base = made.backend / ".pulumi"
    for stack in ("local", "prod"):
        for path in (
            f"stacks/demo/{stack}.json",
            f"stacks/demo/{stack}.json.bak",
            f"history/demo/{stack}/{stack}-1.history.json",
            f"backups/demo/{stack}/{stack}.1.json",
            f"locks/organization/demo/{stack}/1.json",
        ):
            (base / path).parent.mkdir(parents=True, exist_ok=True)
            (base / path).write_text(json.dumps({"stack": stack}))
    (base / "meta.yaml").write_text("version: 1\n")
    (made.emulator_state / "cache").mkdir(parents=True)
    made.api_key_file.write_text("key")
    return made


def left(project: Project) -> set[str]:
    return {path.relative_to(project.local).as_posix() for path in project.local.rglob("*") if path.is_file()}


def test_the_state_of_a_paid_stack_stays(project: Project) -> None:
    """It lies in the same backend, and is the only record of what costs money."""
    up.down(project, "local", assume_yes=True)
    assert left(project) == {
        "pulumi/.pulumi/meta.yaml",
        "pulumi/.pulumi/stacks/demo/prod.json",
        "pulumi/.pulumi/stacks/demo/prod.json.bak",
        "pulumi/.pulumi/history/demo/prod/prod-1.history.json",
        "pulumi/.pulumi/backups/demo/prod/prod.1.json",
        "pulumi/.pulumi/locks/organization/demo/prod/1.json",
    }


def test_a_backend_without_other_stacks_goes_whole(project: Project) -> None:
    """Nothing of stack local is left; the image cache is kept for the next `up`."""
    for path in (project.backend / ".pulumi" / "stacks" / "demo").glob("prod.*"):
        path.unlink()
    up.down(project, "local", assume_yes=True)
    assert not project.backend.exists()
    assert [path.name for path in project.emulator_state.iterdir()] == ["cache"]


def test_somebody_elses_program_on_the_port_does_not_keep_the_state(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not touched, and `down` and `clean` still do their work."""

    def foreign(_: Project) -> None:
        raise EmulatorFailed("port 1 on 127.0.0.1 is in use by another program\n\nhint: stop it")

    monkeypatch.setattr(emulator_process, "status", foreign)
    up.down(project, "local", assume_yes=True)
    assert not project.api_key_file.exists()
    assert "in use by another program; it is left alone" in capsys.readouterr().err
