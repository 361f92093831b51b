"""Print docs/reference/worker-environment.md: the worker's own variables, from the texts beside their settings.

    python tools/worker_environment.py > docs/reference/worker-environment.md

A test compares the page with what this prints, so that none is forgotten and none is told twice.
"""

import ast
import sys
from dataclasses import fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "vllm_options" / "_environment.py"
sys.path.insert(0, str(SOURCE.parents[1]))

from vllm_options import WorkerSettings  # noqa: E402 - it is run from a clone, with any Python

# Where a setting's default is another one's value.
_DEFAULTS = {"max_concurrency": "`MAX_NUM_SEQS`, else 30"}


def meanings() -> dict[str, str]:
    """What the text below each field of WorkerSettings says, by the variable's name."""
    (settings,) = [
        node
        for node in ast.parse(SOURCE.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "WorkerSettings"
    ]
    found: dict[str, str] = {}
    for one, below in zip(settings.body, settings.body[1:], strict=False):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            name = one.target.id.upper()
            text = below.value.value if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) else ""
            if not isinstance(text, str) or not text.startswith(f"{name}: "):
                raise SystemExit(f"{SOURCE.name}: the text below {one.target.id} does not begin with `{name}: `")
            found[name] = " ".join(text.removeprefix(f"{name}: ").split())
    return found


def page() -> str:
    """The whole page."""
    told = meanings()
    rows = []
    for entry in fields(WorkerSettings):
        text = told[entry.name.upper()].rstrip(".").replace("|", "\\|")
        rows.append(
            f"| `{entry.name.upper()}` | {_default(entry.name, entry.default)} | {text[0].upper()}{text[1:]}. |"
        )
    return "\n".join(
        [
            "# The worker's environment",
            "",
            "The worker's own variables. Beside them every option of `vllm serve` can be set by its name in capitals",
            "([the image](../../images/vllm-baked/README.md)). A value that does not fit or a mistyped name is",
            "refused before vLLM starts, and by a preview, all in one go. An empty value means unset; switches take",
            "true/1/yes/on and false/0/no/off.",
            "",
            "This page is written by `python tools/worker_environment.py`; a test compares it.",
            "",
            "| variable | default | meaning |",
            "|---|---|---|",
            *rows,
            "",
            "What limits count, what usage lines and figures mean: [the worker](../design/vllm_worker.md#limits).",
            "",
        ]
    )


def _default(name: str, value: object) -> str:
    if name in _DEFAULTS:
        return _DEFAULTS[name]
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value is None or isinstance(value, tuple | frozenset):
        return "none"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(page())
