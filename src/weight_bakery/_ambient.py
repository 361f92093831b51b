"""What a bake takes from the machine it runs on: logins, and the place where digests are remembered."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from redaction import register_secret
from weight_bakery._errors import BadRequest
from weight_bakery._references import LayoutReference, parse_target
from weight_bakery._request import BakeRequest, Credentials

USERNAME_VARIABLE = "VLLM_RUNPOD_REGISTRY_USERNAME"
PASSWORD_VARIABLE = "VLLM_RUNPOD_REGISTRY_PASSWORD"  # noqa: S105 - the variable's name, not a password


def with_ambient(request: BakeRequest, environ: Mapping[str, str] | None = None) -> BakeRequest:
    """Fill in logins and the digest cache where the request names none. Raises BadRequest."""
    environ = os.environ if environ is None else environ
    return replace(
        request,
        credentials=request.credentials or credentials_from_environment(environ),
        docker_config=request.docker_config or docker_folder(environ),
        cache=request.cache or default_cache(request.to, environ),
    )


def default_cache(to: str | None = None, environ: Mapping[str, str] = os.environ) -> Path | None:
    """A layout remembers by itself; for registries the digests go to the user's cache folder."""
    if to is not None and isinstance(parse_target(to), LayoutReference):
        return None
    root = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "vllm-runpod" / "digests.json"


def docker_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where Docker keeps its logins."""
    return Path(environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def credentials_from_environment(environ: Mapping[str, str] = os.environ) -> Credentials | None:
    """The login for the target's registry, if the variables are set."""
    username, password = environ.get(USERNAME_VARIABLE), environ.get(PASSWORD_VARIABLE)
    register_secret(password)
    if bool(username) != bool(password):
        raise BadRequest(f"only one of {USERNAME_VARIABLE} and {PASSWORD_VARIABLE} is set", "set both or neither")
    return Credentials(username, password) if username and password else None
