"""The bakery as this provider uses it: inputs to a request, a plan with every reason why there is none, progress.

Imported when a program has a BakedImage and not before: loading the bakery would double the plugin's start.
"""

import asyncio
import re
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pulumi_runpod.declarations import camel
from pulumi_runpod.provider.errors import one_line
from pulumi_runpod.provider.own_loop import on_own_loop
from pulumi_runpod.provider.values import Properties, plain
from weight_bakery import (
    BadRequest,
    BakePlan,
    BakeReceipt,
    BakeRequest,
    BakeryError,
    CorruptWeights,
    Event,
    LayerAdvanced,
    LayerFinished,
    LayerPlanned,
    LayerRuleError,
    LayoutReference,
    LockError,
    MissingShard,
    NoConfig,
    Note,
    NoWeights,
    Planned,
    RegistryReference,
    RegistryTooLarge,
    Removal,
    SourceChoice,
    UnsafePath,
    bake_async,
    locked_image,
    parse_image,
    parse_size,
    parse_target,
    plan_bake_async,
    remove_image_async,
    standing_digest_async,
    with_ambient,
)

_PLAN_LIMIT_S = 45.0
"""A preview must not hang for a server that says nothing."""
_OPTION = re.compile(r"--([a-z][a-z-]*)")
_OPTIONS = {"worker-deps": "worker_dependencies", "cache": "lock"}
"""The bakery's options that have another name here."""
_MODEL_ERRORS = (NoConfig, NoWeights, MissingShard, CorruptWeights, UnsafePath, LayerRuleError)


class Refused(Exception):
    """The inputs cannot be baked, whatever the network says."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}")


class Unanswered(Exception):
    """Something that a plan has to know cannot be asked here and now."""


@dataclass(frozen=True)
class Expected:
    """What a bake would make, as far as that can be told. `why_unknown` where the source or target told nothing."""

    image: str
    """The target as it stands in references."""
    digest: str | None = None
    revision: str | None = None
    standing: str | None = None
    """What the target's tag names now, as far as anybody could ask."""
    size: int | None = None
    layers: int | None = None
    to_send: int | None = None
    reused: int | None = None
    why_unknown: str = ""
    notes: tuple[str, ...] = ()
    """What the image under the tag has and this bake would not keep."""

    @property
    def is_there(self) -> bool:
        """Whether the very image stands under the tag already."""
        return self.digest is not None and self.standing == self.digest

    def told(self) -> str:
        """One line for the row of a preview."""
        if self.to_send is None or self.reused is None or self.size is None:
            return f"cannot tell what will be sent: {self.why_unknown}"
        if self.is_there:
            return f"nothing to send: all {amount(self.size)} are there already"
        if self.digest is not None and self.to_send == 0:
            now = f"names another image ({self.standing})" if self.standing else "is not there"
            return f"no layer to send: all {amount(self.size)} are there already; the tag {now} and will be set"
        most = "" if self.digest else "at most "
        return f"will send {most}{amount(self.to_send)} of {amount(self.size)}; {amount(self.reused)} are there already"


def request_of(inputs: Properties, root: Path) -> BakeRequest:
    """The bake that the inputs ask for, with the logins of this machine. Paths are relative to `root`.

    Raises BadRequest.
    """
    given: dict[str, Any] = plain(inputs)

    def path(name: str) -> Path | None:
        return root / Path(given[name]).expanduser() if given.get(name) else None

    source: SourceChoice = given.get("source") or "auto"
    size = given.get("maxLayerSize")
    request = BakeRequest(
        model=_model(str(given.get("model", "")), root, folders=source == "auto"),
        source=source,
        to=_image(str(given["to"]), root),
        base=_image(given["base"], root) if given.get("base") else None,
        include=tuple(given.get("include") or ()),
        exclude=tuple(given.get("exclude") or ()),
        name=given.get("name") or None,
        served_name=given.get("servedName") or None,
        worker_deps=path("workerDependencies"),
        worker_code=tuple(root / Path(folder).expanduser() for folder in given.get("workerCode") or ()),
        lock=path("lock"),
        max_layer_size=parse_size(str(size)) if size else None,
        flows=int(given.get("flows") or 4),
        attest=bool(given.get("attest", True)),
    )
    return with_ambient(request)


async def expected(inputs: Properties, root: Path) -> Expected:
    """What a bake would do. Moves nothing. Raises Refused."""
    target = reference_of(str(plain(inputs["to"])), root)
    try:
        request = request_of(inputs, root)
        try:
            _need_folders(inputs, request)
            plan = await asyncio.wait_for(on_own_loop(lambda: plan_bake_async(request)), _PLAN_LIMIT_S)
        except TimeoutError:
            return from_lock(request, target, f"no answer within {_PLAN_LIMIT_S:.0f} s")
        except Unanswered as error:
            return from_lock(request, target, str(error))
    except BadRequest as error:
        raise _refused(error) from error
    except LockError as error:
        raise Refused("lock", in_our_words(error)) from error
    except _MODEL_ERRORS as error:
        raise Refused("model", in_our_words(error)) from error
    except RegistryTooLarge as error:
        raise Refused("to", in_our_words(error)) from error
    except BakeryError as error:
        return from_lock(request, target, in_our_words(error))
    reused = plan.reused + _mountable(plan, request)
    return Expected(
        target,
        plan.digest,
        plan.revision,
        plan.standing,
        plan.size,
        len(plan.layers),
        plan.size - reused,
        reused,
        notes=tuple(in_our_words_of(note) for note in plan.notes),
    )


def from_lock(request: BakeRequest, target: str, why: str) -> Expected:
    """What the lock file says of the target, where nobody else can be asked. Raises Refused for a damaged lock."""
    try:
        entry = locked_image(request)
    except LockError as error:
        raise Refused("lock", in_our_words(error)) from error
    if entry is None:
        return Expected(target, why_unknown=why)
    size = sum(layer.size for layer in entry.layers)
    return Expected(target, entry.image_digest, entry.revision, size=size, why_unknown=why)


def locked_digest(inputs: Properties, root: Path) -> str | None:
    """The image that the lock file names for the target. Raises BakeryError."""
    entry = locked_image(request_of(inputs, root))
    return entry.image_digest if entry else None


async def standing(inputs: Properties, root: Path) -> str | None:
    """Digest of what the target's tag names now. Raises BakeryError."""
    request = request_of(inputs, root)
    return await on_own_loop(lambda: standing_digest_async(request))


async def remove(inputs: Properties, root: Path, digest: str) -> Removal:
    """Take the tag away if it still names `digest`. Raises BakeryError."""
    request = request_of(inputs, root)
    return await on_own_loop(lambda: remove_image_async(request, digest))


async def bake(inputs: Properties, root: Path, progress: "Meter") -> BakeReceipt:
    """Bake. Cancelling leaves the tag as it was. Raises BakeryError, Refused."""
    try:
        request = request_of(inputs, root)
        return await on_own_loop(lambda: bake_async(request, progress=progress))
    except BadRequest as error:
        raise _refused(error) from error


def reference_of(to: str, root: Path) -> str:
    """The target in references: a layout as the program wrote it, a registry in full. Raises Refused."""
    try:
        parsed = parse_target(_image(to, root))
    except BadRequest as error:
        raise _refused(error) from error
    return to if isinstance(parsed, LayoutReference) else str(parsed)


def baked_outputs(receipt: BakeReceipt, target: str) -> Properties:
    """What a finished bake says."""
    return {
        "image": f"{target}@{receipt.digest}",
        "digest": receipt.digest,
        "revision": receipt.revision,
        "size": receipt.size,
        "layerCount": len(receipt.layers),
        "bytesToSend": receipt.sent_bytes,
        "bytesReused": receipt.size - receipt.sent_bytes,
        "bakedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "bakeSeconds": receipt.seconds,
    }


class Meter:
    """Takes a bake's events, from whatever thread, and says in one line how far it is."""

    def __init__(self) -> None:
        self.notes: deque[str] = deque()
        self._layers: tuple[LayerPlanned, ...] = ()
        self._sent: dict[int, int] = {}
        self._hashed: dict[int, int] = {}
        self._outcomes: dict[int, str] = {}
        self._seen: deque[tuple[float, int]] = deque(maxlen=15)

    def __call__(self, event: Event) -> None:
        match event:
            case Planned(layers=layers):
                self._layers = layers
            case LayerAdvanced(index, activity, size):
                self._outcomes.pop(index, None)  # a layer that turned out to be damaged goes once more
                table = self._sent if activity == "sending" else self._hashed
                table[index] = table.get(index, 0) + size
            case LayerFinished(index, outcome):
                self._outcomes[index] = outcome
            case Note(text):
                self.notes.append(text)

    def line(self) -> str:
        """How far it is, how fast, and how long it will take."""
        if not self._layers:
            return "baking: reading what is there"
        outcomes = dict(self._outcomes)
        total = sum(layer.size for layer in self._layers)
        done = sum(
            layer.size if layer.index in outcomes else min(self._sent.get(layer.index, 0), layer.size)
            for layer in self._layers
        )
        text = f"baking: layer {len(outcomes)} of {len(self._layers)}, {amount(done)} of {amount(total)}"
        moved = sum(dict(self._sent).values())
        if not moved:
            hashed = sum(dict(self._hashed).values())
            return text + (f", {amount(hashed)} read to learn their digests" if hashed else "")
        self._seen.append((time.monotonic(), moved))
        (since, before), (now, after) = self._seen[0], self._seen[-1]
        if now - since < 0.5 or after <= before:
            return text
        rate = (after - before) / (now - since)
        return f"{text}, {amount(rate)}/s, {(total - done) / rate:.0f} s left"


def amount(size: float) -> str:
    """Bytes for people."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def _model(text: str, root: Path, *, folders: bool) -> str:
    """A folder and a layout get their full path; whatever else there is, the bakery reads.

    With a source named, a name is a repository id even where a folder is called the same.
    """
    if text.startswith(("oci:", "image:oci:")):
        return _image(text.removeprefix("image:"), root)
    if text.startswith((".", "/", "~")) or (folders and "://" not in text and text and (root / text).is_dir()):
        return str((root / Path(text).expanduser()).absolute())
    return text


def _image(text: str, root: Path) -> str:
    """An image in a layout gets its full path."""
    return f"oci:{root / Path(text.removeprefix('oci:')).expanduser()}" if text.startswith("oci:") else text


def _need_folders(inputs: Properties, request: BakeRequest) -> None:
    """A folder that is not there may be made later, on another machine: that is no mistake of the program."""
    given = plain(inputs)
    folders = [(given.get("model"), Path(request.model))] if request.model.startswith("/") else []
    folders += [(given.get("workerDependencies"), request.worker_deps)] if request.worker_deps else []
    folders += list(zip(given.get("workerCode") or (), request.worker_code, strict=True))
    for said, folder in folders:
        if not folder.is_dir():
            raise Unanswered(f"there is no folder {said}")


def _mountable(plan: BakePlan, request: BakeRequest) -> int:
    """Bytes of base layers that the target's registry takes over from another repository of its own."""
    target = parse_target(request.to)
    base = parse_image(request.base, option="base") if request.base else None
    if not isinstance(target, RegistryReference) or not isinstance(base, RegistryReference) or base.host != target.host:
        return 0
    return sum(layer.size for layer in plan.layers if layer.role == "base" and not layer.present)


def in_our_words(error: BakeryError) -> str:
    """The message, with this resource's properties for the options of the command that it names."""
    return in_our_words_of(str(error))


def in_our_words_of(text: str) -> str:
    """A line of the bakery's, likewise."""
    return re.sub(_OPTION, lambda found: _property(found.group(1)), one_line(text))


def _refused(error: BadRequest) -> Refused:
    """At the property that the message names first."""
    named = re.search(_OPTION, one_line(str(error)))
    return Refused(_property(named.group(1)) if named else "model", in_our_words(error))


def _property(option: str) -> str:
    return camel(_OPTIONS.get(option, option.replace("-", "_")))
