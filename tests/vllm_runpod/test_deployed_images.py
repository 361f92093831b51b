"""Which images a stack runs, read from its state by the engine that is there."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.weight_bakery.support import write_model
from vllm_runpod import bake as bake_module
from vllm_runpod.deployed_images import images_of, read_stack
from vllm_runpod.project import Project
from weight_bakery import BakeRequest, bake

OLD, NEW = f"sha256:{'0' * 64}", f"sha256:{'1' * 64}"


@pytest.fixture(autouse=True)
def embedded_engine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer must not depend on whether this machine has the CLI."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


def resource(kind: str, name: str, **more: Any) -> dict[str, Any]:
    urn = f"urn:pulumi:local::demo::{kind}::{name}"
    return {"urn": urn, "custom": True, "id": name, "type": kind, "inputs": {}, "outputs": {}, **more}


def write_project(folder: Path, resources: list[dict[str, Any]] | None, *, lock: str = "weights.lock") -> Project:
    """A project whose stack `local` has a state, if resources are given."""
    (folder / "Pulumi.yaml").write_text("name: demo\nruntime: python\n")
    (folder / "Pulumi.local.yaml").write_text(f"config:\n  demo:bake: {{to: 'oci:images:v1', lock: {lock}}}\n")
    made = Project(folder, "demo")
    if resources is not None:
        stacks = made.backend / ".pulumi" / "stacks" / "demo"
        stacks.mkdir(parents=True)
        (made.backend / ".pulumi" / "meta.yaml").write_text("version: 1\n")
        latest = {
            "manifest": {"time": "2026-01-01T00:00:00Z", "magic": "", "version": ""},
            "secrets_providers": {"type": "passphrase", "state": {"salt": ""}},
            "resources": resources,
        }
        checkpoint = {"version": 3, "checkpoint": {"stack": "organization/demo/local", "latest": latest}}
        (stacks / "local.json").write_text(json.dumps(checkpoint))
    return made


def test_images_come_from_what_runs_them() -> None:
    """Endpoints, templates and pods; not what is about to be deleted, not other resources, each image once."""
    resources = [
        resource("runpod:index:Template", "t", inputs={"image": "a@1"}, outputs={"image": "a@2"}),
        resource("runpod:index:Endpoint", "e", inputs={"image": "a@2"}),
        resource("runpod:index:Pod", "p", outputs={"image": "b"}),
        resource("runpod:index:Pod", "old", outputs={"image": "c"}, delete=True),
        resource("runpod:index:BakedImage", "i", outputs={"image": "d"}),
        resource("runpod:index:Endpoint", "secret", outputs={"image": {"4dabf18193072939515e22adb298388d": "x"}}),
    ]
    assert images_of({"version": 3, "deployment": {"resources": resources}}) == ("a@2", "b")
    assert images_of({"version": 3, "deployment": {"resources": None}}) == images_of([]) == ()


def test_a_state_is_read_through_the_engine(tmp_path: Path) -> None:
    """The embedded engine exports it; the lock file is the one that the stack names."""
    made = write_project(tmp_path, [resource("runpod:index:Endpoint", "e", outputs={"image": f"oci:images:v1@{OLD}"})])
    found = read_stack(made, "local")
    assert (found.problem, found.images) == ("", (f"oci:images:v1@{OLD}",))
    assert (found.root, found.lock) == (tmp_path, tmp_path / "weights.lock")


def test_a_stack_that_is_not_there_is_an_answer(tmp_path: Path) -> None:
    """One line from the engine, and the command that helps."""
    found = read_stack(write_project(tmp_path, None), "local")
    assert found.problem.startswith("stack local could not be read: no stack named 'local' found")
    assert found.remedy == "deploy it: vllm-runpod up --stack local"


def test_the_command_compares_lock_and_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another digest deployed: exit code 1; the same one: 0; started outside a project: 2."""
    model, lock = str(write_model(tmp_path / "Tiny")), tmp_path / "weights.lock"
    digest = bake(BakeRequest(model=model, to=f"oci:{tmp_path}/images:v1", lock=lock)).digest
    made = write_project(tmp_path, [resource("runpod:index:Endpoint", "e", outputs={"image": f"oci:images:v1@{OLD}"})])

    def look(*more: str) -> tuple[int, list[dict[str, str]]]:
        done = CliRunner().invoke(bake_module.command(), ["status", "--json", *more])
        (target,) = json.loads(done.stdout)["status"]["targets"]
        return done.exit_code, [finding for finding in target["findings"] if finding["part"] == "stack"]

    monkeypatch.chdir(tmp_path)
    assert look("--stack", "local") == (
        1,
        [{"part": "stack", "state": "differs", "text": f"stack local runs {OLD[:19]}",
          "remedy": "deploy it: vllm-runpod up --stack local"}],
    )  # fmt: skip
    state = made.backend / ".pulumi" / "stacks" / "demo" / "local.json"
    state.write_text(state.read_text().replace(OLD, digest))
    assert look("--stack", "local")[0] == 0
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "Pulumi.yaml").unlink()
    code, (finding,) = look("--stack", "local", "--lock", str(lock))
    assert (code, finding["state"]) == (2, "unknown")
