"""A small run of the benchmark of calls: its figures are counted by the emulator, its limits are the promised ones."""

import json

import pytest
from click.testing import CliRunner

from benchmarks import refresh
from benchmarks._faults_program import ENVIRONMENT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ENVIRONMENT.exists(), reason="needs the plugin's environment (.local/envs/plugin)"),
]


def test_a_small_run() -> None:
    """Six of each: three lists, and nothing by id; what is left out is null, with the reason in the table."""
    result = CliRunner().invoke(refresh.main, ["--endpoints", "6", "--volumes", "6", "--no-limited"])
    assert result.exit_code == 0, result.output
    line = json.loads(result.output.splitlines()[-1])
    assert 3 <= line["ratios"]["list_calls_100_endpoints"] <= 6
    assert line["ratios"]["get_calls_100_endpoints"] <= 6
    assert line["ratios"]["up_100_at_60_per_minute"] is None
    assert line["limits"]["list_calls_100_endpoints"] == {"max": 6}
    assert line["limits"]["up_100_at_60_per_minute"] == {"equals": 1}
