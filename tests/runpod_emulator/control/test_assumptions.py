"""docs/emulator-assumptions.md: what the code marks as an assumption is listed, and what is listed exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
EMULATOR = ROOT / "src" / "runpod_emulator"
PAGE = (ROOT / "docs" / "emulator-assumptions.md").read_text(encoding="utf-8")


def test_every_marked_module_of_the_control_plane_is_listed() -> None:
    """A module that says "our assumption" has a row in the page."""
    modules = [*EMULATOR.glob("control/*.py"), EMULATOR / "config.py", EMULATOR / "guard.py"]
    marked = {
        str(path.relative_to(EMULATOR)) for path in modules if "our assumption" in path.read_text(encoding="utf-8")
    }
    listed = set(re.findall(r"`([\w/]+\.py)`", PAGE))
    assert marked - listed == set()
    assert len(marked) > 8


def test_every_named_module_exists() -> None:
    """The page points at files that are there."""
    named = set(re.findall(r"`([\w/]+\.py)`", PAGE))
    assert [name for name in sorted(named) if not (EMULATOR / name).exists()] == []


def test_every_plane_has_its_section() -> None:
    """One section per plane."""
    sections = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert sections == ["Control plane", "Job plane", "Worker plane and scaler", "Load balancer", "Pods", "Host"]
