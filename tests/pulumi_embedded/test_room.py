"""What this room may import, and that the parts which stand alone do."""

import ast
import subprocess
import sys
from pathlib import Path

import pulumi_embedded

ROOM = Path(pulumi_embedded.__file__).parent
OTHER_ROOMS = {
    "infra", "pulumi_runpod", "runpod_rest", "runpod_emulator", "weight_bakery", "vllm_sizing", "vllm_options",
    "vllm_runpod", "vllm_worker",
}  # fmt: skip


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_no_other_room_is_imported() -> None:
    """Only the leaf `redaction`."""
    for path in ROOM.glob("*.py"):
        assert not {name.split(".")[0] for name in _imports(path)} & OTHER_ROOMS, path.name


def test_only_generated_modules_of_the_sdk_are_imported() -> None:
    """All but the runner, which runs in the program's process."""
    for path in ROOM.glob("*.py"):
        if path.name != "_runner.py":
            assert all(
                name.startswith("pulumi.runtime.proto") for name in _imports(path) if name.split(".")[0] == "pulumi"
            ), path.name


def test_what_runs_in_another_process_stands_alone() -> None:
    """Neither file imports this package: the other environment need not have it."""
    for name in ("_runner.py", "_launch.py"):
        assert not any(found.startswith("pulumi_embedded") for found in _imports(ROOM / name))


def test_the_command_line_does_not_load_the_sdk() -> None:
    """It would cost a third of a second at every command."""
    code = (
        "import sys; from pulumi_embedded._protos import use_generated_modules_only as u; u();"
        "import pulumi_embedded._commands; print('pulumi.resource' in sys.modules, 'opentelemetry' in sys.modules)"
    )
    env = {"PYTHONPATH": str(ROOM.parent), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_modules_stay_small() -> None:
    """One subject each."""
    for path in ROOM.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 420, path.name
