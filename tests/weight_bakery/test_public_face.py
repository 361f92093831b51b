"""What may be imported from the room."""

import ast
from pathlib import Path

import weight_bakery

ROOM = Path(weight_bakery.__file__).parent


def test_the_public_names_are_the_declared_ones() -> None:
    """`__all__` is sorted as ruff wants it, complete, and every name exists."""
    public = {name for name in vars(weight_bakery) if not name.startswith("_") and name != "cli"}
    assert public == set(weight_bakery.__all__)


def test_the_room_imports_no_other_room() -> None:
    """Only the leaf `redaction`."""
    rooms = {"pulumi_runpod", "runpod_rest", "runpod_emulator", "vllm_sizing", "pulumi_embedded", "vllm_runpod",
             "vllm_worker", "infra"}  # fmt: skip
    for path in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            assert not rooms & {name.partition(".")[0] for name in names}, path


def test_every_module_is_short() -> None:
    """One subject each."""
    assert max(len(path.read_text().splitlines()) for path in ROOM.glob("*.py")) < 420
