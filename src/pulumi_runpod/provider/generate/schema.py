"""The Pulumi schema, from which SDKs for other languages can be generated."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pulumi_runpod.declarations import (
    FUNCTIONS,
    PROVIDER_CONFIG,
    RESOURCES,
    Field,
    Flag,
    Integer,
    Json,
    ListOf,
    MapOf,
    Number,
    Object,
    Replace,
    Resource,
    Text,
    Type,
    constant,
)

Document = dict[str, Any]


def schema_json(version: str | None = None) -> str:
    """The schema as text. The checked-in one has no version, so that a release does not change it."""
    return json.dumps(schema(version), indent=2) + "\n"


def schema(version: str | None = None) -> Document:
    document: Document = {
        "name": "runpod",
        "displayName": "RunPod",
        "description": "RunPod's serverless endpoints, templates, volumes and registry credentials, and baked images.",
        "keywords": ["pulumi", "runpod", "gpu", "serverless", "category/cloud", "kind/native"],
        "license": "Apache-2.0",
        "language": {
            "python": {"packageName": "pulumi_runpod", "respectSchemaVersion": True},
            "nodejs": {"packageName": "pulumi-runpod", "respectSchemaVersion": True},
            "go": {"respectSchemaVersion": True},
        },
        "config": {"variables": _properties(PROVIDER_CONFIG)},
        "provider": {
            "description": "How and where RunPod is reached.",
            "inputProperties": _properties(PROVIDER_CONFIG),
            "properties": _properties(PROVIDER_CONFIG),
        },
        "types": {_token(kind): _object(kind) for kind in objects()}
        | {_token(kind): _words(kind) for kind in enumerations()},
        "resources": {resource.token: _resource(resource) for resource in RESOURCES},
        "functions": {
            function.token: {
                "description": function.doc,
                "inputs": {"type": "object", "properties": _properties(function.arguments)},
                "outputs": {
                    "type": "object",
                    "properties": _properties(function.result.fields),
                    "required": [field.wire for field in function.result.fields if field.required],
                },
            }
            for function in FUNCTIONS
        },
    }
    return {"name": document.pop("name"), "version": version, **document} if version else document


def objects() -> list[Object]:
    """Every nested object type, in order of first use."""
    found: dict[str, Object] = {}
    for resource in RESOURCES:
        _collect(resource.fields, found)
    for function in FUNCTIONS:
        _collect(function.result.fields, found)
    return list(found.values())


def objects_in(fields: Iterable[Field]) -> list[Object]:
    """The nested object types of some fields, innermost first."""
    found: dict[str, Object] = {}
    _collect(fields, found)
    return list(found.values())


def enumerations() -> list[Text]:
    """Every type of fixed words, in order of first use."""
    fields = [field for resource in RESOURCES for field in resource.fields]
    fields += [field for kind in objects() for field in kind.fields]
    found = {kind.enum_name: kind for kind in map(_item, fields) if isinstance(kind, Text) and kind.enum}
    return list(found.values())


def _item(field: Field) -> Type:
    """What a field holds once lists and maps are taken off."""
    kind: Type = field.type
    while isinstance(kind, (ListOf, MapOf)):
        kind = kind.item
    return kind


def always_there(field: Field) -> bool:
    """Whether an output is never missing. Only whole blocks can be: everything else has an empty form."""
    kind = field.type.item if isinstance(field.type, ListOf) else field.type
    return field.required or field.default is not None or field.computed or not isinstance(kind, Object)


def _collect(fields: Iterable[Field], found: dict[str, Object]) -> None:
    for field in fields:
        kind = _item(field)
        if isinstance(kind, Object) and kind.name not in found:
            _collect(kind.fields, found)
            found[kind.name] = kind


def _resource(resource: Resource) -> Document:
    return {
        "description": _description(resource),
        "inputProperties": _properties(resource.inputs),
        "requiredInputs": [field.wire for field in resource.inputs if field.required],
        "properties": _properties(resource.outputs),
        "required": [field.wire for field in resource.outputs if always_there(field)],
    }


def _description(resource: Resource) -> str:
    return "\n\n".join([resource.doc, *resource.notes])


def _object(kind: Object) -> Document:
    return {
        "type": "object",
        "description": kind.doc,
        "properties": _properties(kind.fields),
        "required": [field.wire for field in kind.fields if field.required],
    }


def _words(kind: Text) -> Document:
    return {"type": "string", "enum": [{"name": constant(word), "value": word} for word in kind.enum]}


def _properties(fields: Sequence[Field]) -> Document:
    return {field.wire: _property(field) for field in fields}


def _property(field: Field) -> Document:
    document: Document = {**_type(field.type), "description": full_doc(field)}
    if field.default is not None and not isinstance(field.default, (dict, list)):
        document["default"] = field.default
    if field.environment:
        document["defaultInfo"] = {"environment": [field.environment]}
    if field.secret:
        document["secret"] = True
    if field.replace is Replace.ALWAYS:
        document["willReplaceOnChanges"] = True
    return document


def full_doc(field: Field) -> str:
    """The description with what the type alone cannot say."""
    parts = [field.doc]
    kind = field.type.item if isinstance(field.type, ListOf) else field.type
    if isinstance(kind, Text) and kind.enum:
        parts.append(f"One of {', '.join(f'`{value}`' for value in kind.enum)}.")
    if field.unit:
        parts.append(f"In {field.unit}.")
    if limits := number_range(kind):
        parts.append(f"{limits[0].upper()}{limits[1:]}.")
    if field.conditional_default:
        parts.append(f"Default: {field.conditional_default}.")
    return " ".join(parts)


def number_range(kind: Type) -> str:
    """The range of a number in words, or nothing."""
    if isinstance(kind, Integer) and kind.maximum is not None:
        return f"from {kind.minimum} to {kind.maximum}"
    if isinstance(kind, (Integer, Number)) and kind.minimum is not None:
        return f"at least {kind.minimum:g}"
    return ""


def _type(kind: Type) -> Document:
    match kind:
        case Text(enum=(_, *_)):
            return {"type": "string", "$ref": f"#/types/{_token(kind)}"}
        case Text():
            return {"type": "string"}
        case Integer():
            return {"type": "integer"}
        case Number():
            return {"type": "number"}
        case Flag():
            return {"type": "boolean"}
        case Json():
            return {"$ref": "pulumi.json#/Any"}
        case ListOf():
            return {"type": "array", "items": _type(kind.item)}
        case MapOf():
            return {"type": "object", "additionalProperties": _type(kind.item)}
        case Object():
            return {"$ref": f"#/types/{_token(kind)}"}


def _token(kind: Object | Text) -> str:
    return f"runpod:index:{kind.enum_name if isinstance(kind, Text) else kind.name}"
