"""The rules inside the container block of a template or an endpoint. Unknown values are let pass."""

import json
import re
from typing import Any

from pulumi_runpod.provider.checking import Failure
from pulumi_runpod.provider.command import is_words
from pulumi_runpod.provider.values import Properties, join_path, plain

_LAST_PORT = 65535
_HTTP_PORTS = 10
"""What RunPod's proxy exposes at most (runpod-api.md §2.2)."""
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_NOT_IN_A_NAME = re.compile(r"[=\x00-\x20\x7f]")


def check_container(inputs: Properties, failures: list[Failure]) -> None:
    """Add every broken rule to `failures`."""
    values: dict[str, Any] = plain(inputs)
    if isinstance(image := values.get("image"), str):
        _check_image(image, failures)
    if isinstance(args := values.get("args"), str):
        _check_args(args, failures)
    if isinstance(env := values.get("env"), dict):
        for name in env:
            if name and _NOT_IN_A_NAME.search(name):
                reason = "is no name for an environment variable; use one without = and without white space"
                failures.append(Failure(join_path("env", name), reason))
    if isinstance(ports := values.get("ports"), list):
        _check_ports(ports, failures)


def _check_image(image: str, failures: list[Failure]) -> None:
    if scheme := _SCHEME.match(image):
        failures.append(Failure("image", f"is an image reference, not a URL; leave {scheme.group(0)} out"))
    elif re.search(r"\s", image):
        failures.append(Failure("image", "holds white space, which no image reference has; remove it"))


def _check_args(args: str, failures: list[Failure]) -> None:
    if not args.lstrip().startswith("{"):
        return
    try:
        document: Any = json.loads(args)
    except (ValueError, RecursionError):
        return  # RunPod takes what is no JSON for a shell string
    if isinstance(document, dict) and document and set(document) <= {"entrypoint", "cmd"}:
        wrong = " and ".join(key for key in ("entrypoint", "cmd") if key in document and not is_words(document[key]))
        if wrong:
            failures.append(Failure("args", f"holds JSON whose {wrong} must be a list of strings"))


def _check_ports(ports: list[Any], failures: list[Failure]) -> None:
    web = []
    for index, port in enumerate(ports):
        written = re.fullmatch(r"([0-9]+)/([a-z]+)", port) if isinstance(port, str) else None
        if written is None:
            continue  # unknown, or refused for its form
        if not 1 <= int(written.group(1)) <= _LAST_PORT:
            reason = f"is no port: it must be between 1 and {_LAST_PORT}, not {written.group(1)}"
            failures.append(Failure(join_path("ports", index), reason))
        if written.group(2) == "http":
            web.append(port)
    if len(web) > _HTTP_PORTS:
        failures.append(Failure("ports", f"names {len(web)} http ports; RunPod exposes at most {_HTTP_PORTS}"))
