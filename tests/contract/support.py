"""RunPod's published OpenAPI document as a judge of the emulator's answers.

The document is not part of the project. It is looked for in the folder that RUNPOD_CONTRACT names, in .local/contract
(where `make contract` puts it) and in ../shared/contract; where it is absent these tests are skipped with that reason.

The service has moved on since the document was published; what is known of that is patched in here, each delta with
its place in the reference, and each harmless when the document already has it.
"""

import copy
import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

ROOT = Path(__file__).resolve().parents[2]
FILE_NAME = "runpod-openapi-v2.json"
SEGMENTS = ("serverless", "templates", "network-volumes", "registries", "catalog")
NOT_EMULATED = {"listDelegations", "createDelegation", "revokeDelegation"}
"""Answered with 501: docs/emulator-assumptions.md."""

CLOSED = (
    "Endpoint",
    "Worker",
    "WorkerSummary",
    "Release",
    "ReleaseDiffEntry",
    "RolloutSummary",
    "Template",
    "NetworkVolume",
    "Registry",
    "GpuType",
    "CpuType",
    "DataCenter",
    "ErrorResponse",
)
"""Answer schemas that the document leaves open. Here nothing undeclared may come back."""

MISSING = (
    "RunPod's OpenAPI document is not here; `make contract` fetches it (or name a folder that holds "
    f"{FILE_NAME} in RUNPOD_CONTRACT)"
)


def find_contract() -> Path | None:
    named = os.environ.get("RUNPOD_CONTRACT")
    places = [Path(named)] if named else [ROOT / ".local" / "contract", ROOT.parent / "shared" / "contract"]
    for place in places:
        path = place if place.is_file() else place / FILE_NAME
        if path.is_file():
            return path
    return None


def _patched(document: dict[str, Any]) -> dict[str, Any]:
    schemas = document["components"]["schemas"]
    # runpod-api-live.md §2.1: pagination is a required member of these answers, always null in catalog/templates.
    marker = {
        "type": "object",
        "required": ["nextCursor", "hasNextPage"],
        "additionalProperties": False,
        "properties": {"nextCursor": {"type": ["string", "null"]}, "hasNextPage": {"type": "boolean"}},
    }
    for name in ("ListEndpointsResponse", "ListTemplatesResponse", "ListEndpointReleasesResponse"):
        schemas[name]["properties"]["pagination"] = marker
        schemas[name]["required"] = sorted({*schemas[name]["required"], "pagination"})
    # §2.2: entrypoint and cmd beside args.
    words = {"type": "array", "items": {"type": "string"}}
    schemas["BaseContainerConfig"]["properties"].update(entrypoint=words, cmd=words)
    # §3 row 6: a template without a persistent volume comes without `mounts`.
    template = schemas["Template"]["allOf"][1]
    template["required"] = [name for name in template["required"] if name != "mounts"]
    for name in CLOSED:
        schemas[name]["unevaluatedProperties"] = False
    return document


_FORMATS = FormatChecker(formats=())
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@_FORMATS.checks("date-time")
def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or _DATE_TIME.fullmatch(value) is not None


@_FORMATS.checks("uri")
def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or re.match(r"https?://[^/\s]+", value) is not None


class Contract:
    """Looks operations up and validates bodies against their declared schemas."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = _patched(copy.deepcopy(document))
        resource = Resource.from_contents(self.document, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource("urn:contract", resource)
        self._paths = [
            (re.compile(re.sub(r"\\\{[^}]+\\\}", "[^/]+", re.escape(path)) + "$"), path)
            for path in sorted(self.document["paths"], key=lambda path: path.count("{"))
        ]

    def validator(self, schema: dict[str, Any]) -> Draft202012Validator:
        return Draft202012Validator(_absolute(schema), registry=self._registry, format_checker=_FORMATS)

    def schema(self, name: str) -> Draft202012Validator:
        return self.validator({"$ref": f"#/components/schemas/{name}"})

    def emulated(self) -> set[str]:
        """Ids of every operation that the emulator claims."""
        return {
            operation["operationId"]
            for path, methods in self.document["paths"].items()
            if path.split("/")[2] in SEGMENTS
            for method, operation in methods.items()
            if method != "parameters" and operation["operationId"] not in NOT_EMULATED
        }

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        for pattern, name in self._paths:
            if pattern.match(path.partition("?")[0]):
                found: dict[str, Any] | None = self.document["paths"][name].get(method.lower())
                return found
        return None

    def request_examples(self) -> list[tuple[str, Any]]:
        """(operation id, body) of every example request of an emulated operation."""
        found = []
        for methods in self.document["paths"].values():
            for method, operation in methods.items():
                if method == "parameters" or operation["operationId"] not in self.emulated():
                    continue
                content = operation.get("requestBody", {}).get("content", {})
                for media in content.values():
                    found += [(operation["operationId"], case["value"]) for case in media.get("examples", {}).values()]
        return found

    def mistakes(self, method: str, path: str, status: int, headers: Any, text: str) -> list[str]:
        """What is wrong with an answer by the contract; empty when nothing is."""
        operation = self.operation(method, path)
        if operation is None:
            return [f"no operation {method} {path}"]
        responses = operation["responses"]
        declared = responses.get(str(status)) or (responses["default"] if status >= 400 else None)
        if declared is None:
            return [f"{status} is not declared: {sorted(responses)}"]
        if "$ref" in declared:
            declared = self.document["components"]["responses"][declared["$ref"].rpartition("/")[2]]
        wrong = [f"header {name} is missing" for name in declared.get("headers", {}) if name not in headers]
        content = declared.get("content")
        if not content:
            return wrong + (["a body where none is declared"] if text else [])
        kind = headers["Content-Type"].partition(";")[0]
        if kind not in content:
            return [*wrong, f"content type {kind} is not among {sorted(content)}"]
        if kind == "text/event-stream":
            return wrong
        validator = self.validator(content[kind]["schema"])
        return wrong + [f"{error.json_path}: {error.message}" for error in validator.iter_errors(json.loads(text))]


def _absolute(value: Any) -> Any:
    """References inside a schema that was cut out of the document, made to point into it again."""
    if isinstance(value, dict):
        return {
            key: f"urn:contract{element}" if key == "$ref" and element.startswith("#") else _absolute(element)
            for key, element in value.items()
        }
    return [_absolute(element) for element in value] if isinstance(value, list) else value


@cache
def contract() -> Contract | None:
    path = find_contract()
    return Contract(json.loads(path.read_text(encoding="utf-8"))) if path else None
