"""The environment the pulumi CLI runs programs in: it insists on a `pip` inside, which the project's has not."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pulumi

from tests.pulumi_embedded.support import HERE

_PLACE = HERE.parents[1] / ".local" / "envs" / "pulumi-cli-tests"


def cli_virtualenv() -> Path:
    """Made once: a venv with pip that sees this environment's packages."""
    _PLACE.parent.mkdir(parents=True, exist_ok=True)
    with _PLACE.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = _PLACE / "made"
        if not done.exists():
            subprocess.run([sys.executable, "-m", "venv", str(_PLACE)], check=True)
            version = f"python{sys.version_info.major}.{sys.version_info.minor}"
            packages = Path(pulumi.__file__).parents[1]
            (_PLACE / "lib" / version / "site-packages" / "project.pth").write_text(f"{packages}\n")
            done.touch()
    return _PLACE


def own_virtualenv() -> Path:
    """The environment these tests run in."""
    return Path(sys.prefix)
