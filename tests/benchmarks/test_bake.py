"""The benchmark of baking: its faults do damage, its judge sees it, and a small run comes out whole."""

import hashlib
import json
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks import bake
from benchmarks._bake_faults import differences
from benchmarks._bake_ground import GIB, MIB, Bakery, GroundError, Registry, running_registry, watched, write_model
from benchmarks._bake_limit import Rates
from benchmarks._bake_moves import manifest
from benchmarks._bake_peers import Work, buildah
from benchmarks._bake_report import add_times
from benchmarks._bake_times import SizeFigures
from benchmarks._bake_wire import CutOff, Fault, Faults, Kind, Quota, announced, damaged
from benchmarks.report import Report
from tests.support.tools import built_tool
from weight_bakery import BakeRequest
from weight_bakery import bake as bake_model

BODY = bytes(range(256)) * 20


async def pieces(size: int) -> AsyncIterator[bytes]:
    """A body in pieces."""
    for start in range(0, len(BODY), size):
        yield BODY[start : start + size]


async def through(fault: Fault | None, size: int = 700) -> bytes:
    """What arrives of the body."""
    return b"".join([piece async for piece in damaged(pieces(size), fault)])


async def until_cut_off(fault: Fault, size: int) -> bytes:
    """What arrives of the body before the connection ends."""
    arrived = b""
    try:
        async for piece in damaged(pieces(size), fault):
            arrived += piece
    except CutOff:
        return arrived
    raise AssertionError("the connection did not end")


async def test_a_sound_line_changes_nothing() -> None:
    """Without a fault every byte arrives."""
    assert await through(None) == BODY


@pytest.mark.parametrize("size", [1, 7, 700, 10_000])
async def test_every_kind_of_fault_does_its_damage(size: int) -> None:
    """One bit is flipped; or a piece is left out, and announced so; or the connection ends at that byte."""
    chance = random.Random(size)
    for _ in range(20):
        at = chance.randrange(len(BODY))
        length = min(chance.randrange(1, 4096), len(BODY) - at)
        flipped = await through(Fault("flip", at, 3, length), size)
        assert [n for n, (a, b) in enumerate(zip(flipped, BODY, strict=True)) if a != b] == [at]
        short = Fault("short", at, 0, length)
        assert await through(short, size) == BODY[:at] + BODY[at + length :]
        assert announced(len(BODY), short) == len(BODY) - length
        assert await until_cut_off(Fault("truncate", at, 0, length), size) == BODY[:at]


def test_no_more_faults_than_asked_for() -> None:
    """All lines draw on one quota, and what was fired adds up to it."""
    quota = Quota(7)
    lines = [Faults(seed, 0.5, quota) for seed in range(3)]
    fired = [faults.next("there", 1000) for _ in range(50) for faults in lines]
    assert sum(fault is not None for fault in fired) == 7
    assert sum(sum(line.fired.values()) for line in lines) == 7
    kinds: set[Kind] = {fault.kind for fault in fired if fault is not None}
    assert kinds <= {"flip", "truncate", "short"}


def test_the_limit_is_the_formula() -> None:
    """Three hash passes over all cores and one copy; a disk is added."""
    rates = Rates(sha256=3e9, copy=1e9, sha256_cpu=1.5e9, copy_cpu=5e8)
    assert rates.limit(2_000_000_000) == pytest.approx(4.0)
    assert rates.limit(2_000_000_000, disk=5e8) == pytest.approx(8.0)
    assert rates.limit_cpu(2_000_000_000) == pytest.approx(8.0)


def test_a_process_is_watched(tmp_path: Path) -> None:
    """Memory at its height is seen, with that of children, and so is what goes to a disk."""
    child = "import time; block = bytearray(60 << 20); time.sleep(0.4)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    cost = watched(["python3", "-c", program], cwd=tmp_path, env=dict(os.environ))
    assert cost.peak_rss > 60 * MIB
    assert cost.seconds > 0.4
    with pytest.raises(GroundError, match=r"python3 ended with 3: words"):
        watched(["python3", "-c", "print('words'); raise SystemExit(3)"], cwd=tmp_path, env=dict(os.environ))


def test_a_model_is_random_and_whole(tmp_path: Path) -> None:
    """Shards are equal in size, differ in content and hold the tensor that their header names."""
    model = write_model(tmp_path / "model", 400_000, shards=4)
    shards = sorted(model.glob("*.safetensors"))
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in shards}) == 4
    for path in shards:
        content = path.read_bytes()
        length = int.from_bytes(content[:8], "little")
        (tensor,) = json.loads(content[8 : 8 + length]).values()
        assert tensor["data_offsets"] == [0, 100_000]
        assert len(content) == 8 + length + 100_000


def measured() -> SizeFigures:
    """Figures of a size, as they come."""
    figures = SizeFigures(2 * GIB, ours=[5.0, 4.0, 9.0], limits=[4.0, 4.0, 6.0], cpu=[1.2, 1.4, 1.3], from_hub=8.0)
    figures.peak_rss, figures.written = 100 * MIB, 90_000
    figures.disk_ours, figures.disk_limit, figures.pull_ours, figures.pull_single = 9.0, 6.0, 2.0, 5.0
    return figures


def test_ratios_and_limits_are_the_promised_ones() -> None:
    """Our median is held against the others, each round against its own limit, like sources against like."""
    figures = measured()
    figures.peers = {"crane append": 60.0, "buildah bud + push": 24.0, "oras": 6.0, "oci-modelcar": 8.8}
    report = Report("bake")
    add_times(report, [2 * GIB], [figures], peers=True)
    assert report.ratios["vs_crane"] == 12.0
    assert report.ratios["vs_buildah"] == 4.8
    assert report.ratios["vs_oci_modelcar"] == pytest.approx(1.1)
    assert report.ratios["vs_best_other"] == pytest.approx(1.1)
    assert report.ratios["vs_limit"] == 1.25
    assert report.ratios["weight_bytes_on_disk"] == 0
    assert report.ratios["pull_vs_single_gzip"] == 2.5
    assert report.missed() == ["vs_buildah"]
    limits = {key: limit.as_json() for key, limit in report.limits.items()}
    assert limits == {
        "vs_buildah": {"min": 5}, "vs_crane": {"min": 3}, "vs_best_other": {"min": 1}, "vs_limit": {"max": 1.6},
        "vs_limit_disk": {"max": 1.6}, "peak_rss_mib": {"max": 256}, "weight_bytes_on_disk": {"equals": 0},
    }  # fmt: skip


def test_a_peer_that_is_not_here_is_null(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without buildah on PATH its key is null and the table says how to install it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    work = Work(tmp_path, Registry("127.0.0.1:1", tmp_path, 1), tmp_path, Bakery(tmp_path / "home"), "")
    with pytest.raises(GroundError) as refused:
        buildah(work)
    figures = measured()
    figures.missing["buildah bud + push"] = str(refused.value)
    report = Report("bake")
    add_times(report, [2 * GIB, 8 * GIB], [figures], peers=True)
    assert report.ratios["vs_buildah"] is None
    assert "apt-get install buildah" in report.notes["vs_buildah"]
    assert "8 GiB" in report.notes["vs_limit"]


def run(*arguments: str) -> Result:
    """A small run of the benchmark."""
    return CliRunner().invoke(bake.main, ["--no-peers", "--rounds", "1", *arguments])


def figures(result: Result) -> dict[str, float | None]:
    """The ratios of its closing line."""
    line = json.loads(result.stdout.splitlines()[-1])
    assert line["bench"] == "bake"
    ratios: dict[str, float | None] = line["ratios"]
    return ratios


@pytest.mark.tools
def test_the_judge_sees_a_byte_that_differs(tmp_path: Path) -> None:
    """What the registry keeps is compared byte for byte: a model that was changed afterwards differs from its image."""
    built_tool("registry")
    model = write_model(tmp_path / "model", 40_000, shards=2)
    with running_registry(tmp_path) as registry:
        bake_model(BakeRequest(str(model), f"{registry.host}/m:v1", attest=False))
        assert manifest(registry.host, "other:v1") is None
        assert differences(registry, "m:v1", model) == []
        shard = model / "model-00002-of-00002.safetensors"
        shard.write_bytes(shard.read_bytes()[:-1] + b"!")
        assert differences(registry, "m:v1", model) == [shard.name]


@pytest.mark.tools
@pytest.mark.slow
def test_a_small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What must be nothing is nothing, every key is there, and what was not asked for is null."""
    built_tool("registry")
    monkeypatch.setattr(bake, "KILL_BYTES", 24 * MIB)
    folders = ["--memory", str(tmp_path), "--disk", str(tmp_path)]
    result = run("--sizes", "0.02", "--kills", "1", "--faults", "6", "--no-moves", *folders)
    assert result.exit_code in (0, 1), result.output  # so small a model takes longer than its limit: Python starts
    found = figures(result)
    assert found["vs_limit"] is not None
    assert found["vs_buildah"] is None
    assert found["weight_bytes_on_disk"] is not None
    assert 30 < (found["peak_rss_mib"] or 0) < 256
    assert (found["kills"], found["kill_wrong_digests"]) == (1, 0)
    assert found["kill_resent_layers_max"] in range(5)
    assert (found["faults"], found["corrupt_pushed"]) == (6, 0)
    assert found["pull_vs_single_gzip"] is not None
    assert found["rebake_bytes"] is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.tools
@pytest.mark.slow
def test_what_moves(tmp_path: Path) -> None:
    """A second bake and a rebase send no layer; one changed shard of eight sends an eighth."""
    built_tool("registry")
    folders = ["--memory", str(tmp_path), "--disk", str(tmp_path)]
    result = run("--sizes", "", "--kills", "0", "--faults", "0", *folders)
    assert result.exit_code == 0, result.output
    found = figures(result)
    assert (found["rebake_bytes"], found["rebase_bytes"]) == (0, 0)
    assert 0.12 < (found["one_shard_fraction"] or 0) <= 0.13
    assert found["vs_limit"] is None
    assert found["kills"] is None
