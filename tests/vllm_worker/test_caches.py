"""Start-up caches in the worker: written once after a miss, used on a hit, foreign ones never touched."""

import json
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.vllm_worker.support import CODE, ROOT
from vllm_worker._caches_key import Device

A100 = Device("NVIDIA A100-SXM4-80GB", "8.0", 80, "570.86.15", 1)
WRITES = {
    "$VLLM_CACHE_ROOT/torch_compile_cache/torch_aot_compile/0123/rank_0_0/model": "compiled",
    "$VLLM_CACHE_ROOT/startup_plan/startup_plan_0123.json": "{}",
    "$TRITON_CACHE_DIR/ABCD/kernel.cubin": "kernel",
    "$TRITON_CACHE_DIR/ABCD/kernel.lock": "",
    "$TRITON_CACHE_DIR/tmp.pid_7_x/kernel.cubin": "half a ker",
    "$FLASHINFER_WORKSPACE_BASE/.cache/flashinfer/0.7.2/80/cached_ops/op/op.so": "library",
}


def code_with_caches(folder: Path, archives: Path | None = None) -> str:
    """A worker's code where it lies in an image, and beside it the caches that were harvested; returns PYTHONPATH."""
    code = folder / "opt/vllm-worker/code"
    code.mkdir(parents=True)
    for package in ("images/vllm-baked/vllm_worker", "src/vllm_options", "src/redaction"):
        (code / Path(package).name).symlink_to(ROOT / package)
    if archives is not None:
        for archive in archives.glob("*.tar"):
            with tarfile.open(archive) as stream:
                stream.extractall(code.parent / "caches" / archive.stem, filter="data")
    return os.pathsep.join([str(code), *map(str, CODE)])


def fake_start(home: Path, writes: Mapping[str, str]) -> None:
    """Let the fake vLLM of the next worker write caches."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "fake.json").write_text(json.dumps({"writes": writes}))


async def test_a_miss_is_kept_and_the_next_worker_has_a_hit(start: Callable[..., Any], tmp_path: Path) -> None:
    """What the first start wrote lies in the second one's caches before its vLLM starts, times and modes included."""
    kept = tmp_path / "volume" / "caches"
    fake_start(tmp_path / "home0", WRITES)
    first = await start(WORKER_CACHE_HARVEST=str(kept), MAX_MODEL_LEN="64")
    ready = await first.event("ready")
    assert ready["caches"] == "miss"
    miss, written = first.events("caches")
    assert miss["message"].startswith("start-up caches: miss (") and miss["message"].endswith("image holds none)")
    assert ["--max-model-len", "64"] in miss["wanted"]["flags"]
    assert written["outcome"] == "kept"
    (archive,) = kept.iterdir()
    assert archive.name == f"{written['key']}.tar"
    with tarfile.open(archive) as stream:
        names = stream.getnames()
        key = json.loads(stream.extractfile("key.json").read())  # type: ignore[union-attr]
    paths = [file["path"] for file in key["files"]]
    assert [path for path in paths if not path.startswith("vllm/modelinfos/")] == [
        "flashinfer/.cache/flashinfer/0.7.2/80/cached_ops/op/op.so",
        "triton/ABCD/kernel.cubin",
        "vllm/startup_plan/startup_plan_0123.json",
        "vllm/torch_compile_cache/torch_aot_compile/0123/rank_0_0/model",
    ]
    assert len(names) == 1 + len(paths)

    second = await start(PYTHONPATH=code_with_caches(tmp_path / "image", kept), MAX_MODEL_LEN="64")
    ready = await second.event("ready")
    assert ready["caches"] == "hit"
    assert ready["phases"]["caches"] > 0
    (hit,) = second.events("caches")
    assert hit["message"].startswith(f"start-up caches: hit ({written['key']}: ")
    environment = (await second.seen(lambda entry: "started" in entry))["environment"]
    places = {**os.environ, **environment}
    for place, text in WRITES.items():
        path = Path(place.replace("$VLLM_CACHE_ROOT", places["VLLM_CACHE_ROOT"]).replace(
            "$TRITON_CACHE_DIR", places["TRITON_CACHE_DIR"]).replace(
            "$FLASHINFER_WORKSPACE_BASE", places["FLASHINFER_WORKSPACE_BASE"]))  # fmt: skip
        if "lock" in place or "tmp." in place:
            assert not path.exists(), "locks and half-written files are left behind"
        else:
            assert path.read_text() == text
            assert os.access(path, os.W_OK)
    assert environment["VLLM_ENABLE_STARTUP_PLAN"] == "1"


async def test_other_flags_are_a_miss_that_names_what_is_there(start: Callable[..., Any], tmp_path: Path) -> None:
    """The caches of another max_model_len are told and left alone; vLLM keeps its own places."""
    kept = tmp_path / "caches"
    fake_start(tmp_path / "home0", WRITES)
    await (await start(WORKER_CACHE_HARVEST=str(kept), MAX_MODEL_LEN="64")).event("ready")
    other = await start(PYTHONPATH=code_with_caches(tmp_path / "image", kept), MAX_MODEL_LEN="65")
    assert (await other.event("ready"))["caches"] == "miss"
    (miss,) = other.events("caches")
    assert "other flags" in miss["message"]
    assert miss["there"] == [archive.stem for archive in kept.iterdir()]
    environment = (await other.seen(lambda entry: "started" in entry))["environment"]
    assert not {"VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "VLLM_ENABLE_STARTUP_PLAN"} & set(environment)
