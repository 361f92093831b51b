"""Config and manifest of the image: plain data, serialised in one way only.

Nothing here depends on the machine, the clock or the target, so the same layers give the same image digest.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from weight_bakery._base import BaseImage
from weight_bakery._layer_rule import LAYER_RULE
from weight_bakery._layers import Role
from weight_bakery._media import CONFIG, LAYER, MANIFEST
from weight_bakery._plan import CODE_ROOT, DEPS_ROOT

EPOCH = "1970-01-01T00:00:00Z"
_PREFIX = "io.vllm-runpod"
_PATH = "/opt/vllm/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class BuiltLayer:
    """A layer whose digest is known."""

    role: Role
    digest: str
    size: int
    paths: tuple[str, ...]
    """Paths of its files inside the image."""
    sha256: str | None = None
    """Digest of the file, when it is a single one."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Further annotations of the layer."""


@dataclass(frozen=True)
class ModelIdentity:
    """What the image says it holds."""

    name: str
    served_name: str
    model: str
    revision: str
    licence: str | None = None
    gated: str | None = None


@dataclass(frozen=True)
class Document:
    """A JSON document as it is stored: its bytes, and what names them."""

    media_type: str
    content: bytes
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", f"sha256:{hashlib.sha256(self.content).hexdigest()}")

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.content)


def build_config(identity: ModelIdentity, layers: Sequence[BuiltLayer], base: BaseImage | None) -> Document:
    """Return the image config: the base's, with the layers appended and the worker's settings laid over it."""
    root: dict[str, Any] = dict(base.config) if base else {}
    container: dict[str, Any] = dict(root.get("config") or {})
    has_code = any(layer.role == "code" for layer in layers)
    has_deps = any(layer.role == "deps" for layer in layers)
    container["Env"] = _environment(container.get("Env") or [], identity, has_code=has_code, has_deps=has_deps)
    if has_code or base is None:
        container["Entrypoint"] = ["python3", "-m", "vllm_worker"]
        container["Cmd"] = []
        container["WorkingDir"] = "/"
        # A probe of the base's own program would call the worker dead.
        container.pop("Healthcheck", None)
    container["Labels"] = dict(sorted({**(container.get("Labels") or {}), **_labels(identity)}.items()))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": EPOCH,
        "config": container,
        "rootfs": {
            "type": "layers",
            "diff_ids": [*(base.diff_ids if base else ()), *(layer.digest for layer in layers)],
        },
        "history": [*(base.history if base else ()), *(_history(layer) for layer in layers)],
    }
    for key in ("os.version", "os.features", "variant", "author"):
        if key in root:
            config[key] = root[key]
    return Document(CONFIG, _canonical(config))


def build_manifest(
    config: Document, identity: ModelIdentity, layers: Sequence[BuiltLayer], base: BaseImage | None
) -> Document:
    """Return the image manifest: base layers first, then ours in the given order."""
    annotations = _labels(identity)
    if identity.licence is not None:
        # An annotation only: as a label it would overwrite what the base says about its own programs.
        annotations["org.opencontainers.image.licenses"] = identity.licence
    if base is not None:
        annotations["org.opencontainers.image.base.digest"] = base.digest
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config.digest, "size": config.size},
        "layers": [
            *(
                {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}
                for layer in (base.layers if base else ())
            ),
            *(
                {"mediaType": LAYER, "digest": layer.digest, "size": layer.size, "annotations": _layer_labels(layer)}
                for layer in layers
            ),
        ],
        "annotations": annotations,
    }
    return Document(MANIFEST, _canonical(manifest))


def _environment(base: Sequence[str], identity: ModelIdentity, *, has_code: bool, has_deps: bool) -> list[str]:
    ours = {
        "PYTHONUNBUFFERED": "1",
        "MODEL_NAME": f"/models/{identity.name}",
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE": identity.served_name,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }
    if has_code or has_deps:
        roots = ([f"/{CODE_ROOT}"] if has_code else []) + ([f"/{DEPS_ROOT}"] if has_deps else [])
        ours["PYTHONPATH"] = ":".join(roots)
    kept = [entry for entry in base if entry.partition("=")[0] not in ours]
    if not any(entry.startswith("PATH=") for entry in kept):
        kept.insert(0, f"PATH={_PATH}")
    return kept + [f"{name}={value}" for name, value in sorted(ours.items())]


def _labels(identity: ModelIdentity) -> dict[str, str]:
    known = {"gated": identity.gated, "licence": identity.licence}
    return {
        **{f"{_PREFIX}.{name}": value for name, value in known.items() if value is not None},
        f"{_PREFIX}.layer-rule": str(LAYER_RULE),
        f"{_PREFIX}.model": identity.model,
        f"{_PREFIX}.model-path": f"/models/{identity.name}",
        f"{_PREFIX}.revision": identity.revision,
    }


def _layer_labels(layer: BuiltLayer) -> dict[str, str]:
    labels: dict[str, str] = {f"{_PREFIX}.role": layer.role, **layer.notes}
    if layer.sha256 is not None:
        labels |= {f"{_PREFIX}.path": f"/{layer.paths[0]}", f"{_PREFIX}.sha256": layer.sha256}
    return labels


def _history(layer: BuiltLayer) -> dict[str, str]:
    what = f"/{layer.paths[0]}" if len(layer.paths) == 1 else f"{len(layer.paths)} files of role {layer.role}"
    return {"created": EPOCH, "created_by": f"vllm-runpod bake: {what}", "comment": f"layer rule {LAYER_RULE}"}


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
