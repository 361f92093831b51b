"""Which images a stack runs, from its state. For `bake status --stack`; a stack that cannot be asked is an answer too.

The state is read through the engine's `stack export`: it needs no network to RunPod, and for images no passphrase.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redaction import redact
from vllm_runpod import engine
from vllm_runpod.errors import CommandError, NotAProject
from vllm_runpod.project import Project, find_project
from weight_bakery import Deployed

RUNS_IMAGES = frozenset({"runpod:index:Endpoint", "runpod:index:Template", "runpod:index:Pod"})
_LIMIT_S = 120


def reader(start: Callable[[], Path]) -> Callable[[str], Deployed]:
    """What `bake status` asks for a stack; `start` names the folder it was started in."""

    def read(stack: str) -> Deployed:
        try:
            return read_stack(find_project(start()), stack)
        except NotAProject as error:
            return Deployed(
                stack, problem=f"stack {stack}: {_first_line(str(error))}", remedy="start it in the project"
            )

    return read


def read_stack(project: Project, stack: str) -> Deployed:
    """Ask the engine for the stack's state and pick the images out of it."""
    remedy = f"deploy it: vllm-runpod up --stack {stack}"
    try:
        lock = _lock(project, stack)
        document = _export(project, stack)
    except CommandError as error:
        return Deployed(stack, root=project.root, problem=f"stack {stack}: {_first_line(str(error))}", remedy=remedy)
    if isinstance(document, str):
        return Deployed(
            stack, root=project.root, lock=lock, problem=f"stack {stack} could not be read: {document}", remedy=remedy
        )
    return Deployed(stack, images=images_of(document), root=project.root, lock=lock)


def images_of(document: Any) -> tuple[str, ...]:
    """Images of a state's templates, endpoints and pods, each once, sorted."""
    deployment = document.get("deployment") if isinstance(document, dict) else None
    resources = deployment.get("resources") if isinstance(deployment, dict) else None
    found = set()
    for resource in resources or ():
        if resource.get("type") not in RUNS_IMAGES or resource.get("delete"):
            continue
        for side in ("outputs", "inputs"):  # an endpoint made from a template says its image in the outputs alone
            image = (resource.get(side) or {}).get("image")
            if isinstance(image, str) and image:
                found.add(image)
                break
    return tuple(sorted(found))


def _export(project: Project, stack: str) -> Any:
    """The stack's state, or in a line why there is none."""
    chosen = engine.choose_engine()
    try:
        done = subprocess.run(
            [*chosen.command, "--cwd", str(project.root), "--non-interactive", "stack", "export", "--stack", stack],
            cwd=project.root,
            env=engine.environment(project, stack),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return f"{chosen.name} said nothing for {_LIMIT_S} s"
    if done.returncode:
        return _first_line(done.stderr or done.stdout) or f"{chosen.name} ended with exit code {done.returncode}"
    try:
        return json.loads(done.stdout)
    except ValueError:
        return f"{chosen.name} did not print its state as JSON"


def _lock(project: Project, stack: str) -> Path | None:
    """The lock file that the stack's `bake` names."""
    wanted = project.config(stack).get(f"{project.name}:bake") if project.stack_file(stack).is_file() else None
    return project.root / str(wanted.get("lock", "weights.lock")) if isinstance(wanted, dict) else None


def _first_line(text: str) -> str:
    lines = [line for line in redact(text).strip().splitlines() if line.strip()]
    return lines[0].removeprefix("error: ") if lines else ""
