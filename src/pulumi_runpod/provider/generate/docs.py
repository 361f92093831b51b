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
from pulumi_runpod.provider.generate.schema import full_doc, objects_in
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
    text += "".join(f"- {note}\n" for note in resource.notes) + "\n"
    text += f"Type token: `{resource.token}`. Import: `pulumi import {resource.token} <name> <id>`.\n\n"
    text += "## Inputs\n\n" + _table(resource.inputs)
    for kind in objects_in(f for f in resource.inputs if not f.sdk_hidden):
        text += f"\n### {kind.name}\n\n{kind.doc}\n\n" + _table([f for f in kind.fields if f.is_input])
    text += "\n## Outputs\n\nEvery input that RunPod keeps, as it is there, and:\n\n"
    text += "| name | type | |\n|---|---|---|\n| `id` | string | RunPod's id. |\n"
    for field in resource.outputs:
        if field.computed:
            text += f"| `{field.name}` | {_type(field.type)} | {full_doc(field)} |\n"
    return text


def _table(fields: Sequence[Field]) -> str:
    text = "| name | type | required, default | a change | |\n|---|---|---|---|---|\n"
    for field in fields:
        kind = "the resource" if field.sdk_hidden else _type(field.type)
        text += f"| `{field.name}` | {kind} | {_default(field)} | {_change(field)} | {_words(field)} |\n"
    return text


def _words(field: Field) -> str:
    marks = []
    if field.secret:
        marks.append("Secret.")
    if field.write_only:
        marks.append("Never read back.")
    return " ".join([full_doc(field), *marks]).replace("|", "\\|")


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
    return ""


def _change(field: Field) -> str:
    if field.provider_only:
        return ""
    words = {
        Replace.ALWAYS: "replaces",
        Replace.WHEN_LOWERED: "in place; a smaller value replaces",
        Replace.WHEN_IT_COMES_OR_GOES: "in place; setting or removing it replaces",
        Replace.NEVER: "in place",
    }[field.replace]
    kept = field.clear is NOT_CLEARABLE and not field.required and field.default is None and not field.autoname
    if kept and field.replace is Replace.NEVER and not field.conditional_default:
        words += "; leaving it out keeps the old value"
    return words


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
