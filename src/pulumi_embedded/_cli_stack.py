"""`stack ls|init|rm|output|export|history`."""

import json
from typing import Any

import click

from pulumi_embedded._errors import EngineError, NotSupported, UsageError
from pulumi_embedded._flags import CommandGroup, stack_option
from redaction import REDACTED


@click.group(cls=CommandGroup)
def stack() -> None:
    """Manage stacks."""


@stack.command("ls")
@click.option("-j", "--json", "as_json", is_flag=True)
@click.option("-a", "--all", "everything", is_flag=True, hidden=True)
@click.pass_obj
def ls(globals_: Any, as_json: bool, everything: bool) -> None:
    """List the project's stacks."""
    from pulumi_embedded._project import load_project
    from pulumi_embedded._stack import open_backend

    if everything:
        raise NotSupported("stack ls --all")
    backend = open_backend(load_project(globals_.cwd))
    rows: list[dict[str, Any]] = []
    for name in backend.stacks():
        latest = backend.read(name)["checkpoint"].get("latest") or {}
        resources = latest.get("resources") or []
        when = (latest.get("manifest") or {}).get("time", "") if resources or latest.get("manifest") else ""
        rows.append({"name": name, "current": False, "lastUpdate": when, "updateInProgress": False,
                     "resourceCount": len(resources)})  # fmt: skip
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    width = max([4, *(len(row["name"]) for row in rows)])
    click.echo(f"{'NAME':<{width}}  {'LAST UPDATE':<27}  RESOURCE COUNT")
    for row in rows:
        click.echo(f"{row['name']:<{width}}  {row['lastUpdate'] or 'n/a':<27}  {row['resourceCount']}")


@stack.command("init")
@stack_option
@click.argument("name", required=False)
@click.option("--no-select", is_flag=True, hidden=True, expose_value=False)
@click.option("--secrets-provider", default="passphrase")
@click.pass_obj
def init(globals_: Any, stack_name: str | None, name: str | None, secrets_provider: str) -> None:
    """Make an empty stack."""
    if secrets_provider not in ("default", "passphrase"):
        raise NotSupported(f"the secrets provider `{secrets_provider}`")
    name = name or stack_name
    if not name:
        raise UsageError("missing stack name")
    target = globals_.stack(name)
    target.create()
    click.echo(f"Created stack '{target.name}'")


@stack.command("rm")
@stack_option
@click.argument("name", required=False)
@click.option("-y", "--yes", is_flag=True)
@click.option("-f", "--force", is_flag=True, help="Also when it still has resources: they are forgotten, not deleted.")
@click.option("--preserve-config", is_flag=True, help="Keep Pulumi.<stack>.yaml.")
@click.pass_obj
def rm(globals_: Any, stack_name: str | None, name: str | None, yes: bool, force: bool, preserve_config: bool) -> None:
    """Remove a stack."""
    target = globals_.stack(name or stack_name)
    target.require()
    if not yes:
        if not globals_.interactive:
            raise UsageError("--yes must be passed in to proceed when running in non-interactive mode")
        click.confirm(f"This will permanently remove the '{target.name}' stack! Continue?", abort=True)
    with target.locked(lambda line: click.echo(line, err=True)):
        target.remove(force, preserve_config)
    click.echo(f"Stack '{target.name}' has been removed!")


@stack.command("output")
@stack_option
@click.argument("property_name", required=False)
@click.option("-j", "--json", "as_json", is_flag=True)
@click.option("--show-secrets", is_flag=True)
@click.option("--shell", is_flag=True, hidden=True)
@click.pass_obj
def output(
    globals_: Any, stack_name: str | None, property_name: str | None, as_json: bool, show_secrets: bool, shell: bool
) -> None:
    """Show what the stack exports."""
    from pulumi_embedded._values import Secret, rebuild, without_secrets
    from pulumi_embedded._wire import UNKNOWN_STRING

    if shell:
        raise NotSupported("stack output --shell")
    target = globals_.stack(stack_name)
    target.require()
    exported = target.outputs()

    def shown(value: Any) -> Any:
        if show_secrets:
            return without_secrets(value)
        return rebuild(value, lambda item: REDACTED if isinstance(item, Secret) else item)

    def text(value: Any) -> str:
        return (
            value
            if isinstance(value, str)
            else json.dumps(value, separators=(",", ":"), default=lambda _: UNKNOWN_STRING)
        )

    if property_name:
        if property_name not in exported:
            raise EngineError(f"current stack does not have output property '{property_name}'")
        value = shown(exported[property_name])
        click.echo(json.dumps(value, indent=2) if as_json else text(value))
        return
    values = {key: shown(exported[key]) for key in sorted(exported)}
    if as_json:
        click.echo(json.dumps(values, indent=2))
        return
    click.echo(f"Current stack outputs ({len(values)}):")
    width = max([6, *(len(key) for key in values)])
    if not values:
        click.echo("    No output values currently in this stack")
        return
    click.echo(f"    {'OUTPUT':<{width}}  VALUE")
    for key, value in values.items():
        click.echo(f"    {key:<{width}}  {text(value)}")


@stack.command("export")
@stack_option
@click.option("--file", "file", type=click.Path(), default=None)
@click.option("--show-secrets", is_flag=True)
@click.option("--version", "version", default=None)
@click.pass_obj
def export(globals_: Any, stack_name: str | None, file: str | None, show_secrets: bool, version: str | None) -> None:
    """Print the stack's state, for `pulumi stack import` or a look."""
    from pathlib import Path

    from pulumi_embedded._files import write_atomically

    if version:
        raise NotSupported("stack export --version")
    target = globals_.stack(stack_name)
    target.require()
    document = json.dumps(target.export(show_secrets), indent=4, ensure_ascii=False)
    if file:
        write_atomically(Path(file), f"{document}\n".encode(), 0o600)
    else:
        click.echo(document)


@stack.command("history")
@stack_option
@click.option("-j", "--json", "as_json", is_flag=True)
@click.pass_obj
def history(globals_: Any, stack_name: str | None, as_json: bool) -> None:
    """List what was done to the stack, newest first."""
    target = globals_.stack(stack_name)
    target.require()
    entries = list(reversed(target.backend.history(target.name)))
    if as_json:
        click.echo(json.dumps(entries, indent=2))
        return
    for entry in entries:
        changes = ", ".join(f"{count} {op}" for op, count in (entry.get("resourceChanges") or {}).items())
        click.echo(f"{entry['startTime']}  {entry['kind']:<8} {entry['result']:<10} {changes}")
