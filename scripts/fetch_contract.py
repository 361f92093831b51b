#!/usr/bin/env python3
"""Fetch RunPod's published OpenAPI document for the contract tests, and notice when it has changed.

    python scripts/fetch_contract.py            fetch, compare with the pin, store
    python scripts/fetch_contract.py --accept   show what changed, store the new one, move the pin

The document goes to .local/contract/runpod-openapi-v2.json, which git ignores: it is RunPod's, and is data for tests
only. Reading it needs no key.

The pin is the one line of tests/contract/contract.sha256. It is not the hash of the bytes that came over the wire,
which change with every touch of white space, but of the document written again in one form:

    sha256(json.dumps(document, ensure_ascii=False) + "\\n")      in UTF-8

that is on one line, with ", " and ": " between the parts, keys in the order in which they came, characters outside
ASCII kept, and a newline at the end. `info.version` stays the same while the content moves, so it says nothing.
"""

import asyncio
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import click

ROOT = Path(__file__).resolve().parent.parent
URL = "https://api.runpod.io/v2/openapi.json"
FILE_NAME = "runpod-openapi-v2.json"
PIN = ROOT / "tests" / "contract" / "contract.sha256"
# RunPod's edge refuses Python's default agents.
USER_AGENT = "vllm-runpod-contract/1"
LARGEST = 20_000_000
TIMEOUT_S = 60
METHODS = ("get", "put", "post", "patch", "delete")


class FetchFailed(click.ClickException):
    """The document could not be had; nothing was changed."""


def canonical(document: Any) -> str:
    """The form that is hashed and stored: see the module's docstring."""
    return json.dumps(document, ensure_ascii=False) + "\n"


def digest(document: Any) -> str:
    return hashlib.sha256(canonical(document).encode()).hexdigest()


async def fetch(url: str) -> Any:
    """The document at `url`. Raises FetchFailed in one line."""
    try:
        async with (
            aiohttp.ClientSession(
                headers={"User-Agent": USER_AGENT}, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), trust_env=True
            ) as session,
            session.get(url, max_redirects=3) as response,
        ):
            if response.status != 200:
                raise FetchFailed(f"{url} answered {response.status} {response.reason}")
            raw = await response.content.read(LARGEST + 1)
            while len(raw) <= LARGEST and (more := await response.content.read(LARGEST + 1 - len(raw))):
                raw += more
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise FetchFailed(f"cannot fetch {url}: {error or type(error).__name__}") from error
    if len(raw) > LARGEST:
        raise FetchFailed(f"{url} is larger than {LARGEST} bytes; that is no OpenAPI document of RunPod's")
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise FetchFailed(f"{url} is not JSON: {error}") from error
    if not isinstance(document, dict) or "paths" not in document or "openapi" not in document:
        raise FetchFailed(f"{url} is not an OpenAPI document")
    return document


def changes(old: Any, new: Any) -> list[str]:
    """What a reader wants to know first: operations and schemas that came, went or changed."""
    lines = []
    for title, before, after in (
        ("operation", _operations(old), _operations(new)),
        ("schema", _schemas(old), _schemas(new)),
    ):
        lines += [f"+ {title} {name}" for name in sorted(after.keys() - before.keys())]
        lines += [f"- {title} {name}" for name in sorted(before.keys() - after.keys())]
        lines += [f"~ {title} {name}" for name in sorted(before.keys() & after.keys()) if before[name] != after[name]]
    return lines or ["(only texts outside operations and schemas)"]


def _operations(document: Any) -> dict[str, Any]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    }


def _schemas(document: Any) -> dict[str, Any]:
    found: dict[str, Any] = document.get("components", {}).get("schemas", {})
    return found


def _stored(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


@click.command()
@click.option("--url", default=URL, show_default=True)
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / ".local" / "contract",
    help="Folder to store it in.  [default: .local/contract]",
)
@click.option(
    "--pin",
    type=click.Path(dir_okay=False, path_type=Path),
    default=PIN,
    help="File with the expected hash.  [default: tests/contract/contract.sha256]",
)
@click.option("--accept", is_flag=True, help="Show what changed, store the new document and move the pin.")
def main(url: str, folder: Path, pin: Path, accept: bool) -> None:
    """Fetch RunPod's published OpenAPI document and compare it with the pinned hash."""
    expected = pin.read_text(encoding="ascii").strip() if pin.exists() else ""
    path = folder / FILE_NAME
    stored = _stored(path)
    try:
        document = asyncio.run(fetch(url))
    except FetchFailed as error:
        if stored is None or digest(stored) != expected:
            raise
        click.echo(f"{error.message}; going on with the stored copy, which has the pinned hash", err=True)
        return
    found = digest(document)
    if found == expected:
        _write(path, canonical(document))
        click.echo(f"the published contract is the pinned one ({found[:12]}); stored in {path}")
        return
    if not accept:
        fresh = path.with_suffix(".new.json")
        _write(fresh, canonical(document))
        raise click.ClickException(
            f"RunPod's published contract has changed: sha256 {found}, pinned is {expected or 'nothing'}\n\n"
            f"hint: the new one is in {fresh}; run `python scripts/fetch_contract.py --accept` to see what changed, "
            "store it and move the pin, then `make contract` and commit the pin together with what had to follow"
        )
    for line in changes(stored, document) if stored is not None else ["(no stored copy to compare with)"]:
        click.echo(line)
    _write(path, canonical(document))
    _write(pin, found + "\n")
    path.with_suffix(".new.json").unlink(missing_ok=True)
    click.echo(f"stored in {path}; {pin} now says {found}")


if __name__ == "__main__":
    sys.exit(main())
