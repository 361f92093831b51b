"""Who may import whom (docs/design/rooms.md), read from the sources themselves."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LEAVES = {"redaction", "vllm_options"}
ROOMS = {
    "pulumi_runpod",
    "runpod_rest",
    "runpod_emulator",
    "weight_bakery",
    "vllm_sizing",
    "vllm_options",
    "redaction",
    "pulumi_embedded",
    "vllm_runpod",
    "vllm_worker",
    "infra",
}

# What a part of the tree may import of the project, leaves aside. The longest matching folder decides.
ALLOWED: dict[str, set[str]] = {
    "src/redaction": set(),
    "src/vllm_options": set(),
    "src/runpod_rest": set(),
    "src/runpod_emulator": set(),
    "src/weight_bakery": set(),
    "src/vllm_sizing": set(),
    "src/pulumi_embedded": set(),
    "images/vllm-baked/vllm_worker": set(),
    "src/pulumi_runpod": set(),
    "src/pulumi_runpod/provider": {"pulumi_runpod", "runpod_rest", "weight_bakery", "vllm_sizing"},
    "infra": {"pulumi_runpod", "vllm_sizing"},
    "src/vllm_runpod": ROOMS,
}


def imported_rooms(source: str) -> set[str]:
    """Top-level names of the project that a module imports, wherever the import stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found & ROOMS


def modules() -> list[Path]:
    return sorted(path for folder in ("src", "infra", "images") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_the_rooms_it_may(path: Path) -> None:
    """Each module keeps to its room's list; the leaves are open to all but each other."""
    relative = path.relative_to(ROOT).as_posix()
    folder = max((name for name in ALLOWED if relative.startswith(name + "/")), key=len, default=None)
    assert folder is not None, f"{relative} is in no room; add it to the table in this test and to docs/design/rooms.md"
    own = Path(folder).name if folder != "src/pulumi_runpod/provider" else "pulumi_runpod"
    allowed = ALLOWED[folder] | {own} | (LEAVES if own not in LEAVES else set())
    assert imported_rooms(path.read_text()) <= allowed


def test_the_sdk_half_of_pulumi_runpod_imports_only_pulumi() -> None:
    """A program that uses the SDK pays for pulumi and nothing else."""
    for path in (ROOT / "src/pulumi_runpod").rglob("*.py"):
        if "provider" in path.relative_to(ROOT / "src/pulumi_runpod").parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module]
                if isinstance(node, ast.ImportFrom) and node.module and not node.level
                else []
            )
            for name in names:
                assert name.split(".")[0] in {"pulumi", "pulumi_runpod"} | set(STANDARD), f"{path.name} imports {name}"
                assert not name.startswith("pulumi_runpod.provider"), f"{path.name} imports the provider half"


STANDARD = __import__("sys").stdlib_module_names


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_every_room_says_what_is_true_there(folder: str) -> None:
    """A room opens with a docstring; a newcomer reads it first."""
    init = ROOT / folder / ("__init__.py" if folder != "infra" else "__main__.py")
    assert init.is_file(), f"{folder} has no {init.name}"
    assert ast.get_docstring(ast.parse(init.read_text())), f"{init} has no module docstring"
