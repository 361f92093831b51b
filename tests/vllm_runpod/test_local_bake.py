"""The bake inside `make up`: what the bakery refuses is one line here as in its own command."""

import json
from pathlib import Path

import pytest

from vllm_runpod.errors import CommandError, SetupMissing
from vllm_runpod.local_bake import WORKER_CODE, bake_local
from vllm_runpod.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose set-up is done, as far as a bake looks at it."""
    (tmp_path / "Pulumi.local.yaml").write_text(
        "config:\n  demo:model: org/tiny\n  demo:bake: {to: 'oci:.local/images/tiny:v1', lock: .local/weights.lock}\n"
    )
    made = Project(tmp_path, "demo")
    (made.local / "models/tiny").mkdir(parents=True)
    for package in (made.worker_dependencies / "runpod", *(tmp_path / folder for folder in WORKER_CODE)):
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
    return made


@pytest.mark.parametrize(("config", "lock", "wrong"), [(None, None, "config.json"), ("{}", "{", "weights.lock")])
def test_what_the_bakery_refuses_is_one_line(
    project: Project, config: str | None, lock: str | None, wrong: str
) -> None:
    """A model without config.json or a lock file that is none is the user's to mend, not a fault of ours."""
    model = project.local / "models/tiny"
    header = json.dumps({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    (model / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"1")
    for path, text in ((model / "config.json", config), (project.local / "weights.lock", lock)):
        if text is not None:
            path.write_text(text)
    with pytest.raises(CommandError, match=wrong) as caught:
        bake_local(project)
    assert "\n" not in str(caught.value)


def test_a_model_that_was_never_made_names_the_command(project: Project) -> None:
    """Nothing is baked from a folder that is not there."""
    (project.local / "models/tiny").rmdir()
    with pytest.raises(SetupMissing, match="make up"):
        bake_local(project)
