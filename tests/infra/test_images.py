"""Which image the workers run: from the stack, or from the lock file that the bakery keeps."""

from pathlib import Path
from typing import Any

import pytest

from images import LockUnreadable, lock_target, worker_image
from pulumi_runpod.declarations import BAKED_IMAGE
from settings import InvalidSettings, Settings, read_settings
from tests.infra.support import BASIC, DIGEST, config, lock_file
from weight_bakery._lock import lock_target as bakery_target
from weight_bakery._references import parse_target


def settings(**values: Any) -> Settings:
    """Settings of a stack that bakes `ghcr.io/you/model:v1`."""
    base = {**BASIC, "image": None, "bake": {"to": "ghcr.io/you/model:v1"}}
    return read_settings(config(**(base | values)), ())


def test_a_named_image_is_taken_as_it_is(tmp_path: Path) -> None:
    """Its digest is known only where the stack pins it."""
    plain = worker_image(read_settings(config(**BASIC), ()), tmp_path)
    assert (plain.reference, plain.digest) == ("host.example/worker:v1", None)
    pinned = worker_image(read_settings(config(**BASIC | {"image": f"h.example/w:v1@{DIGEST}"}), ()), tmp_path)
    assert (pinned.reference, pinned.digest) == (f"h.example/w:v1@{DIGEST}", DIGEST)


def test_a_baked_image_is_pinned_by_the_lock(tmp_path: Path) -> None:
    """Tag for people, digest for machines."""
    lock_file(tmp_path / "weights.lock", "ghcr.io/you/model:v1")
    image = worker_image(settings(), tmp_path)
    assert (image.reference, image.digest) == (f"ghcr.io/you/model:v1@{DIGEST}", DIGEST)


def test_a_layout_is_baked_by_the_program(tmp_path: Path) -> None:
    """For the emulator on this machine: no base, and the packages of this machine's Python."""
    image = worker_image(settings(bake={"to": "oci:.local/images/model:latest", "from": "models/m"}), tmp_path)
    assert image.reference is None
    assert image.bake is not None
    assert (image.bake["model"], image.bake["base"]) == ("models/m", None)
    assert image.bake["worker_dependencies"] == ".local/worker-deps"


def test_a_named_base_is_baked_on(tmp_path: Path) -> None:
    """Where the stack names it, nothing has to be pinned."""
    image = worker_image(settings(bake={"to": "ghcr.io/you/model:v1", "base": "host.example/vllm:v1"}), tmp_path)
    assert image.bake is not None
    assert (image.bake["base"], image.bake["model"]) == ("host.example/vllm:v1", "org/model")


def test_how_to_bake_is_said_in_the_stack(tmp_path: Path) -> None:
    """Every choice reaches the resource under its name there; what is left out is left to the resource."""
    how = {
        "source": "hf-cache", "include": ["*.gguf"], "exclude": ["*.md", "onnx/*"], "maxLayerSize": "5GB", "flows": 2,
        "attest": False,
    }  # fmt: skip
    told = worker_image(settings(bake={"to": "oci:.local/images/model:v1", **how}), tmp_path).bake
    plain = worker_image(settings(bake={"to": "oci:.local/images/model:v1"}), tmp_path).bake
    assert told is not None
    assert plain is not None
    more = {name: value for name, value in told.items() if name not in plain}
    assert more == {
        "source": "hf-cache", "include": ["*.gguf"], "exclude": ["*.md", "onnx/*"], "max_layer_size": "5GB", "flows": 2,
        "attest": False,
    }  # fmt: skip
    assert told.keys() <= {field.name for field in BAKED_IMAGE.inputs}
    missing = worker_image(settings(bake={"to": "ghcr.io/you/model:v1", **how, "from": "s3://b/m"}), tmp_path).missing
    assert (
        "vllm-runpod bake --model s3://b/m --to ghcr.io/you/model:v1 --source hf-cache --include '*.gguf' "
        "--exclude '*.md' --exclude 'onnx/*' --max-layer-size 5GB --flows 2 --no-attest`"
    ) in missing


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"maxLayerSize": "big"}, "has a field maxLayerSize that is 'big'; write it like 5GB or 4GiB"),
        ({"flows": 17}, "has a field flows that is 17; it must be a whole number from 1 to 16"),
        ({"source": "s3"}, "has a field source that is 's3'; it must be auto or hub or hf-cache"),
        ({"attest": "no"}, "has a field attest that is 'no'; it must be true or false"),
        ({"flow": 3}, "has an unknown field flow (did you mean flows?)"),
    ],
)
def test_a_mistake_in_how_to_bake_is_told_by_its_name(how: dict[str, Any], said: str) -> None:
    """Before an engine starts."""
    with pytest.raises(InvalidSettings) as caught:
        settings(bake={"to": "oci:.local/images/model:v1", **how})
    assert said in str(caught.value)
    assert "is missing" not in str(caught.value), "what is there and wrong is not missing as well"


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"model": "org/other", "served_name": "org/other"}, "holds org/other, the stack says org/model"),
        ({"revision": "b" * 40}, f"holds revision {'b' * 40}, the stack says {'a' * 40}"),
    ],
)
def test_an_entry_for_something_else_does_not_count(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    """An image of another model, or of another commit, is not what the stack asks for."""
    lock_file(tmp_path / "weights.lock", "ghcr.io/you/model:v1", **changes)
    image = worker_image(settings(revision="a" * 40), tmp_path)
    assert image.reference is None
    assert part in image.missing


def test_a_branch_is_not_compared_with_a_commit(tmp_path: Path) -> None:
    """`main` was some commit when it was baked."""
    lock_file(tmp_path / "weights.lock", "ghcr.io/you/model:v1")
    assert worker_image(settings(revision="main"), tmp_path).digest == DIGEST


def test_without_an_entry_the_command_is_named(tmp_path: Path) -> None:
    """The way out is a command to copy, or a pin."""
    image = worker_image(settings(revision="v2"), tmp_path)
    assert image.reference is None
    assert image.missing == (
        "weights.lock has no entry for ghcr.io/you/model:v1; "
        "bake it with `vllm-runpod bake --model org/model@v2 --to ghcr.io/you/model:v1`, or pin a base in "
        "images/vllm-baked/pins.json and `up` bakes it"
    )


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a weights.lock"),
        ('{"version": 3, "images": {}}', "version 3"),
        ('{"version": 1}', "not a weights.lock"),
        (
            '{"version": 1, "images": {"ghcr.io/you/model:v1": {"model": "org/model"}}}',
            "no usable image digest",
        ),
    ],
)
def test_a_damaged_lock_is_an_error(tmp_path: Path, content: str, part: str) -> None:
    """Never taken for an empty one: that would deploy something else."""
    (tmp_path / "weights.lock").write_text(content)
    with pytest.raises(LockUnreadable, match=part):
        worker_image(settings(), tmp_path)


def test_a_lock_that_is_a_folder_is_an_error(tmp_path: Path) -> None:
    """The reason of the system is told."""
    (tmp_path / "weights.lock").mkdir()
    with pytest.raises(LockUnreadable, match="cannot be read"):
        worker_image(settings(), tmp_path)


@pytest.mark.parametrize(
    "target", ["ghcr.io/you/model:v1", "localhost:5000/model:v1", "you/model:v1", "oci:.local/images/m:v1", "oci:m:v1"]
)
@pytest.mark.parametrize("lock", ["weights.lock", ".local/weights.lock"])
def test_both_rooms_name_a_target_alike(tmp_path: Path, target: str, lock: str) -> None:
    """What the bakery writes under a name, the program looks up under the same name."""
    (tmp_path / ".local").mkdir()
    absolute = f"oci:{tmp_path}/{target.removeprefix('oci:')}" if target.startswith("oci:") else target
    assert lock_target(target, tmp_path, tmp_path / lock) == bakery_target(parse_target(absolute), tmp_path / lock)
