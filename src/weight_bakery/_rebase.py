"""Putting a baked image on another base: config and manifest are edited, our layers stay the blobs they are.

In one registry no layer byte moves: what the target has is asked for, the rest is mounted. The result is the very
image that a bake on the new base would make, digest included.
"""

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from weight_bakery._attach import attest
from weight_bakery._base import BaseImage, BaseLayer, read_base
from weight_bakery._blobs import BytesBlob, RemoteBlob
from weight_bakery._errors import BadRequest, BakeryError
from weight_bakery._events import LayerAdvanced, LayerFinished, LayerPlanned, Note, Outcome, Planned, Progress, silent
from weight_bakery._image import BuiltLayer, ModelIdentity, build_config, build_manifest
from weight_bakery._layers import Role
from weight_bakery._lock import LockEntry, lock_target, read_lock, update_lock
from weight_bakery._open import open_store
from weight_bakery._plan import MAX_LAYERS
from weight_bakery._references import ImageReference, LayoutReference, parse_image, parse_target
from weight_bakery._request import BakeRequest, Credentials, LayerReceipt
from weight_bakery._stores import ImageStore, StoredManifest

_LABEL = "io.vllm-runpod"
_SERVED = "OPENAI_SERVED_MODEL_NAME_OVERRIDE="
_COUNT = re.compile(r"vllm-runpod bake: (\d+) files of role")


@dataclass(frozen=True)
class RebaseRequest:
    """Put the baked image `image` on `base`."""

    image: str
    base: str
    to: str | None = None
    """Where the result goes; `image`'s own tag when None."""
    lock: Path | None = None
    """weights.lock whose entry follows; None keeps none."""
    flows: int = 4
    credentials: Credentials | None = None
    """Login for the target's registry; Docker's configuration when None."""
    docker_config: Path | None = None


@dataclass(frozen=True)
class RebaseReceipt:
    """A finished rebase."""

    image: str
    digest: str
    previous_digest: str
    base_digest: str
    layers: tuple[LayerReceipt, ...]
    sent_bytes: int
    """Layer bytes that moved to the target."""
    weight_bytes: int
    """Those of them that are not the base's."""
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {"rebase": asdict(self)}


@dataclass(frozen=True)
class _Baked:
    """What an image says about itself when it was baked here."""

    image: BaseImage
    identity: ModelIdentity
    ours: tuple[BuiltLayer, ...]


@dataclass
class _Moves:
    """Where layers go, and what moved."""

    store: ImageStore
    progress: Progress
    slots: asyncio.Semaphore
    sent: dict[int, int] = field(default_factory=dict)

    async def one(self, index: int, layer: BaseLayer, source: ImageStore) -> Outcome:
        """See to one layer."""
        async with self.slots:
            outcome = await self._move(index, layer, source)
        self.progress(LayerFinished(index, outcome))
        return outcome

    async def _move(self, index: int, layer: BaseLayer, source: ImageStore) -> Outcome:
        if await self.store.has_blob(layer.digest, layer.size):
            return "present"
        if await self.store.mount_blob(layer.digest, source):
            return "mounted"
        blob = RemoteBlob(layer.digest, layer.size, lambda offset: source.stream_blob(layer.digest, offset))
        await self.store.write_blob(blob, lambda size: self.progress(LayerAdvanced(index, "sending", size)))
        self.sent[index] = layer.size
        return "sent"


def rebase(request: RebaseRequest, *, progress: Progress = silent) -> RebaseReceipt:
    """Rebase and return what was done. Raises BakeryError; inside an event loop use `rebase_async`."""
    return asyncio.run(rebase_async(request, progress=progress))


async def rebase_async(request: RebaseRequest, *, progress: Progress = silent) -> RebaseReceipt:
    """`rebase` for callers that have an event loop. The tag changes last, as in a bake."""
    started = time.monotonic()
    reference = parse_image(request.image, option="IMAGE")
    if request.to is None and reference.tag is None and reference.digest is not None:
        raise BadRequest(f"IMAGE {reference} names no tag", "say with --to where the result goes")
    target = parse_target(request.to or request.image.partition("@")[0])
    base_reference = parse_image(request.base, option="--base")
    locked = read_lock(request.lock) if request.lock else None
    options = BakeRequest(
        model="", to=str(target), base=request.base,
        credentials=request.credentials, docker_config=request.docker_config,
    )  # fmt: skip
    stores: list[ImageStore] = []

    def opened(where: ImageReference, *, writable: bool) -> ImageStore:
        store = open_store(where, options, target=writable, create=writable, progress=progress)
        assert store is not None
        stores.append(store)
        return store

    try:
        source = opened(reference, writable=False)
        baked = await _read_baked(source, reference)
        base_store = opened(base_reference, writable=False)
        base = await read_base(base_store, base_reference.digest or base_reference.tag, str(base_reference))
        if len(base.layers) + len(baked.ours) > MAX_LAYERS:
            raise BadRequest(
                f"--base {base_reference} has {len(base.layers)} layers and {reference} has {len(baked.ours)} of its"
                f" own, more than {MAX_LAYERS} together",
                "squash the base first, or bake anew with fewer layers",
            )
        store = opened(target, writable=True)
        old = baked.image.layers[-len(baked.ours) :]
        planned = [
            *((layer, base_store, "base", f"base layer {i}") for i, layer in enumerate(base.layers, start=1)),
            *((layer, source, ours.role, _label(ours)) for layer, ours in zip(old, baked.ours, strict=True)),
        ]
        events = tuple(
            LayerPlanned(i, _role(role), label, layer.size) for i, (layer, _, role, label) in enumerate(planned)
        )
        progress(Planned(str(target), events))
        moves = _Moves(store, progress, asyncio.Semaphore(request.flows))
        outcomes = await _all(moves, [(layer, where) for layer, where, _, _ in planned])
        config = build_config(baked.identity, baked.ours, base)
        manifest = build_manifest(config, baked.identity, baked.ours, base)
        if not await store.has_blob(config.digest, config.size):
            await store.write_blob(BytesBlob(config.content), lambda _: None)
        assert target.tag is not None
        stored = StoredManifest(manifest.media_type, manifest.content, manifest.digest)
        entry = _entry(locked.images, reference, request.lock, baked.image.digest) if locked and request.lock else None
        if entry is not None:
            entry = replace(entry, image_digest=manifest.digest, base_digest=base.digest, base=request.base)
            await attest(store, stored, entry, progress)
        await store.write_manifest(stored, target.tag)
    finally:
        for store in stores:
            await store.close()
    if request.lock is not None:
        if entry is None:
            progress(
                Note(f"{request.lock} has no entry for {reference} with digest {baked.image.digest}; left as it is")
            )
        else:
            update_lock(request.lock, lock_target(target, request.lock), entry)
    first = len(base.layers)
    return RebaseReceipt(
        image=f"{target}@{manifest.digest}",
        digest=manifest.digest,
        previous_digest=baked.image.digest,
        base_digest=base.digest,
        layers=tuple(
            LayerReceipt(event.role, event.label, layer.digest, layer.size, 0, outcome)
            for event, (layer, _, _, _), outcome in zip(events, planned, outcomes, strict=True)
        ),
        sent_bytes=sum(moves.sent.values()),
        weight_bytes=sum(size for index, size in moves.sent.items() if index >= first),
        seconds=round(time.monotonic() - started, 3),
    )


async def _all(moves: _Moves, layers: Sequence[tuple[BaseLayer, ImageStore]]) -> list[Outcome]:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(moves.one(i, layer, source)) for i, (layer, source) in enumerate(layers)]
    except BaseExceptionGroup as failures:
        raise next((error for error in failures.exceptions if isinstance(error, BakeryError)), failures) from failures
    return [task.result() for task in tasks]


async def _read_baked(store: ImageStore, reference: ImageReference) -> _Baked:
    """Read an image and tell our layers from its base's by their annotations."""
    image = await read_base(store, reference.digest or reference.tag, str(reference), option="IMAGE")
    stored = await store.read_manifest(image.digest)
    assert stored is not None, "it was read a moment ago"
    annotations = [layer.get("annotations") or {} for layer in json.loads(stored.content)["layers"]]
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
        ours.append(
            BuiltLayer(_role(notes[f"{_LABEL}.role"]), layer.digest, layer.size, paths, notes.get(f"{_LABEL}.sha256"))
        )
    identity = ModelIdentity(
        labels[f"{_LABEL}.model-path"].removeprefix("/models/"),
        served.removeprefix(_SERVED),
        labels[f"{_LABEL}.model"],
        labels[f"{_LABEL}.revision"],
        labels.get(f"{_LABEL}.licence"),
        labels.get(f"{_LABEL}.gated"),
    )
    return _Baked(image, identity, tuple(ours))


def _entry(images: Mapping[str, LockEntry], reference: ImageReference, lock: Path, digest: str) -> LockEntry | None:
    if not isinstance(reference, LayoutReference) and reference.tag is None:
        reference = replace(reference, tag="latest")
    entry = images.get(lock_target(replace(reference, digest=None), lock))
    if entry is not None and entry.image_digest == digest:
        return entry
    return next((entry for entry in images.values() if entry.image_digest == digest), None)


def _label(layer: BuiltLayer) -> str:
    name = layer.paths[0].rpartition("/")[2]
    return name or f"{layer.role} ({len(layer.paths)} files)"


def _role(text: str) -> Role:
    for role in ("base", "weights", "files", "deps", "code"):
        if role == text:
            return role
    raise BadRequest(f"the image has a layer of the unknown role {text!r}", "update vllm-runpod")
