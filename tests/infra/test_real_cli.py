"""The program and its stack files under the real pulumi CLI, where that is on PATH: no account, no network, no key."""

import shutil

import pytest

from tests.infra.clone import PLUGIN_ENVIRONMENT, Project
from tests.infra.support import DIGEST, ROOT, lock_file

pytestmark = [
    pytest.mark.pulumi_cli,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("pulumi") is None, reason="the pulumi CLI is not on PATH"),
    pytest.mark.skipif(not PLUGIN_ENVIRONMENT.is_dir(), reason="the plugin's environment is not set up"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One clean clone with its three stacks."""
    project = Project(tmp_path_factory.mktemp("clone"))
    for stack in ("local", "dev", "prod"):
        code, printed = project.pulumi("stack", "init", stack)
        assert code == 0, printed
    return project


def test_the_state_is_inside_the_clone(project: Project) -> None:
    """The backend's folder is made where Pulumi.yaml says, and nowhere in the home."""
    assert (project.root / ".local/pulumi/.pulumi/meta.yaml").is_file()
    assert not (project.root / "home/.pulumi/stacks").exists()


def test_local_previews_and_leaves_its_file_alone(project: Project) -> None:
    """The committed salt belongs to the documented passphrase, so nothing has to be written."""
    code, printed = project.pulumi("preview", "--stack", "local", "--diff")
    assert code == 0, printed
    assert "warning: the image is unknown: there is no folder .local/models/smollm2-135m-instruct" in printed
    assert 'MAX_MODEL_LEN: "2048"' in printed
    assert "image       : [unknown]" in printed
    assert (project.root / "Pulumi.local.yaml").read_bytes() == (ROOT / "Pulumi.local.yaml").read_bytes()


def test_prod_previews_without_key_and_lock(project: Project) -> None:
    """What only the cloud and the bakery know is unknown; the price is there."""
    code, printed = project.pulumi("preview", "--stack", "prod")
    assert code == 0, printed
    assert "warning: the worker image is unknown: weights.lock has no entry" in printed
    assert 'hourlyFloorUsd  : "1.91"' in printed
    assert "6 to create" in printed


def test_prod_shows_its_pinned_image(project: Project) -> None:
    """With an entry in the lock the preview has no unknown image."""
    lock = project.root / "weights.lock"
    lock_file(lock, "ghcr.io/your-organization/qwen3-8b:v1", model="Qwen/Qwen3-8B")
    try:
        code, printed = project.pulumi("preview", "--stack", "prod", "--diff")
    finally:
        lock.unlink()
    assert code == 0, printed
    assert f'"ghcr.io/your-organization/qwen3-8b:v1@{DIGEST}"' in printed


def test_up_refuses_what_is_not_baked(project: Project) -> None:
    """One message with the command, no trace, and nothing of the deployment is made."""
    code, printed = project.pulumi("up", "--stack", "prod", "--yes", "--skip-preview")
    assert code != 0
    assert "the worker image is not baked yet: weights.lock has no entry" in printed
    assert "Traceback" not in printed
    assert "exit code" not in printed
    assert "runpod:index" not in printed


def test_mistakes_are_told_once_and_all(project: Project) -> None:
    """Key, reason, file; no trace."""
    file = project.root / "Pulumi.dev.yaml"
    before = file.read_text()
    token = "hf_abcdefghijklmnop"
    wrong = before.replace("maxWorkers:", "maxWorker:")
    file.write_text(wrong.replace("config:\n", f"config:\n  vllm-runpod:hfToken: {token}\n"))
    try:
        code, printed = project.pulumi("preview", "--stack", "dev")
    finally:
        file.write_text(before)
    assert code != 0
    assert "2 mistakes in the configuration of stack dev (Pulumi.dev.yaml)" in printed
    assert "vllm-runpod:maxWorker is not a key (did you mean maxWorkers?)" in printed
    assert "vllm-runpod:hfToken stands in the stack file in clear" in printed
    assert token not in printed
    assert "Traceback" not in printed
    assert "exit code" not in printed


def test_a_secret_stays_one(project: Project) -> None:
    """A token set with --secret is shown nowhere, and the worker gets it."""
    token = "hf_qrstuvwxyzabcdef"
    code, printed = project.pulumi("config", "set", "--stack", "dev", "--secret", "hfToken", token)
    assert code == 0, printed
    code, printed = project.pulumi("preview", "--stack", "dev", "--diff")
    assert code == 0, printed
    assert token not in printed
    assert "HF_TOKEN" in printed
    assert "[secret]" in printed
