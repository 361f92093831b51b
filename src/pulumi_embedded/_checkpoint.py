"""Checkpoint files: `{"version": 3, "checkpoint": {"stack": …, "latest": {…}}}`, read strictly, written whole."""

import gzip
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from pulumi_embedded._errors import IntegrityError, NotSupported, StateError
from pulumi_embedded._shape import misshapen
from pulumi_embedded._state import (
    Deployment,
    Entry,
    PendingOperation,
    entry_of,
    now,
    resource_from_json,
    verify_integrity,
)
from pulumi_embedded._statejson import Sealer

ENGINE_VERSION = "v3.260.0"
"""The engine whose behaviour this one follows; it stands in the manifest."""

_KNOWN_FEATURES = frozenset({"refreshBeforeUpdate", "replaceWith", "taint"})
_ZSTD = b"\x28\xb5\x2f\xfd"


def parse_checkpoint(data: bytes, where: str) -> dict[str, Any]:
    """The file's JSON; StateError names the file and what is wrong with it."""
    remedy = f"restore {where}.bak"
    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise StateError(f"{where} is not a checkpoint: it cannot be unpacked ({error}); {remedy}") from error
    if data.startswith(_ZSTD):
        raise NotSupported(f"zstd-compressed state ({where})")
    try:
        document = json.loads(data)
    except ValueError as error:
        raise StateError(f"{where} is not a checkpoint: {error}; {remedy}") from error
    if not isinstance(document, dict) or "checkpoint" not in document:
        raise StateError(f"{where} is not a checkpoint: no `checkpoint` in it; {remedy}")
    if document.get("version") not in (3, 4):
        raise StateError(f"{where}: checkpoint version {document.get('version')} is not supported (3 and 4 are)")
    unknown = sorted(set(document.get("features") or ()) - _KNOWN_FEATURES)
    if unknown:
        raise NotSupported(f"state features {', '.join(unknown)} ({where})")
    if wrong := misshapen(document["checkpoint"]):
        raise StateError(f"{where} is damaged: {wrong}; {remedy}")
    return document


def secrets_state_of(latest: Mapping[str, Any] | None, where: str) -> str:
    """The `encryptionsalt` recorded with the state; empty when there is none."""
    providers = (latest or {}).get("secrets_providers") or {}
    if not providers:
        return ""
    if providers.get("type") != "passphrase":
        raise NotSupported(f"the secrets provider `{providers.get('type')}` of {where}")
    return str((providers.get("state") or {}).get("salt", ""))


def load_deployment(latest: Mapping[str, Any] | None, sealer: Sealer, where: str) -> Deployment:
    """The deployment in a checkpoint, its secrets opened and its integrity checked."""
    if not latest:
        return Deployment()
    manifest = latest.get("manifest") or {}
    version, magic = manifest.get("version", ""), manifest.get("magic", "")
    if magic != _magic(version):
        raise IntegrityError(f"{where}: magic cookie mismatch: the file was edited or damaged; restore its .bak")
    if latest.get("snippets"):
        raise NotSupported(f"snippets ({where})")
    resources = [resource_from_json(entry, sealer) for entry in latest.get("resources") or ()]
    try:
        verify_integrity(resources)
    except IntegrityError as error:
        raise IntegrityError(f"{where}: {error.reason}; run `pulumi state repair` or restore {where}.bak") from error
    pending = [
        PendingOperation(resource_from_json(entry["resource"], sealer), entry["type"])
        for entry in latest.get("pending_operations") or ()
    ]
    known = {"manifest", "secrets_providers", "resources", "pending_operations", "metadata"}
    return Deployment(
        resources=resources,
        pending=pending,
        secrets_state=secrets_state_of(latest, where),
        metadata=dict(latest.get("metadata") or {}),
        extra={key: value for key, value in latest.items() if key not in known},
    )


def _magic(version: str) -> str:
    return hashlib.sha256(version.encode()).hexdigest() if version else ""


def checkpoint_bytes(stack: str, deployment: Deployment | None, sealer: Sealer) -> bytes:
    """The whole file of a stack; None is one that has never been deployed."""
    body = [f'"stack":{json.dumps(stack)}'.encode()]
    features: set[str] = set()
    if deployment is not None:
        entries = [state.entry or entry_of(state, sealer) for state in deployment.resources]
        features.update(*{entry.features for entry in entries})
        body.append(b'"latest":' + _deployment_bytes(deployment, entries, sealer))
    head = f'"version":4,"features":{json.dumps(sorted(features))}' if features else '"version":3'
    return b"".join((b"{", head.encode(), b',"checkpoint":{', b",".join(body), b"}}"))


def _deployment_bytes(deployment: Deployment, entries: Sequence[Entry], sealer: Sealer) -> bytes:
    manifest = {"time": now(), "magic": _magic(ENGINE_VERSION), "version": ENGINE_VERSION}
    parts = [_member("manifest", manifest)]
    if deployment.secrets_state:
        parts.append(_member("secrets_providers", {"type": "passphrase", "state": {"salt": deployment.secrets_state}}))
    if entries:
        parts.append(b'"resources":[%b]' % b",".join([entry.data for entry in entries]))
    if deployment.pending:
        pending = (b'{"resource":%b,"type":"%b"}' % (entry_of(p.resource, sealer).data, p.type.encode())
                   for p in deployment.pending)  # fmt: skip
        parts.append(b'"pending_operations":[%b]' % b",".join(pending))
    parts.append(_member("metadata", deployment.metadata))
    parts += [_member(key, value) for key, value in deployment.extra.items()]
    return b"{%b}" % b",".join(parts)


def _member(key: str, value: Any) -> bytes:
    return f"{json.dumps(key)}:{json.dumps(value, separators=(',', ':'))}".encode()
