"""Putting a baked image on another base: config and manifest are edited, our layers stay the blobs they are.

In one registry no layer byte moves: what the target has is asked for, the rest is mounted. The result is the very
image that a bake on the new base would make, digest included.
"""

import asyncio
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from weight_bakery._attach import attest
from weight_bakery._baked import entry_of, label_of, read_baked, role_of
from weight_bakery._base import BaseLayer, read_base
from weight_bakery._blobs import BytesBlob
from weight_bakery._carry import Moves, carry_all
from weight_bakery._errors import BadRequest
from weight_bakery._events import LayerPlanned, Note, Planned, Progress, silent
from weight_bakery._harvest_layers import caches_of, fitting_base, in_order
from weight_bakery._image import build_config, build_manifest
from weight_bakery._lock import check_lock_place, lock_target, read_lock, update_lock
from weight_bakery._media import LAYER
from weight_bakery._open import open_store
from weight_bakery._plan import MAX_LAYERS
from weight_bakery._references import ImageReference, parse_image, parse_target
from weight_bakery._request import BakeRequest, Credentials, LayerReceipt
from weight_bakery._stores import ImageStore, StoredManifest


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
        baked = await read_baked(source, reference)
        base_store = opened(base_reference, writable=False)
        base = await read_base(base_store, base_reference.digest or base_reference.tag, str(base_reference))
        kept, told = fitting_base(caches_of(baked.ours), request.base, same=base.digest == baked.base_digest)
        for line in told:
            progress(Note(line))
        staying = {item.digest for item in kept}
        ours = [layer for layer in baked.ours if layer.role != "caches" or layer.digest in staying]
        if len(base.layers) + len(ours) > MAX_LAYERS:
            raise BadRequest(
                f"--base {base_reference} has {len(base.layers)} layers and {reference} has {len(ours)} of its"
                f" own, more than {MAX_LAYERS} together",
                "squash the base first, or bake anew with fewer layers",
            )
        store = opened(target, writable=True)
        planned = [
            *((layer, base_store, "base", f"base layer {i}") for i, layer in enumerate(base.layers, start=1)),
            *((BaseLayer(LAYER, layer.digest, layer.size), source, layer.role, label_of(layer)) for layer in ours),
        ]
        events = tuple(
            LayerPlanned(i, role_of(role), label, layer.size) for i, (layer, _, role, label) in enumerate(planned)
        )
        if request.lock is not None and request.lock.exists():
            check_lock_place(request.lock)
        progress(Planned(str(target), events))
        moves = Moves(store, progress, asyncio.Semaphore(request.flows))
        outcomes = await carry_all(moves, [(layer, where) for layer, where, _, _ in planned])
        config = build_config(baked.identity, ours, base)
        manifest = build_manifest(config, baked.identity, ours, base)
        if not await store.has_blob(config.digest, config.size):
            await store.write_blob(BytesBlob(config.content), lambda _: None)
        assert target.tag is not None
        stored = StoredManifest(manifest.media_type, manifest.content, manifest.digest)
        entry = (
            entry_of(locked.images, reference, request.lock, baked.image.digest) if locked and request.lock else None
        )
        if entry is not None:
            entry = replace(
                entry,
                image_digest=manifest.digest,
                base_digest=base.digest,
                base=request.base,
                caches=tuple(in_order(kept)),
            )
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
