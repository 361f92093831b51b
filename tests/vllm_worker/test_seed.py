"""vLLM's cache of model classes, filled before it looks."""

import json
from pathlib import Path

import pytest

from vllm_options import latest_version
from vllm_worker._seed import cache_root, seed_model_infos


def test_a_model_folder_gets_the_files_of_its_architectures(tmp_path: Path) -> None:
    """Complete, in vLLM's own form, and never over what is there."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    root = tmp_path / "cache"
    assert seed_model_infos(latest_version(), str(model), root) == 1
    (path,) = (root / "modelinfos").iterdir()
    assert path.name == "vllm-model_executor-models-llama-LlamaForCausalLM.json"
    document = json.loads(path.read_text())
    assert set(document) == {"hash", "modelinfo"}
    assert document["modelinfo"]["architecture"] == "LlamaForCausalLM"
    assert document["modelinfo"]["is_text_generation_model"] is True
    assert "hash" not in document["modelinfo"]
    path.write_text("vLLM's own")
    assert seed_model_infos(latest_version(), str(model), root) == 0
    assert path.read_text() == "vLLM's own"


@pytest.mark.parametrize("config", [None, "no json", "[]", '{"architectures": 3}', '{"architectures": ["Unknown"]}'])
def test_any_other_model_does_no_harm(tmp_path: Path, config: str | None) -> None:
    """All of them for a model that is not here yet, none for an unknown one or another vLLM."""
    model = tmp_path / "model"
    model.mkdir()
    if config is not None:
        (model / "config.json").write_text(config)
    written = seed_model_infos(latest_version(), str(model), tmp_path / "cache")
    assert written == 0 if config is not None and "Unknown" in config else written > 50
    assert seed_model_infos("0.1.0", str(model), tmp_path / "other") == 0
    assert not (tmp_path / "other").exists()


def test_the_cache_is_where_vllm_looks() -> None:
    """VLLM_CACHE_ROOT, else the user's cache folder."""
    assert cache_root({"HOME": "/h"}) == Path("/h/.cache/vllm")
    assert cache_root({"HOME": "/h", "XDG_CACHE_HOME": "/x"}) == Path("/x/vllm")
    assert cache_root({"HOME": "/h", "VLLM_CACHE_ROOT": "~/c"}) == Path("/h/c")
