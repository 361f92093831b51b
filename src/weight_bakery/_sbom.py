"""What a baked image holds, and how it came to be, in the words that other tools read.

A CycloneDX 1.6 bill of materials and an in-toto statement with SLSA provenance, both made from a lock entry alone: the
same entry gives the same bytes, so whoever has the lock can make them again and compare. Neither says where the image
is stored or when it was made; a mirror needs no other documents.
"""

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from weight_bakery._image import Document
from weight_bakery._lock import LockedFile, LockEntry

SBOM_TYPE = "application/vnd.cyclonedx+json"
PROVENANCE_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:vllm-runpod:bake:v1"
BUILDER = "urn:vllm-runpod:weight-bakery"

_NAMESPACE = uuid.UUID("6f1b3c52-8a64-5d0f-9d1c-0a5be5d0c4b1")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SPDX = {
    name.lower(): name
    for name in (
        "AFL-3.0", "AGPL-3.0", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear",
        "BSL-1.0", "CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-NC-2.0", "CC-BY-NC-3.0", "CC-BY-NC-4.0",
        "CC-BY-NC-ND-3.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-2.0", "CC-BY-NC-SA-3.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0",
        "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC0-1.0", "ECL-2.0", "EPL-1.0", "EPL-2.0", "EUPL-1.1", "EUPL-1.2", "GPL-2.0",
        "GPL-3.0", "ISC", "LGPL-2.1", "LGPL-3.0", "LPPL-1.3c", "MIT", "MPL-2.0", "MS-PL", "NCSA", "OFL-1.1", "OSL-3.0",
        "PostgreSQL", "Unlicense", "WTFPL", "Zlib",
    )
}  # fmt: skip
"""SPDX identifiers by the lower-case words that model cards use. A licence that is not here goes by its name."""


def sbom(entry: LockEntry) -> Document:
    """Return the bill of materials: the image, the model in it with every file's hash, and the base image."""
    image, model = f"image:{entry.name}", f"model:{entry.model}"
    components = [_model(entry, model), *(_file(entry, file) for file in entry.files)]
    depends = [model]
    if entry.base_digest is not None:
        components.append(_base(entry, "base"))
        depends.append("base")
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, entry.image_digest)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": image,
                "name": entry.name,
                "version": entry.image_digest,
                "purl": f"pkg:oci/{quote(entry.name, safe='')}@{quote(entry.image_digest, safe='')}",
                "hashes": [_sha256(entry.image_digest)],
                "properties": [
                    _property("layer-rule", entry.layer_rule),
                    *(_property("layer", f"{layer.role} {layer.digest} {layer.size}") for layer in entry.layers),
                ],
            },
            "tools": {"components": [{"type": "application", "name": "vllm-runpod bake"}]},
        },
        "components": components,
        "dependencies": [
            {"ref": image, "dependsOn": depends},
            {"ref": model, "dependsOn": [_file_ref(entry, file) for file in entry.files]},
        ],
    }
    return Document(SBOM_TYPE, _canonical(content))


def provenance(entry: LockEntry) -> Document:
    """Return the statement: this image was made by this bakery from these files, at this commit, on this base."""
    whole = {split.path: split.sha256 for split in entry.resharded if split.sha256 is not None}
    parts = {part for split in entry.resharded if split.path in whole for part in split.parts}
    read = {file.path: file.sha256 for file in entry.files if file.path not in parts} | whole
    materials = [
        _source_material(entry),
        *({"name": path, "digest": {"sha256": sha256}} for path, sha256 in sorted(read.items())),
    ]
    if entry.base_digest is not None:
        materials.append({"name": entry.base or "base", "digest": _digest(entry.base_digest)})
    asked = {
        # A folder's place is of no account: the same files are the same bake.
        "model": entry.model if entry.kind == "folder" else entry.source or entry.model,
        "name": entry.name,
        "servedName": entry.served_name,
        "base": entry.base,
        "include": list(entry.include),
        "exclude": list(entry.exclude),
    }
    content = {
        "_type": STATEMENT,
        "subject": [{"name": entry.name, "digest": _digest(entry.image_digest)}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {key: value for key, value in asked.items() if value},
                "internalParameters": {"layerRule": entry.layer_rule},
                "resolvedDependencies": materials,
            },
            "runDetails": {
                "builder": {"id": BUILDER},
                "byproducts": [{"name": layer.role, "digest": _digest(layer.digest)} for layer in entry.layers],
            },
        },
    }
    return Document(PROVENANCE_TYPE, _canonical(content))


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def source_purl(entry: LockEntry) -> str:
    """Name the model and its revision the way package tools do."""
    version = quote(entry.revision, safe="")
    if _COMMIT.fullmatch(entry.revision):
        return f"pkg:huggingface/{quote(entry.model)}@{version}"
    return f"pkg:generic/{quote(entry.model, safe='')}@{version}"


def _model(entry: LockEntry, reference: str) -> dict[str, Any]:
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "name": entry.model,
        "version": entry.revision,
        "purl": source_purl(entry),
        "properties": [_property("source-kind", entry.kind), _property("path", f"/models/{entry.name}")],
    }
    if entry.licence is not None:
        model["licenses"] = [{"license": _licence(entry.licence)}]
    return model


def _licence(name: str) -> dict[str, str]:
    known = _SPDX.get(name.lower())
    return {"id": known} if known else {"name": name}


def _file(entry: LockEntry, file: LockedFile) -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": _file_ref(entry, file),
        "name": f"/models/{entry.name}/{file.path}",
        "hashes": [{"alg": "SHA-256", "content": file.sha256}],
        "properties": [_property("size", file.size)],
    }


def _file_ref(entry: LockEntry, file: LockedFile) -> str:
    return f"file:/models/{entry.name}/{file.path}"


def _base(entry: LockEntry, reference: str) -> dict[str, Any]:
    assert entry.base_digest is not None
    return {
        "type": "container",
        "bom-ref": reference,
        "name": (entry.base or "base").partition("@")[0],
        "version": entry.base_digest,
        "hashes": [_sha256(entry.base_digest)],
    }


def _source_material(entry: LockEntry) -> dict[str, Any]:
    material: dict[str, Any] = {"name": entry.model, "uri": source_purl(entry)}
    if _COMMIT.fullmatch(entry.revision):
        material["digest"] = {"gitCommit": entry.revision}
    return material


def _property(name: str, value: object) -> dict[str, str]:
    return {"name": f"vllm-runpod:{name}", "value": str(value)}


def _sha256(digest: str) -> Mapping[str, str]:
    return {"alg": "SHA-256", "content": digest.removeprefix("sha256:")}


def _digest(digest: str) -> dict[str, str]:
    algorithm, _, value = digest.partition(":")
    return {algorithm: value}
