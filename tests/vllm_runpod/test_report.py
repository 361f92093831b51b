"""The table of where the time went: what the stack's output tells of the bake."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from vllm_runpod.project import Project
from vllm_runpod.report import Timings


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ({"at": "now", "seconds": 2.5}, {"bake": 2.5}),
        ({"at": "2026-01-01T00:00:00Z", "seconds": 2.5}, {"bake": 0.0}),
        ({"at": "", "seconds": 0}, {"bake": 0.0}),
        (None, {}),
        ({"at": "some day"}, {}),
    ],
)
def test_only_the_bake_of_this_run_took_its_time(
    tmp_path: Path, told: Any, seconds: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    """An older bake took none of it, a stack that bakes nothing has no row, and nonsense is told."""
    timings = Timings(Project(tmp_path, "demo"))
    if told and told["at"] == "now":
        told = told | {"at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
    timings.add_bake(told)
    assert timings.as_dict() == seconds
    assert bool(capsys.readouterr().err) == (told == {"at": "some day"})
