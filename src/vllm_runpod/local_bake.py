"""Bakes the image of stack `local` from what `make up` has set up: model folder, worker packages, worker code."""

from pathlib import Path
from typing import Any

from rich.console import Console

from vllm_runpod.errors import CommandError, SetupMissing
from vllm_runpod.project import LOCAL_STACK, Project
from weight_bakery import BakeReceipt, BakeRequest, BakeryError, bake, image_name
from weight_bakery.cli import ProgressDisplay

WORKER_CODE = ("images/vllm-baked/vllm_worker", "src/vllm_options", "src/redaction")
"""Package folders of the code layer, relative to the project."""


def worker_code(project: Project) -> tuple[Path, ...]:
    """The folders that make the worker's code layer."""
    return tuple(project.root / folder for folder in WORKER_CODE)


def bake_local(project: Project) -> BakeReceipt | None:
    """Bake what `Pulumi.local.yaml` asks for under `bake`; None when it names a ready image instead.

    Raises SetupMissing, and CommandError also for what the bakery refuses.
    """
    config = project.config(LOCAL_STACK)
    wanted: Any = config.get(f"{project.name}:bake")
    if wanted is None:
        return None
    model = config.get(f"{project.name}:model")
    if not isinstance(wanted, dict) or not isinstance(wanted.get("to"), str) or not isinstance(model, str):
        raise CommandError(f"Pulumi.local.yaml: {project.name}:bake needs `to`, and {project.name}:model a model id")
    served = config.get(f"{project.name}:servedModelName", model)
    source = project.local / "models" / image_name(model)
    for path in (source, project.worker_dependencies):
        if not path.is_dir():
            raise SetupMissing(f"{path} is not there\n\nhint: run `make up`, which makes it")
    request = BakeRequest(
        model=str(source),
        to=_in_project(project, wanted["to"]),
        name=image_name(model),
        served_name=served,
        worker_deps=project.worker_dependencies,
        worker_code=worker_code(project),
        lock=project.root / wanted.get("lock", "weights.lock"),
        cache=project.local / "digests.json",
    )
    try:
        with ProgressDisplay(Console(stderr=True)) as display:
            return bake(request, progress=display)
    except BakeryError as error:
        raise CommandError(str(error)) from error


def _in_project(project: Project, target: str) -> str:
    """A layout's folder is relative to the project, wherever the command was started."""
    if not target.startswith("oci:"):
        return target
    return f"oci:{project.root / target.removeprefix('oci:')}"
