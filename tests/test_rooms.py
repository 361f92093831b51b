"""Each room's public face: what `__all__` lists is there, sorted, and nothing else is (style habit 2)."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
FACES = {
    **{path.parent.name: path.parent for path in sorted((ROOT / "src").glob("*/__init__.py"))},
    "vllm_worker": ROOT / "images/vllm-baked/vllm_worker",
    "components": ROOT / "infra/components",
}
"""Import name -> folder. The components are `vllm_runpod_components` in the wheel."""


def face(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A room as its users import it."""
    monkeypatch.syspath_prepend(str(FACES[name].parent))
    module = importlib.import_module(name)
    assert Path(str(module.__file__)).parent == FACES[name], "another package of this name is in front"
    return module


def test_no_room_is_forgotten() -> None:
    """The table holds every package of the wheel."""
    listed = (ROOT / "pyproject.toml").read_text()
    assert len(FACES) >= 11
    for name, folder in FACES.items():
        assert f'"{folder.relative_to(ROOT).as_posix()}"' in listed, f"{name} is not in the wheel"


@pytest.mark.parametrize("name", FACES)
def test_every_public_name_is_there_once_and_in_order(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`__all__` is a promise: each name can be had, and a name that is added or lost shows as one line."""
    room = face(name, monkeypatch)
    promised = list(room.__all__)
    assert len(promised) == len(set(promised))
    assert all(not entry.startswith("_") for entry in promised)
    assert [entry for entry in promised if not hasattr(room, entry)] == []
    for kind in (str.isupper, lambda entry: entry[0].isupper() and not entry.isupper(), str.islower):
        part = [entry for entry in promised if kind(entry)]
        assert part == sorted(part)


@pytest.mark.parametrize("name", FACES)
def test_nothing_is_public_by_accident(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the room's `__init__` defines or imports from the room is either promised or named with an underscore."""
    room = face(name, monkeypatch)
    foreign = {*sys.stdlib_module_names, "pulumi", "TYPE_CHECKING"}
    offered = {
        key
        for key, value in vars(room).items()
        if not key.startswith("_") and not isinstance(value, ModuleType) and key not in foreign
        and getattr(value, "__module__", name).partition(".")[0] == name
    }  # fmt: skip
    assert offered - set(room.__all__) == set()
