"""What a benchmark says at its end."""

import io
import json
import subprocess
import sys

import pytest
from rich.console import Console

from benchmarks.report import Limit, Report


def closed(report: Report) -> tuple[int, str]:
    """The exit code and all that was printed."""
    out = io.StringIO()
    return report.close(Console(file=out, width=120)), out.getvalue()


def test_line_holds_every_key_with_its_limit() -> None:
    """The last line is JSON; what was not measured is null and its reason is in the table."""
    report = Report("demo")
    report.measured("faster", 3.14159, Limit(min=3), "ten programs")
    report.measured("orphans", 0, Limit(equals=0))
    report.not_measured("vs_peer", "the peer is not on PATH", Limit(min=1))
    code, text = closed(report)
    line = json.loads(text.splitlines()[-1])
    assert code == 0
    assert line == {
        "bench": "demo",
        "ratios": {"faster": 3.142, "orphans": 0, "vs_peer": None},
        "limits": {"faster": {"min": 3}, "orphans": {"equals": 0}, "vs_peer": {"min": 1}},
    }
    assert "the peer is not on PATH" in text


@pytest.mark.parametrize(
    ("limit", "good", "bad"), [(Limit(min=3), 3, 2.99), (Limit(max=1.3), 1.3, 1.31), (Limit(equals=0), 0, 1)]
)
def test_missed_limit_is_an_exit_code(limit: Limit, good: float, bad: float) -> None:
    """A figure outside its limit ends the benchmark with 1 and is named in the table."""
    for value, expected in ((good, 0), (bad, 1)):
        report = Report("demo")
        report.measured("figure", value, limit)
        code, text = closed(report)
        assert code == expected
        assert ("missed" in text) == bool(expected)


def test_a_key_is_reported_once() -> None:
    """Reporting one key twice is a mistake of the benchmark, not a silent overwrite."""
    report = Report("demo")
    report.measured("figure", 1)
    with pytest.raises(ValueError, match="figure twice"):
        report.not_measured("figure", "again")


def test_unknown_benchmark_is_one_line() -> None:
    """A name that does not exist is refused with the names that do."""
    ran = subprocess.run([sys.executable, "-m", "benchmarks", "nope"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: there is no benchmark 'nope'")
    assert len(ran.stderr.splitlines()) == 1
