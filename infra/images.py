"""Which image the stack's workers run, and by which digest.

With `image` the stack says it itself. With `bake` the digest comes from the lock file that the bakery keeps
(`weights.lock`, see docs/design/weight_bakery.md). The file is read here by its published form, because the program
that describes the cloud must not depend on the room that moves the gigabytes. Read only; nothing is looked up.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from settings import DEFAULT_LOCK, DIGEST, Settings

_LOCK_VERSIONS = (1, 2)


class LockUnreadable(Exception):
    """The lock file is there but cannot be used."""


@dataclass(frozen=True)
class WorkerImage:
    """The image, pinned where it can be. `reference` is None as long as the image has not been baked."""

    reference: str | None
    digest: str | None
    missing: str = ""
    """Why there is no reference, and the command that helps."""


def worker_image(settings: Settings, root: Path, *, stack: str = "dev") -> WorkerImage:
    """The stack's image. `root` is the project's folder; paths in the configuration are relative to it."""
    if settings.bake is None:
        assert settings.image is not None
        pinned = re.search(f"@({DIGEST})$", settings.image)
        return WorkerImage(settings.image, pinned.group(1) if pinned else None)
    target = settings.bake["to"]
    lock = root / settings.bake.get("lock", DEFAULT_LOCK)
    entry = _read(lock).get(lock_target(target, root, lock))
    if entry is None:
        return WorkerImage(None, None, f"{_shown(lock, root)} has no entry for {target}; {_remedy(settings, stack)}")
    problem = _mismatch(settings, entry)
    if problem:
        return WorkerImage(None, None, f"{_shown(lock, root)}: {target} holds {problem}; {_remedy(settings, stack)}")
    digest = entry.get("image_digest")
    if not isinstance(digest, str) or not re.fullmatch(DIGEST, digest):
        raise LockUnreadable(f"{_shown(lock, root)}: the entry for {target} has no usable image digest; bake again")
    return WorkerImage(f"{target}@{digest}", digest)


def lock_target(target: str, root: Path, lock: Path) -> str:
    """The name under which the bakery keeps `target`: layouts relative to the lock file, registries with their host."""
    if target.startswith("oci:"):
        directory, _, tag = target.removeprefix("oci:").rpartition(":")
        return f"oci:{os.path.relpath((root / directory).resolve(), lock.resolve().parent)}:{tag}"
    host = target.partition("/")[0]
    return target if "." in host or ":" in host or host == "localhost" else f"docker.io/{target}"


def _read(lock: Path) -> dict[str, Any]:
    try:
        document = json.loads(lock.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LockUnreadable(f"{lock.name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise LockUnreadable(f"{lock.name} is not valid JSON; restore it from version control") from error
    version = document.get("version") if isinstance(document, dict) else None
    images = document.get("images") if isinstance(document, dict) else None
    if isinstance(version, int) and version > _LOCK_VERSIONS[-1]:
        raise LockUnreadable(f"{lock.name} was written by a newer version of vllm-runpod (lock version {version})")
    if version not in _LOCK_VERSIONS or not isinstance(images, dict):
        raise LockUnreadable(f"{lock.name} is not a weights.lock (version {version!r})")
    return {target: entry for target, entry in images.items() if isinstance(entry, dict)}


def _mismatch(settings: Settings, entry: dict[str, Any]) -> str:
    """What the entry holds instead of what the stack says; empty where they agree."""
    names = (entry.get("model"), entry.get("served_name"))
    if settings.model not in names:
        return f"{entry.get('model')}, the stack says {settings.model}"
    revision = entry.get("revision")
    # A branch or tag cannot be compared with the commit it stood for; a commit can.
    if settings.revision and re.fullmatch(r"[0-9a-f]{40}", settings.revision) and revision != settings.revision:
        return f"revision {revision}, the stack says {settings.revision}"
    return ""


def _remedy(settings: Settings, stack: str) -> str:
    if stack == "local":
        return "`make up` bakes it"
    assert settings.bake is not None
    model = settings.model if settings.revision is None else f"{settings.model}@{settings.revision}"
    lock = f" --lock {settings.bake['lock']}" if "lock" in settings.bake else ""
    return f"bake it with `vllm-runpod bake --model {model} --to {settings.bake['to']}{lock}`"


def _shown(lock: Path, root: Path) -> str:
    return os.path.relpath(lock, root)
