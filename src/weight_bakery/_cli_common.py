"""What the bakery's commands share: logins, the place of the digest cache, and errors as one line."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from redaction import redact, register_secret
from weight_bakery._errors import BadRequest, BakeryError
from weight_bakery._references import LayoutReference, parse_target
from weight_bakery._request import Credentials

USERNAME_VARIABLE = "VLLM_RUNPOD_REGISTRY_USERNAME"
PASSWORD_VARIABLE = "VLLM_RUNPOD_REGISTRY_PASSWORD"  # noqa: S105 - the variable's name, not a password
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])?(i)?b?)")


class Size(click.ParamType[int]):
    """A number of bytes, as people write it: 5GB, 4GiB, 500MB or plain."""

    name = "size"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the text."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(value.strip().lower())
        if match is None:
            self.fail(f"{value!r} is not a size; write 5GB, 4GiB or a number of bytes", param, ctx)
        number, unit, binary = match.groups()
        return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(unit or " "))


@contextmanager
def told(console: Console, *, exit_code: int = 1, interrupted: str = "interrupted") -> Iterator[None]:
    """Tell what goes wrong inside in one line on `console`, and end the command with an exit code."""
    try:
        yield
    except BakeryError as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise click.exceptions.Exit(exit_code) from None
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except Exception as error:
        logging.getLogger("weight_bakery").debug("unexpected failure", exc_info=True)
        said = redact(f"{type(error).__name__}: {error}".splitlines()[0])
        text = f"error: internal error ({said}); this is a bug in the bakery, please report it"
        console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
        raise click.exceptions.Exit(exit_code) from None
    except KeyboardInterrupt:
        console.print(interrupted, style="yellow", soft_wrap=True)
        raise click.exceptions.Exit(130) from None


def default_cache(to: str | None = None) -> Path | None:
    """A layout remembers by itself; for registries the digests go to the user's cache folder."""
    if to is not None and isinstance(parse_target(to), LayoutReference):
        return None
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "vllm-runpod" / "digests.json"


def docker_folder() -> Path:
    """Where Docker keeps its logins."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def credentials_from_environment() -> Credentials | None:
    """The login for the target's registry, if the variables are set."""
    username, password = os.environ.get(USERNAME_VARIABLE), os.environ.get(PASSWORD_VARIABLE)
    register_secret(password)
    if bool(username) != bool(password):
        raise BadRequest(f"only one of {USERNAME_VARIABLE} and {PASSWORD_VARIABLE} is set", "set both or neither")
    return Credentials(username, password) if username and password else None
