"""What `vllm-runpod bake` fills in inside a project."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.weight_bakery.support import write_model
from vllm_runpod.bake import PINS, command, pinned_base, with_project_defaults
from vllm_runpod.errors import CommandError, SetupMissing
from vllm_runpod.project import Project

DIGEST = "sha256:" + "a" * 64


def project(folder: Path, digest: str = DIGEST) -> Project:
    pins = folder / PINS
    pins.parent.mkdir(parents=True)
    lookup = "crane digest example/vllm:v1"
    pins.write_text(json.dumps({"base": {"image": "example/vllm:v1", "digest": digest, "digest_command": lookup}}))
    return Project(folder, "demo")


def options(**given: Any) -> dict[str, Any]:
    return {"to": "ghcr.io/you/model:v1", "base": None, "worker_deps": None, "worker_code": (), **given}


def test_an_image_for_a_registry_stands_on_the_pinned_gpu_image(tmp_path: Path) -> None:
    """Base, packages for the image's Python and the worker's code go without saying."""
    made = project(tmp_path)
    (made.local / "worker-layer").mkdir(parents=True)
    filled = with_project_defaults(options(), made)
    assert filled["base"] == f"example/vllm:v1@{DIGEST}"
    assert filled["worker_deps"] == made.local / "worker-layer"
    assert [path.name for path in filled["worker_code"]] == ["vllm_worker", "vllm_options", "redaction"]


def test_a_layout_is_for_this_machine_and_has_no_base(tmp_path: Path) -> None:
    """The emulator lends its own vLLM, so the packages are for this machine's Python."""
    made = project(tmp_path, digest="")
    made.worker_dependencies.mkdir(parents=True)
    filled = with_project_defaults(options(to="oci:.local/images/m:v1"), made)
    assert filled["base"] is None
    assert filled["worker_deps"] == made.worker_dependencies


def test_what_is_given_stays(tmp_path: Path) -> None:
    """Defaults never win over the user."""
    given = options(base="mine:v1", worker_deps=Path("deps"), worker_code=(Path("code"),))
    assert with_project_defaults(given, project(tmp_path)) == given


def test_an_empty_pin_is_refused_with_the_command_that_fills_it(tmp_path: Path) -> None:
    """A digest is looked up, never invented."""
    with pytest.raises(CommandError, match=r"(?s)base.digest is empty.*crane digest example/vllm:v1"):
        pinned_base(project(tmp_path, digest=""))


def test_a_missing_worker_layer_names_the_command_that_makes_it(tmp_path: Path) -> None:
    """An image without its worker would only fail on RunPod, after it was paid for."""
    with pytest.raises(SetupMissing, match=r"make worker-layer"):
        with_project_defaults(options(), project(tmp_path))


def test_whoever_reads_json_reads_what_is_missing_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a project lacks is a JSON line on stdout like every other failure of a bake."""
    project(tmp_path)
    (tmp_path / "Pulumi.yaml").write_text("name: demo\nruntime: python\n")
    monkeypatch.chdir(tmp_path)
    arguments = ["--model", "org/m", "--to", "ghcr.io/you/m:v1"]
    for more in ([], ["--json"]):
        done = CliRunner().invoke(command(), [*arguments, *more])
        assert isinstance(done.exception, SetupMissing)
    error = json.loads(done.stdout)
    assert (error["event"], error["kind"], error["exit_code"]) == ("error", "SetupMissing", 1)
    assert error["text"] == "the worker's packages (.local/worker-layer) are missing"
    assert error["remedy"] == "`make worker-layer` makes them"


def test_in_somebody_elses_project_nothing_is_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Pulumi project of one's own has no worker here and no `make` that would make its packages."""
    write_model(tmp_path / "model")
    (tmp_path / "Pulumi.yaml").write_text("name: theirs\nruntime: python\n")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(command(), ["--model", "./model", "--to", "oci:images:v1", "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "nothing was moved" in done.output
