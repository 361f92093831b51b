"""What the bakery's commands share: logins, the place of the digest cache, and errors as one line."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from redaction import redact
from weight_bakery._ambient import (
    PASSWORD_VARIABLE,
    USERNAME_VARIABLE,
    credentials_from_environment,
    default_cache,
    docker_folder,
)
from weight_bakery._errors import BadRequest, BakeryError
from weight_bakery._limits import parse_size

__all__ = [
    "PASSWORD_VARIABLE",
    "USERNAME_VARIABLE",
    "Size",
    "credentials_from_environment",
    "default_cache",
    "docker_folder",
    "error_line",
    "told",
]

_NOBODY_READS = 141
"""Exit code of a program that SIGPIPE ended."""


class Size(click.ParamType[int]):
    """A number of bytes, as people write it: 5GB, 4GiB, 500MB or plain."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except BadRequest:
            self.fail(f"{value!r} is not a size; write 5GB, 4GiB or a number of bytes", param, ctx)


@contextmanager
def told(
    console: Console, *, exit_code: int = 1, interrupted: str = "interrupted", as_json: bool = False
) -> Iterator[None]:
    """Tell what goes wrong inside in one line on `console`, and end the command with an exit code.

    With `as_json` stdout gets an error line too, as its last: whoever reads JSON need not read stderr.
    """

    def tell(style: str, said: str, kind: str, text: str, remedy: str, code: int) -> None:
        console.print(said, style=style, markup=False, highlight=False, soft_wrap=True)
        if as_json:
            click.echo(error_line(kind, text, remedy, code))

    try:
        yield
    except BakeryError as error:
        tell("red", f"error: {error}", type(error).__name__, error.message, error.remedy, exit_code)
        raise click.exceptions.Exit(exit_code) from None
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except BrokenPipeError:
        # Whoever read the output has gone; what is left in the buffer must not be missed when Python ends.
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        raise click.exceptions.Exit(_NOBODY_READS) from None
    except Exception as error:
        logging.getLogger("weight_bakery").debug("unexpected failure", exc_info=True)
        said = redact(f"{type(error).__name__}: {error}".splitlines()[0])
        text, remedy = f"internal error ({said})", "this is a bug in the bakery, please report it"
        tell("red", f"error: {text}; {remedy}", "InternalError", text, remedy, exit_code)
        raise click.exceptions.Exit(exit_code) from None
    except KeyboardInterrupt:
        tell("yellow", interrupted, "Interrupted", interrupted, "", 130)
        raise click.exceptions.Exit(130) from None


def error_line(kind: str, text: str, remedy: str, exit_code: int) -> str:
    """The JSON line of a command that failed (docs/bake-json.md)."""
    return json.dumps(
        {"event": "error", "kind": kind, "text": text, "remedy": remedy, "exit_code": exit_code}, sort_keys=True
    )
