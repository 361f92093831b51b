"""The command line of pushing: sizes as people write them, JSON lines, and `bake rebase`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.weight_bakery.support import Layout, payload, safetensors, write_model
from weight_bakery._cli_common import Size
from weight_bakery.cli import bake_command


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


def run(*arguments: str) -> Result:
    """Run `bake` in this process."""
    return CliRunner().invoke(bake_command, arguments)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5GB", 5_000_000_000), ("4GiB", 4 * 2**30), ("500 mb", 500_000_000), ("1.5g", 1_500_000_000),
        ("10000000", 10_000_000), ("7B", 7), ("2Ti", 2 * 2**40), ("64KiB", 65_536),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    """Decimal and binary units, and plain numbers."""
    assert Size().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["", "big", "5XB", "-5GB", "5 G B", "GB"])
def test_what_is_no_size(text: str) -> None:
    """Told as wrong usage, with an example."""
    done = run("--model", "x", "--to", "oci:x:y", "--max-layer-size", text)
    assert done.exit_code == 2
    assert "is not a size; write 5GB, 4GiB" in done.stderr


def test_a_split_bake_as_json_lines(tmp_path: Path) -> None:
    """Every line is an object; the receipt is the last one; what people read is not on stdout."""
    model = write_model(tmp_path / "Tiny", shards=1)
    (model / "model.safetensors").write_bytes(
        safetensors({"a": payload(700_000, 1), "b": payload(700_000, 2), "c": payload(1_500_000, 3)})
    )
    done = run("--model", "Tiny", "--to", "oci:images:v1", "--max-layer-size", "1MiB", "--json")
    assert done.exit_code == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert "receipt" in lines[-1]
    assert lines[0]["event"] == "note", "a tensor over the limit is told first"
    assert "tensor c has 1,500,000 bytes" in lines[0]["text"]
    planned = next(line for line in lines if line.get("event") == "planned")
    assert [layer["label"] for layer in planned["layers"] if layer["role"] == "weights"] == [
        "model-00003-of-00003.safetensors", "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
    ]  # fmt: skip
    assert done.stderr == ""


def test_rebase_by_command(tmp_path: Path) -> None:
    """The tag moves to the new base, and stdout names the image by digest; a failure is one line and exit code 1."""
    write_model(tmp_path / "Tiny")
    write_model(tmp_path / "Base", shards=1)
    assert run("--model", "Base", "--to", "oci:images:base").exit_code == 0
    assert run("--model", "Tiny", "--to", "oci:images:v1").exit_code == 0
    done = run("rebase", "oci:images:v1", "--base", "oci:images:base")
    assert done.exit_code == 0, done.stderr
    digest = Layout(tmp_path / "images").tags()["v1"]
    assert done.stdout.strip() == f"oci:images:v1@{digest}"
    assert "0 B moved, of which weights and worker 0 B" in done.stderr
    lock = json.loads((tmp_path / "weights.lock").read_bytes())["images"]["oci:images:v1"]
    assert (lock["image_digest"], lock["base"]) == (digest, "oci:images:base")
    refused = run("rebase", "oci:images:v9", "--base", "oci:images:base")
    assert refused.exit_code == 1
    assert refused.stderr.strip().splitlines() == ["error: IMAGE oci:images:v9 does not exist; check its name and tag"]
