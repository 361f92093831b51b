"""Which image the stack's workers run, and by which digest.

With `image` the stack says it itself. With `bake` the program declares a BakedImage, whose digest the provider tells:
known where nothing has to be read, else unknown in a preview. Only where there is no base to bake on (an image for a
registry, and images/vllm-baked/pins.json pins none) the digest comes from the lock file alone (`weights.lock`, see
docs/design/weight_bakery.md), read here by its published form: the program that describes the cloud must not depend on
the room that moves the gigabytes.
"""

import json
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from settings import DEFAULT_LOCK, DIGEST, Settings

_LOCK_VERSIONS = (1, 2)
PINS = Path("images/vllm-baked/pins.json")
BAKE_OPTIONS = {
    "source": "source",
    "include": "include",
    "exclude": "exclude",
    "maxLayerSize": "max_layer_size",
    "flows": "flows",
    "attest": "attest",
}
"""Fields of `bake` that go to the resource as they are, and what they are called there."""
WORKER_CODE = ("images/vllm-baked/vllm_worker", "src/vllm_options", "src/redaction")
"""Package folders of the worker, in the project."""
WORKER_DEPENDENCIES = {True: ".local/worker-deps", False: ".local/worker-layer"}
"""The worker's packages: for a layout, which the emulator runs on this machine, and for a registry."""


class LockUnreadable(Exception):
    """The lock file is there but cannot be used."""


class PinsUnreadable(Exception):
    """The file of pinned images is there but cannot be used."""


@dataclass(frozen=True)
class WorkerImage:
    """The image, pinned where it can be. `reference` is None as long as the image has not been baked."""

    reference: str | None
    digest: str | None
    missing: str = ""
    """Why there is no reference, and the command that helps."""
    bake: dict[str, Any] | None = None
    """Arguments of the BakedImage that makes it; then its outputs are reference and digest."""


def worker_image(settings: Settings, root: Path) -> WorkerImage:
    """The stack's image. `root` is the project's folder; paths in the configuration are relative to it."""
    if settings.bake is None:
        assert settings.image is not None
        pinned = re.search(f"@({DIGEST})$", settings.image)
        return WorkerImage(settings.image, pinned.group(1) if pinned else None)
    target = settings.bake["to"]
    layout = target.startswith("oci:")
    base = settings.bake.get("base") or (None if layout else pinned_base(root))
    if layout or base:
        return WorkerImage(None, None, bake=_bake_arguments(settings, base, layout=layout))
    lock = root / settings.bake.get("lock", DEFAULT_LOCK)
    entry = _read(lock).get(lock_target(target, root, lock))
    if entry is None:
        return WorkerImage(None, None, f"{_shown(lock, root)} has no entry for {target}; {_remedy(settings)}")
    problem = _mismatch(settings, entry)
    if problem:
        return WorkerImage(None, None, f"{_shown(lock, root)}: {target} holds {problem}; {_remedy(settings)}")
    digest = entry.get("image_digest")
    if not isinstance(digest, str) or not re.fullmatch(DIGEST, digest):
        raise LockUnreadable(f"{_shown(lock, root)}: the entry for {target} has no usable image digest; bake again")
    return WorkerImage(f"{target}@{digest}", digest)


def _bake_arguments(settings: Settings, base: str | None, *, layout: bool) -> dict[str, Any]:
    assert settings.bake is not None
    assert settings.model is not None
    model = settings.model if settings.revision is None else f"{settings.model}@{settings.revision}"
    return {
        "model": settings.bake.get("from") or model,
        "to": settings.bake["to"],
        "base": base,
        "served_name": settings.served_model_name or settings.model,
        "worker_dependencies": WORKER_DEPENDENCIES[layout],
        "worker_code": list(WORKER_CODE),
        "lock": settings.bake.get("lock", DEFAULT_LOCK),
        **{argument: _listed(settings.bake[name]) for name, argument in BAKE_OPTIONS.items() if name in settings.bake},
    }


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def pinned_base(root: Path) -> str | None:
    """The GPU image by digest, None while none is pinned. Raises PinsUnreadable."""
    try:
        pin = json.loads((root / PINS).read_text())["base"]
        return f"{pin['image']}@{pin['digest']}" if pin["digest"] else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PinsUnreadable(f"{PINS} cannot be used: {error!r}; restore it from version control") from error


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


def _remedy(settings: Settings) -> str:
    assert settings.bake is not None
    model = settings.model if settings.revision is None else f"{settings.model}@{settings.revision}"
    command = (
        f"vllm-runpod bake --model {shlex.quote(str(settings.bake.get('from') or model))} --to {settings.bake['to']}"
    )
    for name in ("lock", *BAKE_OPTIONS):
        option = "--" + re.sub("[A-Z]", lambda letter: f"-{letter[0].lower()}", name)
        value = settings.bake.get(name)
        if isinstance(value, bool):
            command += "" if value else f" --no-{name}"
        else:
            values = value if isinstance(value, tuple) else () if value is None else (value,)
            command += "".join(f" {option} {shlex.quote(str(one))}" for one in values)
    return f"bake it with `{command}`, or pin a base in {PINS} and `up` bakes it"


def _shown(lock: Path, root: Path) -> str:
    return os.path.relpath(lock, root)
