"""tools/setup.py runs before anything is installed, on whatever Python the user has."""

import ast
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "setup.py"


def test_a_python_that_is_too_old_gets_as_far_as_being_told() -> None:
    """Nothing in the file may need a newer Python than the one it refuses."""
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 7))
    futures = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    assert [alias.name for node in futures for alias in node.names] == ["annotations"]
