"""The command line: `python -m pulumi_embedded <command>`, the pulumi CLI's flags and exit codes."""

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pulumi_embedded._errors import EngineError, UsageError
from pulumi_embedded._flags import CommandGroup, operation_flags, stack_option, truth
from redaction import RedactingFilter, redact


class Globals:
    """The global flags."""

    def __init__(self, cwd: str, colour: str, non_interactive: bool) -> None:
        self.cwd = Path(cwd)
        self.interactive = (
            not non_interactive and sys.stdin.isatty() and sys.stdout.isatty() and not os.environ.get("CI")
        )
        self.colour = colour == "always" or (
            colour == "auto" and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        )

    def stack(self, name: str | None, project: Any = None) -> Any:
        """The stack that is meant."""
        from pulumi_embedded._project import load_project
        from pulumi_embedded._stack import Stack, open_backend

        project = project or load_project(self.cwd)
        backend = open_backend(project)
        name = name or os.environ.get("PULUMI_STACK")
        if not name:
            known = backend.stacks()
            if len(known) != 1:
                there = f" ({', '.join(known)})" if known else ""
                raise UsageError(f"no stack selected; name one with --stack or PULUMI_STACK{there}")
            name = known[0]
        return Stack(project, backend, name)


class _Commands(CommandGroup):
    """The commands of this module, and two groups that are loaded when they are asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*super().list_commands(context), "stack", "config"])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name == "stack":
            from pulumi_embedded._cli_stack import stack

            return stack
        if name == "config":
            from pulumi_embedded._cli_config import config

            return config
        return super().get_command(context, name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-C", "--cwd", default=".", help="Run as if started in this folder.")
@click.option("--color", "colour", type=click.Choice(["always", "never", "raw", "auto"]), default="auto")
@click.option("--non-interactive", is_flag=True, help="Never ask.")
@click.option("-e", "--emoji", is_flag=True, hidden=True)
@click.option("-Q", "--fully-qualify-stack-names", is_flag=True, hidden=True)
@click.option("--logtostderr", is_flag=True, help="Debug log (plugins included) on standard error.")
@click.option("--logflow", is_flag=True, hidden=True)
@click.option("-v", "--verbose", type=int, default=0, help="The CLI's log level; above 3 everything.")
@click.pass_context
def cli(context: click.Context, /, cwd: str, colour: str, non_interactive: bool, logtostderr: bool, **_: Any) -> None:
    """Run a Pulumi program without the pulumi CLI; the state is the CLI's own."""
    context.obj = Globals(cwd, colour, non_interactive)
    if logtostderr:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
        handler.addFilter(RedactingFilter())
        logger = logging.getLogger("pulumi_embedded")
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)


def _operate(globals_: Globals, kind: str, stack_name: str | None, flags: dict[str, Any]) -> None:
    flags["refresh"] = truth(flags.pop("refresh", None))
    flags.pop("suppress_permalink", None)
    if flags.pop("show_secrets", False):
        from pulumi_embedded._errors import NotSupported

        raise NotSupported(f"{kind} --show-secrets (`stack output --show-secrets` shows them)")
    from pulumi_embedded._early import Early
    from pulumi_embedded._project import load_project

    project = load_project(globals_.cwd)
    early = Early(project)
    try:
        # The rest of this room is loaded while the program loads the SDK.
        run_program = kind in ("preview", "up")
        if run_program:
            early.start_program()
        stack = globals_.stack(stack_name, project)
        if kind == "preview" or stack.exists():
            stack.begin(run_program, kind == "preview", early)
        from pulumi_embedded._commands import Request, Session

        request = Request(kind=kind, interactive=globals_.interactive, colour=globals_.colour, **flags)
        Session(stack, request, sys.stdout).run()
    finally:
        early.end()


@cli.command()
@operation_flags
@click.pass_obj
def preview(globals_: Globals, /, stack_name: str | None, **flags: Any) -> None:
    """Show what `up` would do. Writes nothing."""
    _operate(globals_, "preview", stack_name, flags)


@cli.command()
@operation_flags
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-f", "--skip-preview", is_flag=True, help="Do not preview first.")
@click.pass_obj
def up(globals_: Globals, /, stack_name: str | None, **flags: Any) -> None:
    """Make the cloud what the program says."""
    _operate(globals_, "up", stack_name, flags)


@cli.command()
@operation_flags
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-f", "--skip-preview", is_flag=True, help="Do not preview first.")
@click.option("--preview-only", is_flag=True, help="Only show what a refresh would find.")
@click.option("--clear-pending-creates", is_flag=True, help="Forget creations whose end was never known.")
@click.option("--skip-pending-creates", is_flag=True, help="Do not ask about creations whose end was never known.")
@click.pass_obj
def refresh(globals_: Globals, /, stack_name: str | None, **flags: Any) -> None:
    """Take over into the state what the cloud really has."""
    _operate(globals_, "refresh", stack_name, flags)


@cli.command()
@operation_flags
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("-f", "--skip-preview", is_flag=True, help="Do not preview first.")
@click.option("--preview-only", is_flag=True, help="Only show what would be destroyed.")
@click.option("--remove", is_flag=True, help="Remove the stack afterwards.")
@click.pass_obj
def destroy(globals_: Globals, /, stack_name: str | None, remove: bool, **flags: Any) -> None:
    """Delete everything the stack has."""
    preview_only, as_json = flags["preview_only"], flags["as_json"]
    _operate(globals_, "destroy", stack_name, flags)
    if remove and not preview_only:
        globals_.stack(stack_name).remove()
    elif not preview_only and not as_json:
        name = globals_.stack(stack_name).name
        click.echo(
            "The stack is empty now; its history and configuration are kept. "
            f"To remove them too, run `stack rm {name}`."
        )


@cli.command()
@stack_option
@click.argument("argument_stack", required=False)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def cancel(globals_: Globals, /, stack_name: str | None, argument_stack: str | None, yes: bool) -> None:
    """Remove the stack's locks. Only when you are sure that nobody works on it."""
    stack = globals_.stack(argument_stack or stack_name)
    if not yes:
        if not globals_.interactive:
            raise UsageError("--yes must be passed in to proceed when running in non-interactive mode")
        click.confirm(f"This removes every lock of {stack.name}. Continue?", abort=True)
    for line in stack.cancel():
        click.echo(f"removed {line}")
    click.echo(f"The currently running update for '{stack.name}' has been canceled!")


_GLOBAL_VALUES = ("--cwd", "-C", "--color", "--verbose", "-v")
_GLOBAL_SWITCHES = (
    "--non-interactive",
    "--emoji",
    "-e",
    "--fully-qualify-stack-names",
    "-Q",
    "--logtostderr",
    "--logflow",
)


def _global_flags_first(arguments: Sequence[str]) -> list[str]:
    """The CLI takes its global flags anywhere; here they stand before the command."""
    first: list[str] = []
    rest: list[str] = []
    left = iter(arguments)
    for argument in left:
        if argument == "--":
            rest += [argument, *left]
        elif argument in _GLOBAL_SWITCHES or argument.startswith(("--cwd=", "--color=", "--verbose=")):
            first.append(argument)
        elif argument in _GLOBAL_VALUES:
            first += [argument, *(value for value in (next(left, None),) if value is not None)]
        else:
            rest.append(argument)
    return [*first, *rest]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code. No traceback reaches a user."""
    given = _global_flags_first(sys.argv[1:] if arguments is None else arguments)
    try:
        result = cli.main(args=given, prog_name="pulumi_embedded", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except EngineError as error:
        sys.stdout.flush()
        if str(error):  # else it has been said where it belongs
            click.echo(f"error: {redact(str(error))}", err=True)
        return error.exit_code
    except click.exceptions.Abort:
        click.echo("error: cancelled", err=True)
        return 8
    except click.ClickException as error:
        click.echo(f"error: {redact(error.format_message())}", err=True)
        return 2
    except KeyboardInterrupt:
        click.echo("error: cancelled", err=True)
        return 8
    except BrokenPipeError:
        return 1
    except Exception as bug:  # noqa: BLE001 - the outermost edge
        logging.getLogger("pulumi_embedded").debug("%s", traceback.format_exc())
        click.echo(
            f"error: a bug in pulumi_embedded, please report it: {redact(repr(bug))} (--logtostderr shows where)",
            err=True,
        )
        return 255
