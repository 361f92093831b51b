"""`config`, `config get|set|rm|ls`."""

import json
import sys
from typing import Any

import click

from pulumi_embedded._errors import NotSupported, UsageError
from pulumi_embedded._flags import CommandGroup, stack_option


def _list(globals_: Any, stack_name: str | None, as_json: bool, show_secrets: bool) -> None:
    target = globals_.stack(stack_name)
    values = target.config_values() if show_secrets else target.config.masked()
    prefix = f"{target.project.name}:"
    if as_json:
        document = {}
        for key in sorted(values):
            value = values[key]
            entry: dict[str, Any] = {"value": value.text, "secret": value.secret}
            if value.is_object and not (value.secret and not show_secrets):
                entry["objectValue"] = json.loads(value.text)
            if value.secret and not show_secrets:
                entry.pop("value")
            document[key] = entry
        click.echo(json.dumps(document, indent=2))
        return
    rows = [(key.removeprefix(prefix), values[key].text) for key in sorted(values)]
    width = max([3, *(len(key) for key, _ in rows)])
    click.echo(f"{'KEY':<{width}}  VALUE")
    for key, text in rows:
        click.echo(f"{key:<{width}}  {text}")


@click.group(cls=CommandGroup, invoke_without_command=True)
@stack_option
@click.option("-j", "--json", "as_json", is_flag=True)
@click.option("--show-secrets", is_flag=True)
@click.pass_context
def config(context: click.Context, stack_name: str | None, as_json: bool, show_secrets: bool) -> None:
    """Manage the stack's configuration."""
    context.obj.config_stack = stack_name
    if context.invoked_subcommand is None:
        _list(context.obj, stack_name, as_json, show_secrets)


def _target(globals_: Any, stack_name: str | None) -> Any:
    return globals_.stack(stack_name or globals_.config_stack)


@config.command("ls")
@stack_option
@click.option("-j", "--json", "as_json", is_flag=True)
@click.option("--show-secrets", is_flag=True)
@click.pass_obj
def ls(globals_: Any, stack_name: str | None, as_json: bool, show_secrets: bool) -> None:
    """List the configuration."""
    _list(globals_, stack_name or globals_.config_stack, as_json, show_secrets)


@config.command("get")
@stack_option
@click.argument("key")
@click.option("--path", is_flag=True, hidden=True)
@click.option("-j", "--json", "as_json", is_flag=True)
@click.pass_obj
def get(globals_: Any, stack_name: str | None, key: str, path: bool, as_json: bool) -> None:
    """Print one value (secrets are decrypted)."""
    if path:
        raise NotSupported("config get --path")
    from pulumi_embedded._statejson import NoSecrets

    target = _target(globals_, stack_name)
    value = target.config.get(key, target.crypter() if target.config.has_secrets else NoSecrets())
    if as_json:
        name = target.config.qualify(key)
        click.echo(json.dumps({"name": name, "value": value.text, "secret": value.secret}, indent=2))
    else:
        click.echo(value.text)


@config.command("set", context_settings={"ignore_unknown_options": False})
@stack_option
@click.argument("key")
@click.argument("value", required=False)
@click.option("--secret", is_flag=True, help="Store it encrypted.")
@click.option("--plaintext", is_flag=True, help="Store it as it is.")
@click.option("--path", is_flag=True, hidden=True)
@click.pass_obj
def set_(
    globals_: Any, stack_name: str | None, key: str, value: str | None, secret: bool, plaintext: bool, path: bool
) -> None:
    """Set a value; without one it is read from standard input."""
    if secret and plaintext:
        raise UsageError("only one of --secret and --plaintext may be given")
    target = _target(globals_, stack_name)
    if value is None:
        value = _read_value(globals_, secret)
    target.config.set(key, value, target.crypter_for_writing() if secret else None, path)


def _read_value(globals_: Any, secret: bool) -> str:
    if globals_.interactive:
        text: str = click.prompt("value", hide_input=secret, prompt_suffix=": ")
        return text
    return sys.stdin.read().removesuffix("\n")


@config.command("rm")
@stack_option
@click.argument("key")
@click.option("--path", is_flag=True, hidden=True)
@click.pass_obj
def rm(globals_: Any, stack_name: str | None, key: str, path: bool) -> None:
    """Remove a value."""
    if path:
        raise NotSupported("config rm --path")
    _target(globals_, stack_name).config.remove(key)
