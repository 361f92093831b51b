"""The command `bake status`: how baked images stand against source, registry and stack."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from weight_bakery._cli_common import credentials_from_environment, default_cache, docker_folder, told
from weight_bakery._show import people_console
from weight_bakery._status import Status, bake_status
from weight_bakery._status_words import PARTS, Deployed, StatusRequest

StackReader = Callable[[str], Deployed]
"""Finds out what a stack runs. Says in its answer what went wrong, instead of raising."""

_WORDS = {"same": "same", "differs": "DIFFERS", "unknown": "not asked", "skipped": "-"}
_STYLES = {"same": "green", "differs": "red", "unknown": "yellow", "skipped": "dim"}
_EPILOG = """
\b
Exit codes:
  0  all well
  1  something differs (this wins over 2)
  2  something could not be asked: no network, no login, no stack, no lock file
\b
Examples:
  bake status
  bake status ghcr.io/me/qwen3-8b:v1 --only registry --json
"""


def status_command(read_stack: StackReader | None = None) -> click.Command:
    """Make the command; with a stack reader it has --stack."""

    @click.command("status", epilog=_EPILOG)
    @click.argument("targets", nargs=-1, metavar="[TARGET]...")
    @click.option(
        "--lock", type=click.Path(path_type=Path, dir_okay=False),
        help="Lock file to look at.  [default: the stack's, else weights.lock]",
    )  # fmt: skip
    @click.option("--only", multiple=True, type=click.Choice(PARTS), help="Look at this part alone; repeatable.")
    @click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON line on stdout.")
    def status(
        targets: tuple[str, ...], lock: Path, only: tuple[str, ...], as_json: bool, stack: str | None = None
    ) -> None:
        """Hold baked images against the source, the registry and a stack: what was baked is in the lock file.

        Is there a newer commit, or did the folder change? Are manifest, tag and all blobs still there? Does the stack
        run this very digest? Every difference is told with what to do about it.
        """
        console = people_console(stderr=True)
        with told(console, exit_code=2, as_json=as_json):
            parts = tuple(part for part in PARTS if not only or part in only)
            deployed = read_stack(stack) if read_stack is not None and stack is not None else None
            request = StatusRequest(
                lock=lock or (deployed and deployed.lock) or Path("weights.lock"),
                targets=targets,
                parts=parts,
                deployed=deployed,
                credentials=credentials_from_environment(),
                docker_config=docker_folder(),
                cache=default_cache(),
                notice=partial(console.print, markup=False, highlight=False, soft_wrap=True),
            )
            found = bake_status(request)
        if as_json:
            click.echo(found.json_line())
        else:
            _print(found)
        raise click.exceptions.Exit(found.exit_code)

    if read_stack is not None:
        status = click.option("--stack", "-s", help="Compare with what this stack runs.")(status)
    return status


def _print(found: Status) -> None:
    console = people_console()
    for target in found.targets:
        table = Table("part", "", "what was found", title=f"{target.target}@{target.digest[:19]}", title_justify="left")
        for finding in target.findings:
            what = Text(finding.text)
            if finding.remedy:
                what.append(f"\n-> {finding.remedy}", style="bold")
            table.add_row(finding.part, Text(_WORDS[finding.state], style=_STYLES[finding.state]), what)
        console.print(table)
