"""The set-up script: what it refuses, what it skips, what it does again."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def setup(tmp_path: Path) -> ModuleType:
    """The script as a module whose clone is a temporary folder."""
    spec = importlib.util.spec_from_file_location("setup_under_test", ROOT / "tools/setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.ROOT = tmp_path  # type: ignore[attr-defined]
    module.LOCAL = tmp_path / ".local"  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("platform", "darwin", r"darwin .*; Linux x86_64 is supported"),
        ("version_info", (3, 10, 4), r"CPython 3.11 to 3.13 is supported: run `make PYTHON="),
        ("version_info", (3, 14, 0), r"CPython 3.11 to 3.13 is supported"),
    ],
)
def test_what_is_not_supported_is_refused_in_one_line(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, value: object, message: str
) -> None:
    """Nothing is half-run on a machine it was not made for."""
    monkeypatch.setattr(sys, name, value)
    with pytest.raises(setup.SetupError, match=message) as caught:
        setup.check_platform()
    assert "\n" not in str(caught.value)


def test_a_step_runs_once_and_again_when_its_inputs_change(setup: ModuleType, tmp_path: Path) -> None:
    """The stamp holds what the result depends on."""
    runs = []
    result = tmp_path / "result"

    def work() -> None:
        runs.append(1)
        result.write_text("there")

    for key in ("a", "a", "b"):
        setup.Steps().step("one", "a step", key, result, work)
    assert len(runs) == 2


def test_a_step_whose_result_is_gone_runs_again(setup: ModuleType, tmp_path: Path) -> None:
    """A deleted environment is made anew, whatever the stamp says."""
    result = tmp_path / "result"
    setup.Steps().step("one", "a step", "a", result, result.touch)
    result.unlink()
    setup.Steps().step("one", "a step", "a", result, result.touch)
    assert result.exists()


def test_an_interrupted_step_is_done_again(setup: ModuleType, tmp_path: Path) -> None:
    """Ctrl-C in the middle leaves no stamp, though something of the result may be there."""
    result = tmp_path / "result"

    def interrupted() -> None:
        result.touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        setup.Steps().step("one", "a step", "a", result, interrupted)
    runs = []
    setup.Steps().step("one", "a step", "a", result, lambda: runs.append(1))
    assert runs == [1]


def test_a_failing_command_shows_what_it_printed(setup: ModuleType) -> None:
    """The last lines of the tool's own words, its exit code and a way out."""
    with pytest.raises(setup.SetupError, match=r"(?s)exit code 3:\nno such package\nhint: "):
        setup.run(sys.executable, "-c", "print('no such package'); raise SystemExit(3)")


def test_a_full_disk_is_named(setup: ModuleType) -> None:
    """The remedy for a full disk is not to run the same command again."""
    with pytest.raises(setup.SetupError, match=r"hint: no space is left"):
        setup.run(sys.executable, "-c", "print('No space left on device'); raise SystemExit(1)")


def test_the_timings_of_this_run_are_kept_for_the_table(setup: ModuleType, tmp_path: Path) -> None:
    """`make up` shows what this set-up did; a step that had nothing to do took nothing."""
    result = tmp_path / "result"
    first = setup.Steps()
    first.step("one", "a step", "a", result, result.touch)
    second = setup.Steps()
    second.step("one", "a step", "a", result, result.touch)
    second.save()
    assert json.loads((tmp_path / ".local/timings.json").read_text()) == {"seconds": {"one": 0.0}}
