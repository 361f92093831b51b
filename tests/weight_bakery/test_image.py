"""Config and manifest: what they say, byte for byte."""

import json
from pathlib import Path

from tests.weight_bakery.support import Layout, write_deps, write_model, write_package
from weight_bakery import BakeRequest, bake
from weight_bakery._image import BuiltLayer, ModelIdentity, build_config, build_manifest
from weight_bakery._plan import model_layers
from weight_bakery._selection import select
from weight_bakery._source_folder import FolderSource

IDENTITY = ModelIdentity("tiny", "owner/Tiny", "owner/Tiny", "abc")
LAYERS = [
    BuiltLayer("weights", "sha256:" + "1" * 64, 5120, ("models/tiny/model.safetensors",), "a" * 64),
    BuiltLayer("files", "sha256:" + "2" * 64, 6144, ("models/tiny/config.json", "models/tiny/tokenizer.json")),
    BuiltLayer("code", "sha256:" + "3" * 64, 7168, ("opt/vllm-worker/code/vllm_worker/__init__.py",), "b" * 64),
]


def test_the_documents_are_pinned() -> None:
    """The same layers give the same config and manifest, in this and every later version with layer rule 1."""
    config = build_config(IDENTITY, LAYERS, None)
    manifest = build_manifest(config, IDENTITY, LAYERS, None)
    assert config.digest == "sha256:c70bf7630d042aaaf11b9c09b8fa4ec4dcafd9c390d1810b3c7e47b83a3a2842"
    assert manifest.digest == "sha256:9c13bdc50cef38052dd157cdf5b9e76d202bba88f71c12168e2dc5617f0b8a90"


def test_the_config_runs_the_worker(tmp_path: Path) -> None:
    """Environment, entrypoint and folders are those that the worker and the emulator agree on."""
    request = BakeRequest(
        model=str(write_model(tmp_path / "Tiny-Model")),
        to=f"oci:{tmp_path}/layout:v1",
        worker_deps=write_deps(tmp_path / "deps"),
        worker_code=(write_package(tmp_path, "vllm_worker"),),
    )
    bake(request)
    config = Layout(tmp_path / "layout").config("v1")
    assert config["config"]["Env"] == [
        "PATH=/opt/vllm/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HF_HUB_OFFLINE=1",
        "MODEL_NAME=/models/tiny-model",
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE=Tiny-Model",
        "PYTHONPATH=/opt/vllm-worker/code:/opt/vllm-worker/deps",
        "PYTHONUNBUFFERED=1",
        "TRANSFORMERS_OFFLINE=1",
    ]
    assert config["config"]["Entrypoint"] == ["python3", "-m", "vllm_worker"]
    assert (config["config"]["Cmd"], config["config"]["WorkingDir"]) == ([], "/")
    assert (config["architecture"], config["os"], config["created"]) == ("amd64", "linux", "1970-01-01T00:00:00Z")
    assert len(config["history"]) == len(config["rootfs"]["diff_ids"]) == 5


def test_a_layer_says_what_it_holds(tmp_path: Path) -> None:
    """A single file's layer carries its path and digest, so that a stranger can find it again."""
    bake(BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"oci:{tmp_path}/layout:v1"))
    manifest = Layout(tmp_path / "layout").manifest("v1")
    first = manifest["layers"][0]
    assert first["mediaType"] == "application/vnd.oci.image.layer.v1.tar"
    assert first["annotations"]["io.vllm-runpod.path"] == "/models/tiny/model-00002-of-00002.safetensors"
    assert first["annotations"]["io.vllm-runpod.role"] == "weights"
    assert len(first["annotations"]["io.vllm-runpod.sha256"]) == 64
    assert json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode() == Layout(tmp_path / "layout").blob(
        Layout(tmp_path / "layout").tags()["v1"]
    )


def test_names_can_be_given(tmp_path: Path) -> None:
    """--name sets the folder, --served-name what clients call the model."""
    model = str(write_model(tmp_path / "Tiny"))
    bake(BakeRequest(model=model, to=f"oci:{tmp_path}/layout:v1", name="other", served_name="org/Nice"))
    layout = Layout(tmp_path / "layout")
    assert all(path.startswith("models/other/") for path in layout.files("v1"))
    assert "OPENAI_SERVED_MODEL_NAME_OVERRIDE=org/Nice" in layout.config("v1")["config"]["Env"]


def test_many_weight_files_share_layers(tmp_path: Path) -> None:
    """Engines stop at about 125 layers: 200 shards go into at most 80, in order, and nothing is lost."""
    model = write_model(tmp_path / "Tiny", shards=200, shard_bytes=10)
    receipt = bake(BakeRequest(model=str(model), to=f"oci:{tmp_path}/layout:v1"))
    assert len([layer for layer in receipt.layers if layer.role == "weights"]) == 67
    weights = [path for path in Layout(tmp_path / "layout").files("v1") if path.endswith(".safetensors")]
    assert len(weights) == 200


def test_fewer_files_share_a_layer_where_layers_are_limited(tmp_path: Path) -> None:
    """200 shards of which three do not fit into a layer go in pairs: 100 layers are still within 120."""
    model = write_model(tmp_path / "Tiny", shards=200, shard_bytes=10)
    source = FolderSource(model)
    selection = select(source.inventory())

    def layers(limit: int | None) -> list[int]:
        planned = model_layers(selection, source, "tiny", base_layers=10, extra=0, limit=limit)
        return [len(layer.files) for layer in planned if layer.role == "weights"]

    three = max(layer.size for layer in model_layers(selection, source, "tiny", base_layers=10, extra=0))
    assert max(layers(None)) == max(layers(three)) == 3
    assert layers(three - 1) == [2] * 100
    assert layers(1) == [2] * 100, "no further: more than 120 layers there cannot be"
