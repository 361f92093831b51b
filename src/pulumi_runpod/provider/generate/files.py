"""Which file holds what, formatted the way it is checked in."""

import subprocess
import sys
from pathlib import Path

from pulumi_runpod.provider.generate.docs import docs_pages
from pulumi_runpod.provider.generate.schema import schema_json
from pulumi_runpod.provider.generate.sdk import sdk_modules

PACKAGE = Path(__file__).resolve().parents[2]
ROOT = PACKAGE.parents[1]


def generated_files() -> dict[Path, str]:
    """Every generated file with its content. Needs ruff, so it runs in the development environment only."""
    files = {PACKAGE / name: _formatted(source) for name, source in sdk_modules().items()}
    files[PACKAGE / "provider" / "schema.json"] = schema_json()
    files.update({ROOT / "docs" / "resources" / name: page for name, page in docs_pages().items()})
    return files


def differing_files() -> list[Path]:
    """Generated files whose checked-in form is missing or older than the declarations."""
    return [
        path
        for path, content in generated_files().items()
        if not path.exists() or path.read_text(encoding="utf-8") != content
    ]


def _formatted(source: str) -> str:
    for arguments in (["check", "--fix", "--quiet", "--select", "I,F401", "-"], ["format", "--quiet", "-"]):
        command = [
            sys.executable,
            "-m",
            "ruff",
            arguments[0],
            "--stdin-filename",
            str(PACKAGE / "x.py"),
            *arguments[1:],
        ]
        source = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    return source
