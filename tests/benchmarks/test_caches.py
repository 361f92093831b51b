"""A small run of the benchmark of start-up caches, with a vLLM that only pretends to compile."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import caches
from tests.vllm_worker.support import make_fake_environment
from tests.weight_bakery.support import write_model

pytestmark = pytest.mark.slow


def test_a_small_run(tmp_path: Path) -> None:
    """Miss, harvest, hit; the figures that do not depend on a real compiler keep their limits."""
    python = make_fake_environment(tmp_path / "venv")
    home, deps = tmp_path / "home", tmp_path / "deps"
    home.mkdir()
    deps.mkdir()
    place = "$VLLM_CACHE_ROOT/torch_compile_cache/torch_aot_compile/01/rank_0_0/model"
    (home / "fake.json").write_text(json.dumps({"writes": {place: "compiled"}}))
    model = str(write_model(tmp_path / "Tiny"))
    words = ["--python", str(python), "--deps", str(deps), "--model", model, "--home", str(home), "--limit", "60"]
    result = CliRunner().invoke(caches.main, words)
    line = json.loads(result.stdout.splitlines()[-1])
    assert line["bench"] == "caches", result.output
    ratios = line["ratios"]
    assert (ratios["hit"], ratios["compiled_again"], ratios["weight_bytes"]) == (1, 0, 0)
    assert ratios["layer_mib"] > 0
    assert line["limits"]["hit"] == {"equals": 1}


def test_what_is_missing_is_one_line(tmp_path: Path) -> None:
    """With what makes it."""
    result = CliRunner().invoke(caches.main, ["--python", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].endswith("is missing; run `make setup-all`")
