"""`vllm-runpod bake`: the bakery's own command, with what a project folder already knows filled in.

In this deployment's project (it has images/vllm-baked/pins.json) the worker's layers and the base image go without
saying; elsewhere, in anybody's Pulumi project too, and in scripts/bake_weights.py, the caller names everything.
"""

import copy
import json
from pathlib import Path
from typing import Any

import click

from vllm_runpod import deployed_images
from vllm_runpod.errors import CommandError, NotAProject, SetupMissing
from vllm_runpod.project import WORKER_CODE, Project, find_project
from weight_bakery.cli import bake_command, error_line, status_command

PINS = Path("images/vllm-baked/pins.json")


def command() -> click.Command:
    """The bakery's command, with its own commands, whose missing options come from the project it is started in."""
    wrapped = copy.copy(bake_command)
    inner = bake_command.callback
    assert inner is not None

    def callback(**options: Any) -> Any:
        context = click.get_current_context()
        if context.invoked_subcommand is not None or None in (options["model"], options["to"]):
            return inner(**options)
        try:
            project = find_project(Path(context.find_root().obj or "."))
        except NotAProject:
            return inner(**options)
        if not (project.root / PINS).is_file():
            return inner(**options)  # somebody's own Pulumi project, which has no worker to put in
        try:
            filled = with_project_defaults(options, project)
        except CommandError as error:
            if options["as_json"]:
                text, _, hint = str(error).partition("\n\nhint: ")
                click.echo(error_line(type(error).__name__, text, hint, error.exit_code))
            raise
        return inner(**filled)

    wrapped.callback = callback
    wrapped.commands = dict(bake_command.commands)
    wrapped.add_command(
        status_command(deployed_images.reader(lambda: Path(click.get_current_context().find_root().obj or ".")))
    )
    return wrapped


def with_project_defaults(options: dict[str, Any], project: Project) -> dict[str, Any]:
    """Fill in what was not given: the worker's code and packages, and for a registry the pinned base image.

    An image for a registry runs on RunPod, so it stands on the GPU image and holds packages for the Python in there. A
    layout (`oci:`) is for the emulator on this machine, which lends its own vLLM. Raises SetupMissing, CommandError.
    """
    filled = dict(options)
    if not filled["worker_code"]:
        filled["worker_code"] = tuple(project.root / folder for folder in WORKER_CODE)
    for_registry = not str(filled["to"]).startswith("oci:")
    if filled["worker_deps"] is None:
        folder, maker = (
            (project.local / "worker-layer", "make worker-layer")
            if for_registry
            else (project.worker_dependencies, "make setup")
        )
        if not folder.is_dir():
            raise SetupMissing(
                f"the worker's packages ({folder.relative_to(project.root)}) are missing\n\nhint: `{maker}` makes them"
            )
        filled["worker_deps"] = folder
    if filled["base"] is None and for_registry:
        filled["base"] = pinned_base(project)
    return filled


def pinned_base(project: Project) -> str:
    """The GPU image by digest, from the pins file. Raises CommandError while the digest is not filled in."""
    path = project.root / PINS
    try:
        pin = json.loads(path.read_text())["base"]
        image, digest, lookup = pin["image"], pin["digest"], pin["digest_command"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{PINS} cannot be used: {error!r}\n\nhint: name the base image with --base") from error
    if not digest:
        raise CommandError(
            f"{PINS}: base.digest is empty, so the base image is not pinned\n\n"
            f"hint: put there what `{lookup}` prints, or name a base with --base"
        )
    return f"{image}@{digest}"
