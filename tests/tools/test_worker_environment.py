"""The page of the worker's variables is what its settings say."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date() -> None:
    """`python tools/worker_environment.py > docs/reference/worker-environment.md` writes it."""
    spec = importlib.util.spec_from_file_location("worker_environment", ROOT / "tools/worker_environment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs/reference/worker-environment.md").read_text()
    assert page == module.page(), "write it anew: python tools/worker_environment.py"
