"""The CLI's flags: those this engine honours, and those it refuses by name."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from pulumi_embedded._errors import NotSupported

F = TypeVar("F", bound=Callable[..., Any])

_REFUSED_VALUES = (
    "target", "target-replace", "replace", "exclude", "policy-pack", "policy-pack-config", "attach-debugger",
    "secrets-provider", "config-file", "config", "plan", "save-plan", "override-env", "import-file", "snippet",
    "import-pending-creates",
)  # fmt: skip
_REFUSED_SWITCHES = (
    "target-dependents", "exclude-dependents", "exclude-protected", "ignore-protect", "run-program", "strict", "remote",
    "config-path", "neo", "disable-integrity-checking",
)  # fmt: skip
_WITHOUT_EFFECT = (
    "show-config", "show-full-output", "show-policy-remediations", "skip-config-validation", "skip-plugin-pre-install",
    "suppress-progress", "urns", "show-reads", "debug",
)  # fmt: skip


_REFUSED_COMMANDS = {
    "cli": "new console import state install env login logout whoami org project api policy plugin schema "
    "package convert watch logs template neo",
    "stack": "change-secrets-provider graph import list migrate new rename select tag unselect",
    "config": "copy env refresh remove-all set-all",
}


class CommandGroup(click.Group):
    """A group that refuses by name those of the CLI's commands that are not there."""

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        command = super().get_command(context, name)
        if command is None and name in _REFUSED_COMMANDS[str(self.name)].split():
            raise NotSupported(f"`{name}`" if self.name == "cli" else f"`{self.name} {name}`")
        return command


def default_parallel() -> int:
    """How many steps run at once: the CLI's four per core, and enough for resources that mostly wait."""
    return max(16, 4 * (os.cpu_count() or 1))


def _refuse(_context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    if value:
        raise NotSupported(parameter.opts[0])
    return value


def _stack(function: F) -> F:
    return click.option("-s", "--stack", "stack_name", default=None, help="The stack to work on.")(function)


def stack_option(function: F) -> F:
    """`--stack`; PULUMI_STACK where it is not given."""
    return _stack(function)


def operation_flags(function: F) -> F:
    """What preview, up, refresh and destroy have in common."""
    options = [
        click.option("--diff", is_flag=True, help="Show every property."),
        click.option("-j", "--json", "as_json", is_flag=True, help="Machine-readable output."),
        click.option("--expect-no-changes", is_flag=True, help="Fail when there are changes."),
        click.option("-p", "--parallel", type=click.IntRange(min=1), default=default_parallel, help="Steps at once."),
        click.option("--show-sames", is_flag=True, help="Show unchanged resources too."),
        click.option("--show-replacement-steps", is_flag=True, help="Show the parts of replacements."),
        click.option("--show-secrets", is_flag=True, help="Show secret outputs."),
        click.option("--suppress-outputs", is_flag=True, help="Do not show the stack's outputs."),
        click.option("-m", "--message", default="", help="A message for the history."),
        click.option("--event-log", type=click.Path(), default=None, help="Write the engine's events to this file."),
        click.option("-r", "--refresh", "refresh", is_flag=False, flag_value="true", default="false",
                     help="Refresh first."),
        click.option("--continue-on-error", is_flag=True, help="Go on with what does not depend on a failure."),
        click.option("--suppress-permalink", is_flag=False, flag_value="true", default=None, hidden=True),
    ]  # fmt: skip
    for name in _REFUSED_VALUES:
        options.append(click.option(f"--{name}", multiple=True, hidden=True, callback=_refuse, expose_value=False))
    for name in (*_REFUSED_SWITCHES,):
        options.append(click.option(f"--{name}", is_flag=True, hidden=True, callback=_refuse, expose_value=False))
    for name in _WITHOUT_EFFECT:
        options.append(click.option(f"--{name}", is_flag=True, hidden=True, expose_value=False))
    options.append(click.option("-t", "t_target", multiple=True, hidden=True, callback=_refuse, expose_value=False))
    options.append(click.option("-c", "c_config", multiple=True, hidden=True, callback=_refuse, expose_value=False))
    for option in reversed(options):
        function = option(function)
    return stack_option(function)


def truth(value: str | None) -> bool:
    """A flag that may be given a value (`--refresh`, `--refresh=true`, `--refresh=false`)."""
    text = (value or "false").lower()
    if text not in ("true", "false", "1", "0"):
        raise click.BadParameter(f"expected true or false, got {value}")
    return text in ("true", "1")
