"""A small run of `make bench BENCH=engine`, and its arithmetic."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import engine
from benchmarks.report import Report

ROOT = Path(__file__).parents[2]


def test_small_run_times_our_side_and_the_bare_program() -> None:
    """Every operation is timed; what needs the CLI or other sizes is null; a line of JSON closes it."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "engine", "--sizes", "10", "--runs", "1", "--no-cli", "--programs", "0"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    ratios = line["ratios"]
    assert line["bench"] == "engine"
    assert {key for key, limit in line["limits"].items() if limit} == {
        "up_1_vs_cli", "preview_200_vs_cli", "up_200_vs_cli", "growth_vs_bare", "programs_compared", "differences",
    }  # fmt: skip
    assert all(ratios[f"{operation}_10_vs_bare"] > 0 for operation in ("preview", "up"))
    assert all(value is None for key, value in ratios.items() if key.endswith("_vs_cli") or key in line["limits"])


def test_growth_is_that_of_the_worst_operation() -> None:
    """An operation whose time grows with the square of the resources shows, whatever the others do."""
    seconds = {("ours", 200): 1.0, ("ours", 2000): 10.0, ("bare", 200): 0.5, ("bare", 2000): 5.0}
    times: engine.Times = {
        (side, operation, size): [value, value * 1.5]
        for (side, size), value in seconds.items()
        for operation in ("preview", "up", "no_change")
    }
    times["ours", "up", 2000] = [40.0]
    report = Report("engine")
    engine._report_growth(report, times)
    assert report.ratios["preview_growth_vs_bare"] == pytest.approx(1.0)
    assert report.ratios["growth_vs_bare"] == report.ratios["up_growth_vs_bare"] == pytest.approx(4.0)
    assert report.missed() == ["growth_vs_bare"]


def test_sizes_are_numbers() -> None:
    """A mistyped size is named before anything runs."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "engine", "--sizes", "1,many"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "'1,many' is not a list of numbers such as 1,200,2000" in done.stderr
