"""Holding a lock entry against the world: its source, the place the image was baked to, and a stack that runs it.

Nothing is written and no payload moves, but for a local folder, whose files are hashed where no digest is remembered.
Whatever cannot be asked is said as such and holds up nothing else.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from weight_bakery._errors import BadRequest, LockError
from weight_bakery._lock import LockEntry, lock_target, read_lock
from weight_bakery._references import LayoutReference, RegistryReference, parse_image, parse_target
from weight_bakery._status_registry import check_image
from weight_bakery._status_source import check_source
from weight_bakery._status_words import Deployed, Finding, State, StatusRequest, short


@dataclass(frozen=True)
class TargetStatus:
    """What was found out about one target."""

    target: str
    digest: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Status:
    """What was found out about a lock file."""

    lock: str
    targets: tuple[TargetStatus, ...]

    @property
    def exit_code(self) -> int:
        """0 all well, 1 something differs, 2 nothing is known to differ, but something could not be asked."""
        states = {finding.state for target in self.targets for finding in target.findings}
        return 1 if "differs" in states else 2 if "unknown" in states else 0

    def to_json(self) -> dict[str, Any]:
        """Plain data for `--json`."""
        return {"status": {**asdict(self), "exitCode": self.exit_code}}

    def json_line(self) -> str:
        """The same on one line."""
        return json.dumps(self.to_json(), sort_keys=True)


def bake_status(request: StatusRequest) -> Status:
    """Return how the lock file's entries stand. Raises LockError or BadRequest when there is nothing to look at."""
    return asyncio.run(bake_status_async(request))


async def bake_status_async(request: StatusRequest) -> Status:
    """`bake_status` for callers that have an event loop."""
    entries = locked_entries(request.lock, request.targets)
    references = {target: located(target, request.lock) for target in entries}
    hosts = {reference.host for reference in references.values() if isinstance(reference, RegistryReference)}
    if len(hosts) > 1:  # a password is for one registry and goes to no other
        request = replace(request, credentials=None)
    checked = await asyncio.gather(
        *(_check(request, entry, references[target]) for target, entry in entries.items()),
    )
    stack = _check_stack(request, entries) if "stack" in request.parts else {target: [] for target in entries}
    return Status(
        str(request.lock),
        tuple(
            TargetStatus(target, entries[target].image_digest, (*findings, *stack[target]))
            for target, findings in zip(entries, checked, strict=True)
        ),
    )


def locked_entries(lock: Path, targets: Sequence[str]) -> dict[str, LockEntry]:
    """Return the entries of a lock file by target, sorted; those named, or all. Raises LockError."""
    if not lock.is_file():
        raise LockError(f"there is no {lock}", "bake something, or name the lock file with --lock")
    images = read_lock(lock).images
    if not images:
        raise LockError(f"{lock} has no entries", "bake something, or name another lock file with --lock")
    if not targets:
        return dict(sorted(images.items()))
    found: dict[str, LockEntry] = {}
    for text in targets:
        try:
            name = text if text in images else lock_target(parse_target(text), lock)
        except BadRequest:
            name = text
        if name not in images:
            raise BadRequest(f"{lock} has no entry for {text!r}", f"it has {', '.join(sorted(images))}")
        found[name] = images[name]
    return found


def located(target: str, lock: Path) -> LayoutReference | RegistryReference:
    """Return where a target of a lock file is; a layout's folder stands there relative to the file."""
    reference = parse_target(target)
    if isinstance(reference, LayoutReference):
        return replace(reference, directory=lock.parent / reference.directory)
    return reference


async def _check(
    request: StatusRequest, entry: LockEntry, reference: LayoutReference | RegistryReference
) -> list[Finding]:
    asked = []
    if "source" in request.parts:
        asked.append(check_source(request, entry, reference))
    if "registry" in request.parts:
        asked.append(check_image(request, entry, reference))
    return [finding for part in await asyncio.gather(*asked) for finding in part]


def _check_stack(request: StatusRequest, entries: dict[str, LockEntry]) -> dict[str, list[Finding]]:
    """Hold every entry against what the stack runs.

    A stack need not run everything that was baked; but one that runs none of what is looked at is a difference.
    """
    deployed = request.deployed
    if deployed is None:
        return {target: [Finding("stack", "skipped", "no stack was named")] for target in entries}
    if deployed.problem:
        finding = Finding("stack", "unknown", deployed.problem, deployed.remedy)
        return {target: [finding] for target in entries}
    found = {target: _deployed(deployed, target, entry, request.lock) for target, entry in entries.items()}
    if all(finding is None for finding in found.values()):
        runs = ", ".join(deployed.images) or "no image"
        nowhere = Finding(
            "stack",
            "differs",
            f"stack {deployed.stack} runs {runs}",
            f"deploy it: vllm-runpod up --stack {deployed.stack}",
        )
        return {target: [nowhere] for target in entries}
    unused = Finding("stack", "skipped", f"stack {deployed.stack} does not run this image")
    return {target: [finding or unused] for target, finding in found.items()}


def _deployed(deployed: Deployed, target: str, entry: LockEntry, lock: Path) -> Finding | None:
    """How the stack runs this image; None when it runs nothing from there."""
    remedy = f"deploy it: vllm-runpod up --stack {deployed.stack}"
    other: Finding | None = None
    for image in deployed.images:
        if image.endswith(f"@{entry.image_digest}"):
            return Finding("stack", "same", f"stack {deployed.stack} runs {short(entry.image_digest)}")
        if not _same_place(image, target, deployed.root, lock):
            continue
        digest = image.partition("@")[2]
        state: State = "differs" if digest else "unknown"
        text = (
            f"stack {deployed.stack} runs {short(digest)}"
            if digest
            else f"stack {deployed.stack} runs {image} unpinned"
        )
        other = Finding("stack", state, text, remedy)
    return other


def _same_place(image: str, target: str, root: Path, lock: Path) -> bool:
    """Whether a deployed reference is of the repository (or layout and tag) that a target names."""
    try:
        theirs = parse_image(image, option="image")
    except BadRequest:
        return False
    ours = located(target, lock)
    if isinstance(theirs, LayoutReference) and isinstance(ours, LayoutReference):
        return (root / theirs.directory).resolve() == ours.directory.resolve() and theirs.tag in (None, ours.tag)
    if isinstance(theirs, RegistryReference) and isinstance(ours, RegistryReference):
        return (theirs.host, theirs.repository) == (ours.host, ours.repository)
    return False
