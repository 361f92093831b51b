"""One page per resource for docs/resources/, from the declarations."""

from collections.abc import Sequence

from pulumi_runpod.declarations import (
    FUNCTIONS,
    NOT_CLEARABLE,
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
)
from pulumi_runpod.provider.generate.schema import full_doc, number_range, objects_in
from pulumi_runpod.provider.generate.sdk import snake

_NOTE = "<!-- Written by `python -m pulumi_runpod.provider.generate`; do not edit. -->\n\n"


def docs_pages() -> dict[str, str]:
    """File name -> Markdown."""
    pages = {f"{snake(resource.name)}.md": _resource_page(resource) for resource in RESOURCES}
    pages["provider.md"] = _provider_page()
    pages["functions.md"] = _functions_page()
    return pages


def _resource_page(resource: Resource) -> str:
    text = f"{_NOTE}# {resource.name}\n\n{resource.doc}\n\n```python\nimport pulumi\nimport pulumi_runpod as runpod\n\n"
    text += f"{resource.example}```\n\n"
    text += "```typescript\n"
    text += 'import * as pulumi from "@pulumi/pulumi";\n' if "pulumi." in resource.typescript else ""
    text += f'import * as runpod from "pulumi-runpod";\n\n{resource.typescript}```\n\n'
    text += "".join(f"- {note}\n" for note in resource.notes) + "\n"
    text += f"Type token: `{resource.token}`. "
    if resource.path:
        text += f"Import: `pulumi import {resource.token} <name> <id>`.\n\n"
        text += f"## Inputs\n\n{_SOURCES.format(path=resource.path)}\n\n" + _table(resource.inputs)
    else:
        text += f"{_OURS}\n\n## Inputs\n\n" + _table(resource.inputs, source=False)
    for kind in objects_in(f for f in resource.inputs if not f.sdk_hidden):
        text += f"\n### {kind.name}\n\n{kind.doc}\n\n" + _table([f for f in kind.fields if f.is_input])
    kept, whose = ("that RunPod keeps, as it is there", "RunPod's id") if resource.path else ("", "The target, `to`")
    text += f"\n## Outputs\n\n{f'Every input {kept}'.strip()}, and:\n\n"
    text += f"| name | type | |\n|---|---|---|\n| `id` | string | {whose}. |\n"
    for field in resource.outputs:
        if field.computed:
            text += f"| `{field.name}` | {_type(field.type)} | {full_doc(field)} |\n"
    return text


_SOURCES = (
    "Source `API`: RunPod's REST API, fields of `POST {path}` and `PATCH {path}/{{id}}` under the camelCase name, with "
    "the ranges and defaults of its published document. What this provider adds to that is named."
)


_OURS = (
    "RunPod has no such resource: the provider makes the image. Declare it instead of importing it; what is there "
    "already is not sent again."
)


def _table(fields: Sequence[Field], *, source: bool = True) -> str:
    """`source`: whether to say what is RunPod's and what this provider's."""
    text = "| name | type | range | required, default | a change | left out later |" + (
        " source | |\n" if source else " |\n"
    )
    text += "|---|---|---|---|---|---|---|" + ("---|\n" if source else "\n")
    for field in fields:
        kind = "the resource" if field.sdk_hidden else _type(field.type) + (f", {field.unit}" if field.unit else "")
        cells = [f"`{field.name}`", kind, _range(field.type), _default(field), _change(field), _left_out(field)]
        text += "| " + " | ".join([*cells, *([_source(field)] if source else []), _words(field)]) + " |\n"
    return text


def _words(field: Field) -> str:
    marks = [f"Default: {field.conditional_default}."] if field.conditional_default else []
    if field.secret:
        marks.append("Secret.")
    if field.write_only:
        marks.append("Never read back.")
    return " ".join([field.doc, *marks]).replace("|", "\\|")


def _range(kind: Type) -> str:
    """What values there may be, in words."""
    match kind:
        case Integer() | Number():
            return number_range(kind)
        case Text(enum=(_, *_)):
            return ", ".join(f"`{word}`" for word in kind.enum)
        case Text(hint=hint) if hint:
            return hint
        case Text(min_length=length) if length:
            return "not empty"
        case ListOf():
            parts = [f"at least {kind.min_items}"] if kind.min_items else []
            parts += ["none twice"] if kind.unique else []
            parts += [f"each {inner}"] if (inner := _range(kind.item)) else []
            return "; ".join(parts)
    return ""


def _default(field: Field) -> str:
    if field.required:
        return "required"
    if field.autoname:
        return "the resource's name and a suffix"
    if field.conditional_default:
        return "see right"
    if field.server_chosen:
        return "RunPod chooses"
    if isinstance(field.default, dict):
        return "its own defaults"
    if field.default is not None:
        return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"
    return "none"


def _change(field: Field) -> str:
    if field.provider_only:
        return "not sent as such"
    return {
        Replace.ALWAYS: "replaces",
        Replace.WHEN_LOWERED: "in place; a smaller value replaces",
        Replace.WHEN_IT_COMES_OR_GOES: "in place; setting or removing it replaces",
        Replace.NEVER: "in place",
    }[field.replace]


def _left_out(field: Field) -> str:
    """What it means that a program names the field no longer."""
    if field.left_out:
        return field.left_out
    if field.required:
        return "refused"
    if field.replace is Replace.WHEN_IT_COMES_OR_GOES:
        return "replaces"
    if field.autoname:
        return "keeps the old name"
    if field.conditional_default or field.default is not None:
        return "the default again"
    if field.provider_only:
        return "as if never set"
    return "stays as it is" if field.clear is NOT_CLEARABLE else "cleared"


def _source(field: Field) -> str:
    if field.provider_only:
        return "provider"
    return f"API; {field.ours}: provider" if field.ours else "API"


def _type(kind: Type) -> str:
    match kind:
        case Text():
            return "string"
        case Integer():
            return "integer"
        case Number():
            return "number"
        case Flag():
            return "boolean"
        case Json():
            return "any"
        case ListOf():
            return f"list of {_type(kind.item)}"
        case MapOf():
            return f"map of {_type(kind.item)}"
        case Object():
            return kind.name


def _provider_page() -> str:
    text = f"{_NOTE}# Provider configuration\n\n"
    text += "Set with `pulumi config set runpod:<key>`, or as arguments of `runpod.Provider`.\n\n"
    text += "| key | argument | environment | |\n|---|---|---|---|\n"
    for field in PROVIDER_CONFIG:
        variable = f"`{field.environment}`" if field.environment else ""
        text += f"| `runpod:{field.wire}` | `{field.name}` | {variable} | {field.doc} |\n"
    text += (
        "\nThe key goes to RunPod's hosts over https and to this machine; `RUNPOD_ALLOWED_HOSTS` may name more hosts. "
        "Stack `local` uses this machine only.\n\nA preview needs neither key nor network: what only RunPod knows is "
        "shown as unknown.\n"
    )
    return text


def _functions_page() -> str:
    text = f"{_NOTE}# Functions\n"
    for function in FUNCTIONS:
        arguments = ", ".join(f"{field.name}=None" for field in function.arguments)
        text += f"\n## {function.name}\n\n{function.doc}\n\n"
        text += f"`runpod.{function.name}({arguments})`, and `runpod.{function.name}_output(...)` for outputs.\n\n"
        if function.arguments:
            text += "| argument | type | |\n|---|---|---|\n"
            text += "".join(f"| `{f.name}` | {_type(f.type)} | {full_doc(f)} |\n" for f in function.arguments) + "\n"
        text += f"Returns `{function.result.name}`.\n"
        for kind in [function.result, *reversed(objects_in(function.result.fields))]:
            text += f"\n### {kind.name}\n\n{kind.doc}\n\n| name | type | |\n|---|---|---|\n"
            text += "".join(f"| `{f.name}` | {_type(f.type)} | {full_doc(f)} |\n" for f in kind.fields)
    return text
