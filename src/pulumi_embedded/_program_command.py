"""How the process of the project's program is started. Loads next to nothing (`_early.py` says why)."""

import os
from pathlib import Path

from pulumi_embedded._errors import ProjectError
from pulumi_embedded._project import Project
from pulumi_embedded._spawn import Spawned, spawn, without_passphrase

_RUNNER = Path(__file__).with_name("_runner.py")


def spawn_program(project: Project) -> Spawned:
    """Start the process of the project's program."""
    program = project.program
    if not program.exists():
        raise ProjectError(f"Pulumi.yaml: main: there is no {program}")
    if program.is_dir() and not (program / "__main__.py").is_file():
        raise ProjectError(f"unable to find main python program `__main__.py` in `{program}`")
    env = without_passphrase(os.environ)
    if project.virtualenv is not None:
        env["VIRTUAL_ENV"] = str(project.virtualenv)
        env["PATH"] = f"{project.virtualenv / 'bin'}{os.pathsep}{env.get('PATH', '')}"
        env.pop("PYTHONHOME", None)
    return spawn(
        "program",
        [str(project.python()), "-u", str(_RUNNER)],
        cwd=program if program.is_dir() else program.parent,
        env=env,
        stdin=True,
    )
