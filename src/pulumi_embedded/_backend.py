"""The file backend in the CLI's own layout, so that either engine can go on where the other stopped.

    <root>/.pulumi/meta.yaml                                   version: 1
    <root>/.pulumi/stacks/<project>/<stack>.json[.gz], .bak    the state, and the one before it
    <root>/.pulumi/backups/<project>/<stack>/<stack>.<ns>.json
    <root>/.pulumi/history/<project>/<stack>/<stack>-<ns>.{history,checkpoint}.json
    <root>/.pulumi/locks/organization/<project>/<stack>/<uuid>.json

Reading makes nothing: a missing backend is an empty one.
"""

import gzip
import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import yaml

from pulumi_embedded._checkpoint import checkpoint_bytes, parse_checkpoint
from pulumi_embedded._errors import (
    BackendError,
    NotSupported,
    ProjectError,
    StackNotFound,
    StateError,
    UsageError,
    unreadable,
)
from pulumi_embedded._files import keep_as, write_atomically
from pulumi_embedded._project import Project
from pulumi_embedded._statejson import NoSecrets, Sealer

# What the CLI's file driver takes: folders are made here when something is written, and there are no side files.
_URL_OPTIONS = {"create_dir", "no_tmp_dir", "metadata", "dir_file_mode"}
_STACK_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}\Z")


def backend_root(project: Project) -> Path:
    """The folder that holds `.pulumi`: PULUMI_BACKEND_URL, else Pulumi.yaml's backend.url."""
    url, base, named_by = os.environ.get("PULUMI_BACKEND_URL"), Path.cwd(), "PULUMI_BACKEND_URL"
    if not url:
        url, base, named_by = project.backend_url, project.root, "Pulumi.yaml: backend.url"
    if not url:
        raise ProjectError(
            "no backend: set backend.url in Pulumi.yaml or PULUMI_BACKEND_URL to file://<folder> "
            "(pulumi_embedded uses no backend you happen to be logged in to)"
        )
    if not url.startswith("file://"):
        raise NotSupported(f"the backend {url} ({named_by}): only file:// backends")
    path, _, query = url.removeprefix("file://").partition("?")
    unknown = sorted(parse_qs(query, keep_blank_values=True).keys() - _URL_OPTIONS)
    if unknown:
        raise NotSupported(f"`{unknown[0]}` in the backend {url} ({named_by})")
    path = unquote(path)
    return (base / Path(path).expanduser()).resolve() if path else Path.home()


class Backend:
    """All stacks of one project."""

    def __init__(self, root: Path, project: str) -> None:
        self.root = root
        self.project = project
        self._base = root / ".pulumi"
        self._check_layout()

    def _check_layout(self) -> None:
        meta = self._base / "meta.yaml"
        try:
            text = meta.read_text()
        except FileNotFoundError:
            if any((self._base / "stacks").glob("*.json")):
                raise NotSupported(f"the old state layout without project folders ({self._base})") from None
            return
        except (OSError, UnicodeError) as error:
            raise BackendError(unreadable(meta, error)) from error
        try:
            version = yaml.safe_load(text)["version"]
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise BackendError(f"corrupt store: {meta} has no version") from error
        if version != 1:
            raise NotSupported(f"state layout version {version} ({meta})")

    def url(self) -> str:
        """The backend's URL."""
        return f"file://{self.root}"

    def check_name(self, stack: str) -> str:
        """The plain stack name of `stack` or `organization/<project>/stack`."""
        parts = stack.split("/")
        if len(parts) == 3 and parts[0] == "organization" and parts[1] != self.project:
            raise UsageError(f"stack '{stack}' belongs to project {parts[1]}; this is {self.project}")
        if len(parts) not in (1, 3) or (len(parts) == 3 and parts[0] != "organization"):
            raise UsageError(f"'{stack}' is not a stack of a file backend")
        if not _STACK_NAME.match(parts[-1]):
            raise UsageError(
                f"'{parts[-1]}' is not a stack name: letters, digits, hyphens, underscores and periods, at most 100"
            )
        return parts[-1]

    def qualified(self, stack: str) -> str:
        """The name the checkpoint records."""
        return f"organization/{self.project}/{stack}"

    def stacks(self) -> list[str]:
        """Names of the project's stacks."""
        folder = self._base / "stacks" / self.project
        names = {path.name.removesuffix(".gz").removesuffix(".json") for path in folder.glob("*.json*")
                 if path.name.endswith((".json", ".json.gz"))}  # fmt: skip
        return sorted(names)

    def path(self, stack: str) -> Path:
        """The stack's file (the newest, should there be a plain and a compressed one)."""
        plain = self._base / "stacks" / self.project / f"{stack}.json"
        found = [p for p in (plain, plain.with_name(f"{stack}.json.gz")) if p.exists()]
        if not found and plain.with_name(f"{stack}.json.zst").exists():
            raise NotSupported(f"zstd-compressed state ({plain}.zst)")
        return max(found, key=lambda p: p.stat().st_mtime_ns, default=plain)

    def exists(self, stack: str) -> bool:
        """Whether there is such a stack."""
        return self.path(stack).exists()

    def read(self, stack: str) -> dict[str, Any]:
        """The checkpoint file's document."""
        path = self.path(stack)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise StackNotFound(stack) from None
        except OSError as error:
            raise BackendError(f"cannot read {path}: {error.strerror}") from error
        document = parse_checkpoint(data, str(path))
        recorded = document["checkpoint"].get("stack")
        if recorded not in ("", None, stack, self.qualified(stack)):
            raise StateError(f"{path} belongs to stack {recorded}")
        return document

    def create(self, stack: str) -> None:
        """Make an empty stack."""
        if self.exists(stack):
            raise BackendError(f"stack '{self.qualified(stack)}' already exists")
        meta = self._base / "meta.yaml"
        if not meta.exists():
            write_atomically(meta, b"version: 1\n")
        self.write(stack, checkpoint_bytes(self.qualified(stack), None, Sealer(NoSecrets())))

    def write(self, stack: str, data: bytes) -> None:
        """Replace the stack's file; the old one is kept as .bak."""
        path = self.path(stack)
        if path.exists():
            keep_as(path, path.with_name(f"{path.name}.bak"))
        data = gzip.compress(data, mtime=0) if path.name.endswith(".gz") else data
        write_atomically(path, data)
        if _keeps_every_state():
            write_atomically(path.with_name(f"{path.name}.{time.time_ns()}"), data)

    def backup(self, stack: str) -> None:
        """Keep a dated copy, as is done at an operation's end."""
        path = self.path(stack)
        folder = self._base / "backups" / self.project / stack
        write_atomically(folder / path.name.replace(".json", f".{time.time_ns()}.json", 1), _read(path))

    def record(self, stack: str, entry: Mapping[str, Any]) -> None:
        """Add to the history, with a copy of the state as it now is."""
        folder = self._base / "history" / self.project / stack
        prefix = f"{stack}-{time.time_ns()}"
        write_atomically(folder / f"{prefix}.history.json", json.dumps(entry, separators=(",", ":")).encode())
        path = self.path(stack)
        suffix = ".checkpoint.json.gz" if path.name.endswith(".gz") else ".checkpoint.json"
        write_atomically(folder / f"{prefix}{suffix}", _read(path))

    def history(self, stack: str) -> list[dict[str, Any]]:
        """The recorded operations, oldest first."""
        folder = self._base / "history" / self.project / stack
        return [_history_entry(path) for path in sorted(folder.glob("*.history.json"))]

    def remove(self, stack: str) -> None:
        """Remove the stack and its history; the last state stays as .bak, as in the CLI."""
        path = self.path(stack)
        write_atomically(path.with_name(f"{path.name}.bak"), _read(path))
        try:
            path.unlink()
            for folder in ("history",):
                for file in (self._base / folder / self.project / stack).glob("*"):
                    file.unlink()
        except OSError as error:
            raise BackendError(f"cannot remove {path}: {error.strerror}") from error

    def lock_folder(self, stack: str) -> Path:
        """Where the stack's locks are."""
        return self._base / "locks" / "organization" / self.project / stack


def _keeps_every_state() -> bool:
    """The CLI's own switch (and its older name): for finding out how a state came to be what it is."""
    names = ("PULUMI_DIY_BACKEND_RETAIN_CHECKPOINTS", "PULUMI_RETAIN_CHECKPOINTS")
    given = next((os.environ[name] for name in names if name in os.environ), "")
    return given == "1" or given.lower() == "true"


def _history_entry(path: Path) -> dict[str, Any]:
    try:
        entry = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BackendError(f"{unreadable(path, error)}; it is no part of the state and may be removed") from error
    if not isinstance(entry, dict) or not {"kind", "startTime", "result"} <= entry.keys():
        raise BackendError(f"{path} is no entry of a history; it is no part of the state and may be removed")
    return entry


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BackendError(f"cannot read {path}: {error.strerror}") from error
