"""How large a layer may be, and where layers of known digest may be mounted from: what a target says about a bake."""

import re
from collections.abc import Mapping, Sequence
from functools import partial

from weight_bakery._errors import BadRequest, RegistryTooLarge, SourceDamaged
from weight_bakery._layers import Layer
from weight_bakery._lock import LockedSplit, WeightsLock
from weight_bakery._references import ImageReference, RegistryReference, parse_image
from weight_bakery._registry_rules import rules_for
from weight_bakery._reshard import RESHARD_RULE, Split, read_split
from weight_bakery._sources import Notice, WeightSource, ignore
from weight_bakery._threads import abandonable

FETCHES = 3
"""What its source damaged on the way is fetched so often before the bake gives up."""
LEAST_LIMIT = 1024 * 1024
"""A smaller limit would be a slip of the pen."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])?(i)?b?)")


def parse_size(text: str, *, option: str = "--max-layer-size") -> int:
    """Read a number of bytes as people write it: 5GB, 4GiB, 500MB or plain. Raises BadRequest."""
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None:
        raise BadRequest(f"{option} {text!r} is not a size", "write 5GB, 4GiB or a number of bytes")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** " kmgt".index(unit or " "))


def registry_limit(target: ImageReference) -> int | None:
    """Bytes of the largest layer the target takes, as far as that is known."""
    return rules_for(target.host).max_layer if isinstance(target, RegistryReference) else None


def layer_limit(target: ImageReference, wanted: int | None) -> int | None:
    """Size above which a safetensors file is split: what was asked for, and never more than the target takes."""
    if wanted is not None and wanted < LEAST_LIMIT:
        raise BadRequest(f"--max-layer-size {wanted:,} is below 1 MiB", "give a size such as 5GB or 4GiB")
    known = registry_limit(target)
    limits = [limit for limit in (wanted, known) if limit is not None]
    return min(limits) if limits else None


def check_sizes(layers: Sequence[Layer], target: ImageReference) -> None:
    """Refuse before the first byte what the registry would refuse after the last one."""
    limit = registry_limit(target)
    for layer in layers:
        if limit is None or layer.size <= limit:
            continue
        assert isinstance(target, RegistryReference)
        remedy = "use a registry that takes larger layers"
        if len(layer.files) > 1:
            remedy = f"use a base with fewer layers, so that fewer files share a layer, or {remedy}"
        elif not layer.files[0].path.endswith(".safetensors"):
            remedy = f"take the model as safetensors, which can be split, or {remedy}"
        raise RegistryTooLarge(
            f"{layer.label} makes a layer of {layer.size:,} bytes, and {target.host} takes at most {limit:,}", remedy
        )


def places(lock: WeightsLock | None, target: ImageReference) -> Mapping[str, list[str]]:
    """Repositories of the target's registry that a lock file says hold a layer, by the layer's digest."""
    found: dict[str, list[str]] = {}
    if lock is None or not isinstance(target, RegistryReference):
        return found
    for text, entry in lock.images.items():
        try:
            image = parse_image(text, option="weights.lock")
        except BadRequest:
            continue  # written by somebody else; it is only a hint
        if isinstance(image, RegistryReference) and image.host == target.host:
            for layer in entry.layers:
                repositories = found.setdefault(layer.digest, [])
                if image.repository not in (*repositories, target.repository):
                    repositories.append(image.repository)
    return found


async def split_digests(
    source: WeightSource, splits: Sequence[Split], lock: WeightsLock | None, notice: Notice = ignore
) -> dict[str, str]:
    """The sha256 of every shard of a file whose source promises a digest of the whole.

    A shard alone cannot be compared with that promise, so the original is read once from start to end, beside the
    upload; again, if it arrived damaged. Where a lock file has an entry for the very same file and shards, this was
    done before.
    """
    found: dict[str, str] = {}
    for split in splits:
        if split.original.sha256 is None:
            continue  # nothing is promised: a folder's file is what it is
        known = _locked(split, lock)
        found |= await _read_whole(source, split, notice) if known is None else known
    return found


async def _read_whole(source: WeightSource, split: Split, notice: Notice) -> dict[str, str]:
    for _ in range(0 if source.cheap else FETCHES - 1):
        try:
            return await abandonable(partial(read_split, source, split))
        except SourceDamaged as damage:
            notice(f"{damage.message}: it is fetched again")
    return await abandonable(partial(read_split, source, split))


def damaged_shard(expected: Mapping[str, str], sha256s: Mapping[str, str], root: str) -> str | None:
    """Path of a shard that is not what the whole file's pass has found."""
    wrong = (path for path, sha256 in expected.items() if sha256s.get(f"{root}/{path}", sha256) != sha256)
    return next(wrong, None)


def _locked(split: Split, lock: WeightsLock | None) -> dict[str, str] | None:
    for entry in lock.images.values() if lock is not None else ():
        files = {file.path: file for file in entry.files}
        if any((item.path, item.sha256) == (split.original.path, split.original.sha256) for item in entry.resharded):
            known = [files.get(shard.path) for shard in split.shards]
            sizes = [shard.size for shard in split.shards]
            if [file.size if file else None for file in known] == sizes:
                return {file.path: file.sha256 for file in known if file}
    return None


def locked_splits(splits: Sequence[Split]) -> tuple[LockedSplit, ...]:
    """What a lock file keeps about files that were split."""
    return tuple(
        LockedSplit(
            split.original.path,
            split.original.size,
            split.original.sha256,
            split.limit,
            tuple(shard.path for shard in split.shards),
            RESHARD_RULE,
        )
        for split in splits
    )
