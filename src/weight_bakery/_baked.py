"""A baked image, read back: which layers are ours, and what the image says about itself."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from weight_bakery._base import BaseImage, read_base
from weight_bakery._errors import BadRequest
from weight_bakery._image import BuiltLayer, ModelIdentity
from weight_bakery._layers import Role
from weight_bakery._lock import LockEntry, lock_target
from weight_bakery._references import ImageReference, LayoutReference
from weight_bakery._stores import ImageStore

_LABEL = "io.vllm-runpod"
_SERVED = "OPENAI_SERVED_MODEL_NAME_OVERRIDE="
_COUNT = re.compile(r"vllm-runpod bake: (\d+) files of role")
_BASE = "org.opencontainers.image.base.digest"


@dataclass(frozen=True)
class Baked:
    """What an image says about itself when it was baked here."""

    image: BaseImage
    identity: ModelIdentity
    ours: tuple[BuiltLayer, ...]
    base_digest: str | None
    """Digest of the base, None where there was none."""

    @property
    def below(self) -> BaseImage | None:
        """What our layers stand on. Its config is the finished image's: what a bake lays over it is there already."""
        if self.base_digest is None:
            return None
        image, count = self.image, len(self.ours)
        return replace(
            image,
            digest=self.base_digest,
            layers=image.layers[:-count],
            diff_ids=image.diff_ids[:-count],
            history=image.history[:-count],
        )


async def read_baked(store: ImageStore, reference: ImageReference) -> Baked:
    """Read an image and tell our layers from its base's by their annotations."""
    image = await read_base(store, reference.digest or reference.tag, str(reference), option="IMAGE")
    stored = await store.read_manifest(image.digest)
    assert stored is not None, "it was read a moment ago"
    manifest = json.loads(stored.content)
    annotations = [layer.get("annotations") or {} for layer in manifest["layers"]]
    roles = [notes.get(f"{_LABEL}.role") for notes in annotations]
    count = sum(role is not None for role in roles)
    container = image.config.get("config") or {}
    labels: Mapping[str, str] = container.get("Labels") or {}
    served = next((item for item in container.get("Env") or [] if item.startswith(_SERVED)), None)
    if not count or None in roles[-count:] or served is None or f"{_LABEL}.model-path" not in labels:
        raise BadRequest(f"{reference} was not baked by vllm-runpod", "name an image that `bake` has made")
    ours = []
    for layer, notes, history in zip(image.layers[-count:], annotations[-count:], image.history[-count:], strict=True):
        path = str(notes.get(f"{_LABEL}.path", "")).lstrip("/")
        many = _COUNT.match(str(history.get("created_by", "")))
        # Of a layer of many files only their number is known, and nothing else of them is needed.
        paths = ("",) * int(many[1]) if many else (path,)
        further = {name: str(value) for name, value in notes.items() if name.startswith(f"{_LABEL}.caches")}
        role = role_of(notes[f"{_LABEL}.role"])
        ours.append(BuiltLayer(role, layer.digest, layer.size, paths, notes.get(f"{_LABEL}.sha256"), further))
    identity = ModelIdentity(
        labels[f"{_LABEL}.model-path"].removeprefix("/models/"),
        served.removeprefix(_SERVED),
        labels[f"{_LABEL}.model"],
        labels[f"{_LABEL}.revision"],
        labels.get(f"{_LABEL}.licence"),
        labels.get(f"{_LABEL}.gated"),
    )
    return Baked(image, identity, tuple(ours), (manifest.get("annotations") or {}).get(_BASE))


def entry_of(images: Mapping[str, LockEntry], reference: ImageReference, lock: Path, digest: str) -> LockEntry | None:
    """The lock entry that describes an image: its target's, or another one of the same digest."""
    if not isinstance(reference, LayoutReference) and reference.tag is None:
        reference = replace(reference, tag="latest")
    entry = images.get(lock_target(replace(reference, digest=None), lock))
    if entry is not None and entry.image_digest == digest:
        return entry
    return next((entry for entry in images.values() if entry.image_digest == digest), None)


def label_of(layer: BuiltLayer) -> str:
    """What to call a layer in front of people."""
    name = layer.paths[0].rpartition("/")[2]
    return name or f"{layer.role} ({len(layer.paths)} files)"


def role_of(text: str) -> Role:
    """Read a role. Raises BadRequest for one that a later version made."""
    role: Role
    for role in get_args(Role):
        if role == text:
            return role
    raise BadRequest(f"the image has a layer of the unknown role {text!r}", "update vllm-runpod")
