"""Start-up caches in the worker: written once after a miss, used on a hit, foreign ones never touched."""

import ast
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.vllm_worker.support import CODE, ROOT
from vllm_options import options, read_environment
from vllm_worker import _caches
from vllm_worker._caches_key import (
    NEUTRAL_FLAGS,
    NEUTRAL_VARIABLES,
    Device,
    UnknownDevice,
    _find_cpu,
    find_device,
)

A100 = Device("NVIDIA A100-SXM4-80GB", "8.0", 80, "570.86.15", 1)
ENVS = sorted((ROOT / ".local/envs/vllm/lib").glob("python*/site-packages/vllm/envs.py"))
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
    # From an image's folder too: below a clone in /tmp the model's path would look like one of the image's.
    bare = code_with_caches(tmp_path / "bare")
    first = await start(PYTHONPATH=bare, WORKER_CACHE_HARVEST=str(kept), MAX_MODEL_LEN="64")
    ready = await first.event("ready")
    assert ready["caches"] == "miss"
    miss, written = first.events("caches")
    assert miss["message"].startswith("start-up caches: miss (")
    assert miss["message"].endswith("image holds none)")
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
    assert ready["caches"] == "hit", second.lines
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


class Ground:
    """A cache folder of an image, and starts of a worker's first step against it."""

    def __init__(self, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.root, self.capfd = root, capfd
        self.image = root / "opt/vllm-worker/caches"
        self.image.mkdir(parents=True)
        self.arguments: dict[str, Any] = {
            "vllm_version": "0.32.0", "cpu": True, "model": "/models/x", "command": ("vllm", "--dtype=bfloat16"),
            "environment": {"HOME": str(root / "home")}, "harvest": None, "image": self.image,
        }  # fmt: skip

    def start(self, **changes: Any) -> tuple[_caches.StartCaches, str]:
        """What a start decides, and its log."""
        self.capfd.readouterr()
        decided = _caches.prepare(**{**self.arguments, **changes})
        return decided, self.capfd.readouterr().out

    def bake(self, files: Mapping[str, str], **changes: Any) -> Path:
        """Put caches into the image that fit a start with these changes; returns their folder."""
        missed, _ = self.start(harvest=str(self.root / "volume"), **changes)
        assert missed.root is not None
        for path, text in files.items():
            (missed.root / path).parent.mkdir(parents=True, exist_ok=True)
            (missed.root / path).write_text(text)
            os.utime(missed.root / path, (1_700_000_000, 1_700_000_000))
        _caches.finish(missed)
        shutil.rmtree(missed.root.parent)
        (archive,) = (self.root / "volume").glob("*.tar")
        with tarfile.open(archive) as stream:
            stream.extractall(self.image / archive.stem, filter="data")
        archive.unlink()
        return self.image / archive.stem


@pytest.fixture
def ground(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Ground:
    """An image without caches."""
    return Ground(tmp_path, capfd)


COMPILED = {"vllm/torch_compile_cache/torch_aot_compile/01/rank_0_0/model": "compiled", "triton/A/k.cubin": "kernel"}


def test_times_and_modes_come_back(ground: Ground) -> None:
    """FlashInfer's build compares times, and libraries may be executable."""
    ground.bake(COMPILED)
    hit, log = ground.start()
    assert (hit.outcome, set(hit.known)) == ("hit", set(COMPILED))
    assert json.loads(log)["files"] == 2
    assert hit.root is not None
    status = (hit.root / "triton/A/k.cubin").stat()
    assert (int(status.st_mtime), stat.S_IMODE(status.st_mode)) == (1_700_000_000, 0o644)


def test_other_flags_model_or_software_are_a_miss_that_names_what_is_there(ground: Ground) -> None:
    """Foreign caches are told and left alone; vLLM keeps its own places."""
    folder = ground.bake(COMPILED)
    for changes, part in (
        ({"command": ("vllm", "--dtype=half")}, "flags"),
        ({"model": "/models/y"}, "model"),
        ({"vllm_version": "0.33.0"}, "software"),
        ({"environment": {**ground.arguments["environment"], "VLLM_USE_V2_MODEL_RUNNER": "0"}}, "environment"),
    ):
        miss, log = ground.start(**changes)
        assert (miss.outcome, miss.root, miss.environment()) == ("miss", None, {})
        assert f"the image holds {folder.name}: " in log
        assert f"other {part})" in log
    assert not [path for path in (ground.root / "home").rglob("*") if path.is_file()]


def test_what_makes_no_difference_is_a_hit(ground: Ground) -> None:
    """Names, logging, sockets, the place of the home folder."""
    ground.bake(COMPILED)
    other = {"HOME": str(ground.root / "elsewhere"), "VLLM_LOGGING_LEVEL": "DEBUG", "HF_TOKEN": "hf_x"}
    command = ("python", "-m", "vllm", "serve", "--uds=/tmp/x", "--served-model-name", "a", "b", "--dtype", "bfloat16")
    hit, _ = ground.start(environment=other, command=command)
    assert hit.outcome == "hit"


def test_a_folder_that_lies_about_its_key_is_never_used(ground: Ground) -> None:
    """Its name is ours and its key is not: a foreign key, whoever put it there."""
    folder = ground.bake(COMPILED)
    document = json.loads((folder / "key.json").read_text())
    document["key"]["gpu"]["name"] = "NVIDIA H100 80GB HBM3"
    (folder / "key.json").write_text(json.dumps(document))
    miss, log = ground.start()
    assert miss.outcome == "miss"
    assert "NVIDIA H100 80GB HBM3, vLLM 0.32.0, /models/x, other gpu" in log


@pytest.mark.parametrize("damage", ["missing", "short", "key", "path"])
def test_damaged_caches_are_a_miss_and_never_half_laid_out(ground: Ground, damage: str) -> None:
    """The start goes on as if they were not there."""
    folder = ground.bake(COMPILED)
    content = sorted((folder / "files").iterdir())[0]
    if damage == "missing":
        content.unlink()
    elif damage == "short":
        content.write_bytes(b"x")
    else:
        text = (folder / "key.json").read_text()
        (folder / "key.json").write_text(text[:-9] if damage == "key" else text.replace("triton/A", "triton/../.."))
    miss, log = ground.start()
    assert miss.outcome == "miss"
    assert '"event": "note"' in log
    assert not [path for path in (ground.root / "home").rglob("*") if path.is_file()]


def test_a_second_start_in_the_same_container_keeps_what_vllm_added(ground: Ground) -> None:
    """Nothing is copied again."""
    ground.bake(COMPILED)
    first, _ = ground.start()
    assert first.root is not None
    (first.root / "triton/B").mkdir()
    again, _ = ground.start()
    assert again.outcome == "hit"
    assert (first.root / "triton/B").is_dir()


def test_what_an_earlier_start_left_half_done_is_laid_out_anew(ground: Ground) -> None:
    """A start without caches that was cut off: its folder has the right name and not the right files."""
    ground.bake(COMPILED)
    missed, _ = ground.start(image=ground.root / "none/of/these", harvest=str(ground.root / "volume"))
    hit, _ = ground.start()
    assert (hit.outcome, hit.root) == ("hit", missed.root)
    assert hit.root is not None
    assert (hit.root / "triton/A/k.cubin").read_text() == "kernel"


def test_a_compilation_after_a_hit_is_told(ground: Ground, capfd: pytest.CaptureFixture[str]) -> None:
    """vLLM could not load what was there and wrote it once more, or its own key knew a difference that ours did not."""
    ground.bake(COMPILED)
    hit, _ = ground.start()
    _caches.finish(hit)
    assert capfd.readouterr().out == ""
    assert hit.root is not None
    for place in ("01", "02"):
        path = hit.root / f"vllm/torch_compile_cache/torch_aot_compile/{place}/rank_0_0/model"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("compiled")
    _caches.finish(hit)
    assert "compiled again although start-up caches were laid out (2 models)" in capfd.readouterr().out


def test_a_users_own_place_switches_it_off(ground: Ground) -> None:
    """Their caches are theirs."""
    ground.bake(COMPILED)
    off, log = ground.start(environment={"HOME": "/x", "VLLM_CACHE_ROOT": "/elsewhere"})
    assert (off.outcome, off.environment()) == ("off", {})
    assert "VLLM_CACHE_ROOT is set" in log


def test_a_harvest_folder_that_cannot_be_written_costs_a_line(
    ground: Ground, capfd: pytest.CaptureFixture[str]
) -> None:
    """The worker serves all the same; so it does when another worker was first."""
    (ground.root / "file").write_text("")
    missed, _ = ground.start(harvest=str(ground.root / "file" / "x"))
    assert missed.root is not None
    for path, text in COMPILED.items():
        (missed.root / path).parent.mkdir(parents=True, exist_ok=True)
        (missed.root / path).write_text(text)
    _caches.finish(missed)
    assert "were not kept" in capfd.readouterr().out
    there, _ = ground.start(harvest=str(ground.root / "volume"))
    _caches.finish(there)
    before = [path.stat().st_ino for path in (ground.root / "volume").iterdir()]
    capfd.readouterr()
    _caches.finish(there)
    assert "is there already" in capfd.readouterr().out
    assert [path.stat().st_ino for path in (ground.root / "volume").iterdir()] == before


def test_the_harvest_folder_is_a_whole_path() -> None:
    """A relative one would lie in whatever folder the worker was started in."""
    asked = {"MODEL_NAME": "/models/x", "WORKER_CACHE_HARVEST": "caches"}
    (problem,) = read_environment(asked, options("0.32.0")).problems
    assert str(problem) == "WORKER_CACHE_HARVEST: 'caches' is not a folder's whole path; begin it with /"
    plan = read_environment({**asked, "WORKER_CACHE_HARVEST": "/runpod-volume/caches"}, options("0.32.0"))
    assert plan.settings.worker_cache_harvest == "/runpod-volume/caches"
    assert "WORKER_CACHE_HARVEST" not in plan.environment, "vLLM does not see it"


def nvidia_smi(folder: Path, *rows: str, code: int = 0) -> str:
    """A PATH with an nvidia-smi that prints these rows."""
    folder.mkdir(exist_ok=True)
    program = folder / "nvidia-smi"
    lines = "".join(f"echo '{row}'\n" for row in rows)
    program.write_text(
        f"#!/bin/sh\n[ $1 = --query-gpu=name,compute_cap,memory.total,driver_version ] || exit 9\n{lines}exit {code}\n"
    )
    program.chmod(0o755)
    return str(folder)


def test_a_gpu_is_what_nvidia_smi_says(tmp_path: Path) -> None:
    """Name, capability, memory in GiB, driver; several of a kind are one kind."""
    row = "NVIDIA A100-SXM4-80GB, 8.0, 81920, 570.86.15"
    assert find_device(False, nvidia_smi(tmp_path, row)) == A100
    assert find_device(False, nvidia_smi(tmp_path, row, row)).count == 2
    for rows, code, words in (
        ((row, row.replace("8.0", "9.0")), 0, "several kinds"), ((), 0, "lists no GPU"), ((row,), 3, "failed"),
        (("[N/A], x",), 0, "not understood"),
    ):  # fmt: skip
        with pytest.raises(UnknownDevice, match=words):
            find_device(False, nvidia_smi(tmp_path, *rows, code=code))
    with pytest.raises(UnknownDevice, match="there is no nvidia-smi"):
        find_device(False, str(tmp_path / "empty"))


def test_a_gpu_worker_has_a_hit_with_caches_of_its_kind_alone(ground: Ground) -> None:
    """A tree as an A100 leaves it fits an A100, whatever its driver, and no H100."""
    a100 = nvidia_smi(ground.root / "a100", "NVIDIA A100-SXM4-80GB, 8.0, 81920, 570.86.15")
    newer = nvidia_smi(ground.root / "newer", "NVIDIA A100-SXM4-80GB, 8.0, 81920, 580.10")
    h100 = nvidia_smi(ground.root / "h100", "NVIDIA H100 80GB HBM3, 9.0, 81559, 570.86.15")

    def on(path: str) -> dict[str, Any]:
        return {"cpu": False, "environment": {**ground.arguments["environment"], "PATH": path}}

    ground.bake({**COMPILED, "nv/570.86.15/0/1/x": "ptx"}, **on(a100))
    assert ground.start(**on(a100))[0].environment()["CUDA_CACHE_PATH"].endswith("/nv/570.86.15")
    hit, _ = ground.start(**on(newer))
    assert hit.outcome == "hit"
    assert hit.environment()["CUDA_CACHE_PATH"].endswith("/nv/580.10"), "translated for another driver: not looked at"
    miss, log = ground.start(**on(h100))
    assert miss.outcome == "miss"
    assert "NVIDIA A100-SXM4-80GB, vLLM 0.32.0, /models/x, other gpu" in log


def test_neutral_options_are_options_of_vllm() -> None:
    """A name that vLLM does not have would hide a slip of the pen."""
    known = {option.flag for option in options("0.32.0").by_env.values()}
    assert known >= NEUTRAL_FLAGS


@pytest.mark.skipif(not ENVS, reason="no vLLM environment in .local/envs/vllm")
def test_neutral_variables_are_those_that_vllm_leaves_out_of_its_own_key() -> None:
    """Read from the source of the installed vLLM, which is not imported."""
    tree = ast.parse(ENVS[0].read_text(encoding="utf-8"))
    ignored = next(
        node.value for node in ast.walk(tree)
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "ignored_factors"
    )  # fmt: skip
    assert ignored is not None
    assert set(ast.literal_eval(ignored)) >= NEUTRAL_VARIABLES


@pytest.mark.parametrize("text", ["models: cpu", "model name\t: X 9000\nflags\t\t: b a\n\nmodel name\t: Y\n"])
def test_a_cpu_is_its_name_and_what_it_can_do(text: str) -> None:
    """The order of its flags makes no difference."""
    found = _find_cpu(text)
    assert found == _find_cpu(text.replace("b a", "a b"))
    assert found.name.startswith("CPU ")
    assert found.name == "CPU X 9000" or "X 9000" not in text
