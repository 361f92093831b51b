"""Layers of start-up caches: what is in one, how an image tells which it has, and which of them stay."""

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from weight_bakery._errors import BakeryError
from weight_bakery._harvest_tree import CONTENT, KEY_FILE, Caches
from weight_bakery._image import BuiltLayer
from weight_bakery._layers import Layer, LayerFile
from weight_bakery._lock import LockedCaches, LockedFile, WeightsLock, lock_target
from weight_bakery._references import ImageReference
from weight_bakery._sources import Reader, SourceFile
from weight_bakery._stores import ImageStore

CACHES_ROOT = "opt/vllm-worker/caches"
"""Where the worker looks."""
_LABEL = "io.vllm-runpod.caches"
_VERSION = re.compile(r"v?(\d+\.\d+\.\d+(?:\.?(?:post|rc)\d+)?)(?![\d.])")


class _Memory:
    """A file source of texts."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    @contextmanager
    def open(self, path: str, offset: int = 0) -> Iterator[Reader]:
        yield io.BytesIO(self._files[path][offset:])

    def key(self, path: str) -> str:
        return f"memory:{id(self)}/{path}"

    def close(self) -> None:
        return


def caches_layer(caches: Caches) -> Layer:
    """Plan the layer of one key: `key.json`, and each content once."""
    key = caches.key_file
    root = f"{CACHES_ROOT}/{key.id}"
    text = key.dump()
    contents = {file.sha256: file.size for file in key.files}
    files = [
        LayerFile(f"{root}/{KEY_FILE}", len(text), False, _Memory({KEY_FILE: text}), SourceFile(KEY_FILE, len(text))),
        *(
            LayerFile(
                f"{root}/{CONTENT}{sha256}", size, False, caches, SourceFile(CONTENT + sha256, size, sha256=sha256)
            )
            for sha256, size in sorted(contents.items())
        ),
    ]
    return Layer("caches", tuple(files))


def locked_caches(caches: Caches, layer: Layer, digest: str) -> LockedCaches:
    """What the lock keeps of a finished layer."""
    key = caches.key_file
    return LockedCaches(key.id, key.gpu, key.vllm, key.model_config, digest, layer.size, len(layer.files))


def built_caches(caches: LockedCaches) -> BuiltLayer:
    """A layer of caches as it stands in an image's manifest and config."""
    notes = {_LABEL: caches.id, f"{_LABEL}.gpu": caches.gpu, f"{_LABEL}.vllm": caches.vllm}
    if caches.config is not None:
        notes[f"{_LABEL}.model-config"] = caches.config
    return BuiltLayer("caches", caches.digest, caches.size, ("",) * caches.files, None, notes)


def caches_of(layers: Iterable[BuiltLayer]) -> list[LockedCaches]:
    """The caches among an image's layers, from what the image says."""
    return [
        _noted(layer.notes, layer.digest, layer.size, len(layer.paths)) for layer in layers if layer.role == "caches"
    ]


def noted_caches(annotations: Iterable[Mapping[str, str]]) -> list[LockedCaches]:
    """The caches that the annotations of an image's layers tell of, where no more of them needs to be known."""
    return [_noted(notes, "", 0, 0) for notes in annotations if _LABEL in notes]


def _noted(notes: Mapping[str, str], digest: str, size: int, files: int) -> LockedCaches:
    gpu, vllm = notes.get(f"{_LABEL}.gpu", ""), notes.get(f"{_LABEL}.vllm", "")
    return LockedCaches(notes.get(_LABEL, ""), gpu, vllm, notes.get(f"{_LABEL}.model-config"), digest, size, files)


def in_order(caches: Iterable[LockedCaches]) -> list[LockedCaches]:
    """Caches as they stand in an image: by name, so that the order of harvests leaves no trace."""
    return sorted(caches, key=lambda item: item.id)


def title(caches: LockedCaches) -> str:
    """Caches in a few words."""
    return f"start-up caches {caches.id} ({caches.gpu}, vLLM {caches.vllm})"


def vllm_of(base: str) -> str | None:
    """The version of vLLM that a base image's name tells: `vllm/vllm-openai:v0.33.0`. None where it tells none."""
    name = base.partition("@")[0]
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag or "vllm" not in repository:
        return None
    match = _VERSION.match(tag)
    return match[1] if match else None


def fitting_base(
    caches: Sequence[LockedCaches], base: str | None, *, same: bool
) -> tuple[list[LockedCaches], list[str]]:
    """Which caches fit an image on `base`, and a line for each that does not; `same`: it is the one they were made on.

    Where the base's name tells no version they stay: a worker with another one does not use them.
    """
    version = None if base is None or same else vllm_of(base)
    kept = [item for item in caches if version in (None, item.vllm)]
    return kept, [f"{title(item)} are left out: the base has vLLM {version}" for item in caches if item not in kept]


def fitting_model(caches: Sequence[LockedCaches], files: Iterable[LockedFile]) -> tuple[list[LockedCaches], list[str]]:
    """Which caches were made with this model's config.json, and a line for each that was not."""
    config = next((file.sha256 for file in files if file.path == "config.json"), None)
    kept = [item for item in caches if item.config in (None, config)]
    return kept, [f"{title(item)} are left out: config.json is another one" for item in caches if item not in kept]


async def standing_caches(
    locked: WeightsLock | None,
    target: ImageReference,
    lock: Path | None,
    base: tuple[str | None, str | None],
    name: str,
    store: ImageStore | None,
) -> tuple[list[LockedCaches], list[str]]:
    """Caches that the lock names for a target and that a new bake of it keeps.

    `base` is the new base's name and digest, `name` the model's folder.
    They are kept only where their layer is: a bake has no caches to send.
    """
    entry = locked.images.get(lock_target(target, lock)) if locked and lock else None
    if entry is None or not entry.caches or store is None:
        return [], []
    if entry.name != name:
        return [], [f"{title(item)} are left out: the model lay in /models/{entry.name}" for item in entry.caches]
    fitting, told = fitting_base(entry.caches, base[0], same=entry.base_digest == base[1])
    kept = []
    for item in fitting:
        if await store.has_blob(item.digest, item.size):
            kept.append(item)
        else:
            told.append(f"{title(item)} are left out: {target} does not have their layer any more")
    return in_order(kept), told


async def lost_caches(
    locked: WeightsLock | None, target: ImageReference, lock: Path | None, store: ImageStore
) -> list[str]:
    """A line for each set of caches that the target's image has and the lock does not name: they are not kept."""
    try:
        standing = await store.read_manifest(target.tag)
    except BakeryError:
        return []  # a damaged manifest, a login that may only push: a bake does not fail over a courtesy
    if standing is None:
        return []
    try:
        notes = [layer.get("annotations") or {} for layer in json.loads(standing.content).get("layers", ())]
    except (ValueError, AttributeError):
        return []  # somebody else's, of whatever kind
    entry = locked.images.get(lock_target(target, lock)) if locked and lock else None
    named = {item.id for item in entry.caches} if entry else set()
    lost = [item for item in noted_caches(notes) if item.id not in named]
    why = (
        f"{lock.name} does not name them; harvest them again"
        if lock
        else "no lock file names them; keep one (--lock) and harvest again"
    )
    return [f"{title(item)} are left out: {why}" for item in lost]
