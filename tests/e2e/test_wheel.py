"""The wheel as a platform team gets it: built, installed into a fresh environment, used from outside the clone."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.e2e.support import ROOT, environment

UV = next(
    (str(found) for found in (ROOT / ".local/bootstrap/bin/uv", shutil.which("uv")) if found and Path(found).is_file()),
    "",
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not UV, reason="uv is neither in .local/bootstrap nor on PATH: make setup brings it"),
]

PACKAGES = (
    "pulumi_embedded", "pulumi_runpod", "pulumi_runpod.provider", "redaction", "runpod_emulator", "runpod_rest",
    "vllm_options", "vllm_runpod", "vllm_runpod_components", "vllm_sizing", "vllm_worker",
    "weight_bakery",
)  # fmt: skip

LOOK = """
import importlib, sys
from pathlib import Path

for name in sys.argv[1:]:
    module = importlib.import_module(name)
    assert Path(module.__file__).is_relative_to(sys.prefix), module.__file__
    assert [entry for entry in getattr(module, "__all__", ()) if not hasattr(module, entry)] == [], name

import pulumi_runpod, vllm_options, vllm_sizing
assert vllm_options.options(vllm_options.latest_version())
assert vllm_sizing.snapshot().pools
for name in sys.argv[1:]:
    assert "." in name or (Path(importlib.import_module(name).__file__).parent / "py.typed").is_file(), name
"""


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    """A command with a user's environment; its output, or an error that shows it."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with this environment's own hatchling; nothing is fetched."""
    folder = tmp_path_factory.mktemp("wheel")
    run(
        UV, "build", "--offline", "--wheel", "--no-build-isolation", "--python", sys.executable, "-o", folder, ROOT,
        cwd=folder,
    )  # fmt: skip
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the locked packages and the wheel, from caches only."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    run(UV, "venv", "--offline", "--no-project", "--python", sys.executable, folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    locked = subprocess.run(
        [
            UV, "pip", "sync", "--offline", "--python", python, "--require-hashes",
            ROOT / "requirements" / "project.txt",
        ],
        capture_output=True,
        text=True,
    )  # fmt: skip
    if "found in the cache" in " ".join(locked.stderr.split()):
        pytest.skip("the locked packages are not in uv's cache: make setup brings them")
    assert locked.returncode == 0, locked.stderr
    run(UV, "pip", "install", "--offline", "--python", python, "--no-deps", wheel, cwd=folder.parent)
    return folder


def test_the_wheel_holds_what_is_public_and_nothing_else(wheel: Path) -> None:
    """Every package with its data and its types; no test, no tool, no local state."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {name for name in PACKAGES if "." not in name} | {"vllm_runpod-0.1.0.dist-info"}
    assert "pulumi_runpod/provider/PulumiPlugin.yaml" in names
    assert "pulumi_runpod/provider/schema.json" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".lock"))]


def test_its_dependencies_are_the_locked_ones(installed: Path) -> None:
    """What `project.in` lists reached the wheel's metadata, and the lock satisfies it."""
    assert (
        "compatible"
        in subprocess.run(
            [UV, "pip", "check", "--offline", "--python", installed / "bin/python"], capture_output=True, text=True
        ).stderr
    )


def test_every_public_package_can_be_imported(installed: Path, tmp_path: Path) -> None:
    """From a folder outside the clone, and really from the wheel; with data, types and every promised name."""
    run(installed / "bin/python", "-W", "error", "-c", LOOK, *PACKAGES, cwd=tmp_path)


def test_its_commands_run(installed: Path, tmp_path: Path) -> None:
    """Help and version of the command line, the plugin's version; outside a project one line says so."""
    command = installed / "bin/vllm-runpod"
    shown = run(command, "--help", cwd=tmp_path)
    for word in ("up", "preview", "bake", "emulator", "ask", "doctor", "Examples:"):
        assert word in shown
    assert "0.1.0" in run(command, "--version", cwd=tmp_path)
    assert run(command, "bake", "--help", cwd=tmp_path)
    assert run(installed / "bin/pulumi-resource-runpod", "--version", cwd=tmp_path).strip()
    done = subprocess.run([command, "preview"], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no Pulumi.yaml in")
    assert "Traceback" not in done.stderr
