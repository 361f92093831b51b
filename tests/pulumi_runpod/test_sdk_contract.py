"""What the docs pages call RunPod's own is RunPod's own: each declared field against the published document."""

from collections.abc import Iterator
from typing import Any

import pytest

from pulumi_runpod.declarations import CLOUD_RESOURCES, Field, Integer, ListOf, Number, Object, Resource, Text
from tests.contract import support

Schema = dict[str, Any]


def resolved(schema: Schema, document: Schema) -> Schema:
    """The schema with its reference followed and the members of its unions side by side."""
    while "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**document["components"]["schemas"][name], **beside}
    parts = [resolved(part, document) for kind in ("allOf", "oneOf", "anyOf") for part in schema.get(kind, [])]
    if not parts:
        return schema
    merged = {key: value for part in parts for key, value in part.items()} | schema
    merged["properties"] = {}
    for part in [*parts, schema]:
        for key, value in part.get("properties", {}).items():
            merged["properties"][key] = {**merged["properties"].get(key, {}), **value}
    if "allOf" not in schema:
        merged["required"] = sorted(set.intersection(*(set(part.get("required", [])) for part in parts)))
    words = [word for part in parts for word in words_of(part.get("properties", {}).get("type", {}), document)]
    if words:
        merged["properties"]["type"] = {"enum": words}
    return merged


def words_of(schema: Schema, document: Schema) -> list[str]:
    schema = resolved(schema, document)
    return list(schema.get("enum", [schema["const"]] if "const" in schema else []))


def fields_with_schemas(
    fields: tuple[Field, ...], schema: Schema, document: Schema, prefix: str
) -> Iterator[tuple[str, Field, Schema | None, bool]]:
    """Each field that is sent to RunPod: its path, itself, what the document says of it, whether that requires it."""
    schema = resolved(schema, document)
    for field in fields:
        if field.computed or field.provider_only:
            continue
        said = schema.get("properties", {}).get(field.wire)
        found = None if said is None else resolved(said, document)
        yield prefix + field.wire, field, found, field.wire in schema.get("required", [])
        kind = field.type
        while isinstance(kind, ListOf) and found is not None:
            kind, found = kind.item, resolved(found.get("items", {}), document)
        if isinstance(kind, Object) and found is not None:
            yield from fields_with_schemas(kind.fields, found, document, f"{prefix}{field.wire}.")


def declared_range(field: Field) -> dict[str, Any]:
    """The declaration in the document's own words; what says nothing is left out."""
    said: dict[str, Any]
    match field.type:
        case Integer(minimum, maximum):
            said = {"minimum": minimum, "maximum": maximum}
        case Number(minimum):
            said = {"minimum": minimum}
        case Text(enum=enum, min_length=length):
            said = {"enum": sorted(enum), "minLength": length}
        case ListOf(min_items=least, unique=unique):
            said = {"minItems": least, "uniqueItems": unique}
        case _:
            said = {}
    return {key: value for key, value in said.items() if value or (key == "minimum" and value == 0)}


def published_range(field: Field, schema: Schema) -> dict[str, Any]:
    keys = ("minimum", "maximum", "enum", "minLength", "minItems", "uniqueItems")
    said = {key: schema[key] for key in keys if schema.get(key) or (key == "minimum" and key in schema)}
    if "enum" in said:
        said["enum"] = sorted(said["enum"])
    if isinstance(field.type, Text) and (field.type.pattern or field.type.enum):
        said.pop("minLength", None)
    return said


@pytest.mark.parametrize("resource", CLOUD_RESOURCES, ids=lambda resource: resource.name)
def test_every_field_is_as_the_document_says(resource: Resource) -> None:
    """Name, range, default and whether it is required; `ours` names every difference, and only differences."""
    contract = support.contract()
    if contract is None:
        pytest.skip(support.MISSING)
    document = contract.document
    body = document["paths"][resource.path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    wrong = []
    seen = 0
    for path, field, schema, required in fields_with_schemas(resource.fields, body, document, ""):
        seen += 1
        if schema is None:
            wrong.append(f"{path}: not in the document")
            continue
        ours = set(field.ours.split(", ")) - {""}
        differs = set()
        if declared_range(field) != published_range(field, schema):
            differs.add("range")
        default = None if isinstance(field.default, dict) else field.default
        depends = field.required or field.conditional_default
        if field.autoname or (not depends and default != schema.get("default")):
            differs.add("default")
        if differs != ours:
            wrong.append(f"{path}: {declared_range(field)}, {default!r} here; {schema} there; said to differ in {ours}")
        if required and not (field.required or field.autoname):
            wrong.append(f"{path}: required there")
    assert not wrong, "\n".join(wrong)
    assert seen >= len([field for field in resource.inputs if not field.provider_only])
