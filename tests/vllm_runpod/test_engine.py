"""Which engine runs, and what its process may see."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vllm_runpod import engine
from vllm_runpod.errors import EngineFailed
from vllm_runpod.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, "demo")


def test_stack_local_never_sees_the_paid_clouds_key_or_address(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a user has exported for the paid cloud stays outside."""
    for name in ("RUNPOD_API_KEY", "RUNPOD_API_BASE_URL", "RUNPOD_ENDPOINT_BASE_URL", "PULUMI_ACCESS_TOKEN"):
        monkeypatch.setenv(name, "https://example.invalid/key")
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://somewhere")
    env = engine.environment(project, "local")
    assert not {"RUNPOD_API_KEY", "RUNPOD_API_BASE_URL", "RUNPOD_ENDPOINT_BASE_URL", "PULUMI_ACCESS_TOKEN"} & set(env)
    assert env["PULUMI_BACKEND_URL"] == f"file://{project.root}/.local/pulumi"


def test_other_stacks_keep_the_users_backend(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """dev and prod belong to the user's own backend."""
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://somewhere")
    assert engine.environment(project, "prod")["PULUMI_BACKEND_URL"] == "s3://somewhere"


def test_a_passphrase_of_the_user_wins(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where nothing is set does the documented word apply."""
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE_FILE", raising=False)
    assert engine.environment(project, "local")["PULUMI_CONFIG_PASSPHRASE"] == engine.LOCAL_PASSPHRASE
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "")
    assert engine.environment(project, "local")["PULUMI_CONFIG_PASSPHRASE"] == ""


def test_pulumi_on_path_is_the_way_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedded engine is used only where the CLI is not."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert engine.choose_engine().embedded
    program = tmp_path / "pulumi"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    found = engine.choose_engine()
    assert found.command == (str(program),)
    assert not found.embedded


def test_a_failing_engine_ends_with_its_own_exit_code(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scripts can tell `--expect-no-changes` (7) from a failure (1)."""
    program = tmp_path / "pulumi"
    program.write_text("#!/bin/sh\nexit 7\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(EngineFailed) as caught:
        engine.run(project, "local", ("preview",))
    assert caught.value.exit_code == 7


@pytest.mark.parametrize("to_stderr", [False, True])
def test_an_engines_words_leave_stdout_free_for_a_document(
    project: Project, capfd: pytest.CaptureFixture[str], to_stderr: bool
) -> None:
    """`up --json` is read by scripts: what the engine prints meanwhile goes to stderr."""
    chatty = engine.Engine((sys.executable, "-c", "print('created')"), "chatty", embedded=True)
    engine.run(project, "local", ("up",), chatty, to_stderr=to_stderr)
    shown = capfd.readouterr()
    assert ("created" in shown.out, "created" in shown.err) == (not to_stderr, to_stderr)


@pytest.mark.parametrize(("known", "embedded"), [("prod", False), ("dev", True)])
def test_a_stack_that_is_not_there_is_not_made_for_its_preview(
    project: Project, known: str, embedded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CLI would make it first, ask for a passphrase and write into the stack file; a preview changes nothing."""
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    script = project.root / "pulumi.py"
    script.write_text(f"import sys\nassert 'ls' in sys.argv\nprint('[{{\"name\": \"organization/demo/{known}\"}}]')\n")
    cli = engine.Engine((sys.executable, str(script)), "pulumi", embedded=False)
    assert engine.engine_for_preview(project, "prod", cli).embedded is embedded


@pytest.mark.parametrize(
    ("terminal", "embedded", "passphrase", "rows"),
    [(True, True, None, True), (True, False, "word", True), (True, False, None, False), (False, True, "word", False)],
)
def test_in_a_terminal_the_engine_may_use_it(
    project: Project,
    terminal: bool,
    embedded: bool,
    passphrase: str | None,
    rows: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Rows that update need it; a passphrase that only one of several commands would ask for must not."""
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: terminal))
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE_FILE", raising=False)
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    if passphrase is not None:
        monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", passphrase)
    script = project.root / "engine.py"
    script.write_text("import sys\nprint(sys.argv)\n")
    engine.run(project, "prod", ("up",), engine.Engine((sys.executable, str(script)), "engine", embedded=embedded))
    assert ("--non-interactive" not in capfd.readouterr().out) is rows
