"""`up` for stack `local` when it fails: what is left running."""

from pathlib import Path

import pytest

from tests.e2e.support import free_port
from vllm_runpod import emulator_process, engine, up
from vllm_runpod.errors import CommandError, EngineFailed
from vllm_runpod.project import Project


@pytest.mark.parametrize(
    ("started_here", "endpoints", "stopped"), [(True, 0, True), (True, 1, False), (False, 0, False)]
)
def test_a_refused_program_leaves_no_emulator_behind(
    started_here: bool, endpoints: int, stopped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an endpoint in it there is something to look at; one that ran before is not this run's to end."""
    (tmp_path / "Pulumi.local.yaml").write_text(f"config:\n  runpod:apiUrl: http://127.0.0.1:{free_port()}\n")
    ended: list[int] = []

    def start(_: Project) -> emulator_process.Running:
        return emulator_process.Running("http://127.0.0.1:1", 4711, started_here, 0.0)

    def status(_: Project) -> dict[str, int]:
        return {"pid": 4711, "endpoints": endpoints}

    def refuse(*_: object, **__: object) -> None:
        raise EngineFailed("pulumi up", 1)

    monkeypatch.setattr(emulator_process, "start", start)
    monkeypatch.setattr(emulator_process, "status", status)
    monkeypatch.setattr(emulator_process, "stop_pid", ended.append)
    monkeypatch.setattr(engine, "ensure_stack", lambda *_: None)
    monkeypatch.setattr(engine, "run", refuse)
    with pytest.raises(EngineFailed):
        up.up(Project(tmp_path, "demo"), "local", assume_yes=False, prompt=None, as_json=False)
    assert ended == ([4711] if stopped else [])


@pytest.mark.parametrize("stack_file", ["config: {}\n", "config:\n  runpod:apiUrl: https://api.runpod.io\n"])
def test_a_paid_up_without_a_key_is_refused_before_anything_runs(
    stack_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a stack in the state helps nobody."""
    (tmp_path / "Pulumi.prod.yaml").write_text(stack_file)
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    monkeypatch.setattr(engine, "run", lambda *_, **__: pytest.fail("an engine was started"))
    with pytest.raises(CommandError, match=r"no API key is given"):
        up.up(Project(tmp_path, "demo"), "prod", assume_yes=True, prompt=None, as_json=False)
