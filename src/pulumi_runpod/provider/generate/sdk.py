"""The typed Python SDK: plain modules that import nothing but pulumi, written out so that people and tools can read
them. Why written out instead of `dataclass_transform`: docs/design/pulumi_runpod.md.
"""

import textwrap
from collections.abc import Iterable, Sequence

from pulumi_runpod.declarations import (
    ENDPOINT,
    FUNCTIONS,
    PROVIDER_CONFIG,
    RESOURCES,
    TEMPLATE,
    TEMPLATE_CONTENT,
    Field,
    Flag,
    Function,
    Integer,
    Json,
    ListOf,
    MapOf,
    Number,
    Object,
    Resource,
    Text,
    Type,
    constant,
)
from pulumi_runpod.provider.generate.schema import always_there, enumerations, full_doc, objects_in

_NOTE = "Written by `python -m pulumi_runpod.provider.generate` from pulumi_runpod.declarations; do not edit."


def sdk_modules() -> dict[str, str]:
    """File name -> source, not yet formatted."""
    modules = {
        "_enums.py": _enums_module(),
        "_inputs.py": _inputs_module(),
        "_outputs.py": _outputs_module(),
        "_provider.py": _provider_module(),
        "_functions.py": _functions_module(),
        "__init__.py": _package_module(),
    }
    for resource in RESOURCES:
        modules[f"_{snake(resource.name)}.py"] = _resource_module(resource)
    return modules


def snake(name: str) -> str:
    """`NetworkVolume` -> `network_volume`."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


# Types.


def _input_type(kind: Type, *, dicts: bool, quote: str = "_inputs.") -> str:
    """The type of an argument. With `dicts`, a nested object may also be given as a dictionary."""
    match kind:
        case Text(enum=(_, *_)):
            words = ", ".join(f'"{word}"' for word in kind.enum)
            return f"_enums.{kind.enum_name} | Literal[{words}]"
        case Text():
            return "str"
        case Integer():
            return "int"
        case Number():
            return "float"
        case Flag():
            return "bool"
        case Json():
            return "Any"
        case ListOf():
            return f"Sequence[pulumi.Input[{_input_type(kind.item, dicts=dicts, quote=quote)}]]"
        case MapOf():
            return f"Mapping[str, pulumi.Input[{_input_type(kind.item, dicts=dicts, quote=quote)}]]"
        case Object():
            name = f"{quote}{kind.name}Args"
            return f"{name} | {name}Dict" if dicts else name


def _output_type(kind: Type, prefix: str = "_outputs.") -> str:
    match kind:
        case ListOf():
            return f"Sequence[{_output_type(kind.item, prefix)}]"
        case MapOf():
            return f"Mapping[str, {_output_type(kind.item, prefix)}]"
        case Object():
            return f"{prefix}{kind.name}"
        case Text():
            return "str"  # also for fixed words: RunPod may answer with one that is younger than this SDK
        case _:
            return _input_type(kind, dicts=False)


def _argument(field: Field, *, quote: str = "_inputs.") -> str:
    """The annotation of a keyword argument."""
    wrapped = f"pulumi.Input[{_input_type(field.type, dicts=True, quote=quote)}]"
    return wrapped if field.required else f"{wrapped} | None"


def _ordered(fields: Iterable[Field]) -> list[Field]:
    """Required ones first, otherwise as declared."""
    fields = list(fields)
    return [f for f in fields if f.required] + [f for f in fields if not f.required]


# Modules.


def _header(doc: str, imports: Sequence[str]) -> str:
    return f'"""{doc}\n\n{_NOTE}\n"""\n\n' + "\n".join(imports) + "\n\n"


def _enums_module() -> str:
    text = _header(
        'Types of fixed words. The words themselves may be given too: `type="QUEUE"`.', ["from enum import StrEnum"]
    )
    for kind in enumerations():
        text += f"class {kind.enum_name}(StrEnum):\n"
        text += "".join(f'    {constant(word)} = "{word}"\n' for word in kind.enum) + "\n\n"
    return text + _all(sorted(kind.enum_name for kind in enumerations()))


def _inputs_module() -> str:
    objects = objects_in(f for r in RESOURCES for f in r.inputs if not f.sdk_hidden)
    text = _header(
        "Nested inputs, each as a class and as a dictionary type.",
        [
            "from collections.abc import Mapping, Sequence",
            "from typing import Any, Literal, NotRequired, TypedDict",
            "",
            "import pulumi",
            "",
            "from pulumi_runpod import _enums",
        ],
    )
    for kind in objects:
        text += _input_class(kind)
    names = sorted(name for kind in objects for name in (f"{kind.name}Args", f"{kind.name}ArgsDict"))
    return text + _all(names)


def _input_class(kind: Object) -> str:
    fields = [f for f in kind.fields if f.is_input]
    ordered = _ordered(fields)
    text = f"class {kind.name}ArgsDict(TypedDict):\n{_doc(kind.doc, 4)}\n"
    for field in fields:
        annotation = f"pulumi.Input[{_input_type(field.type, dicts=True, quote='')}]"
        text += f"    {field.name}: {annotation if field.required else f'NotRequired[{annotation}]'}\n"
        text += _doc(full_doc(field), 4)
    text += f"\n\n@pulumi.input_type\nclass {kind.name}Args:\n{_doc(kind.doc, 4)}\n"
    text += "    def __init__(\n        self,\n        *,\n"
    for field in ordered:
        annotation = _argument(field, quote="")
        text += f"        {field.name}: {annotation}{'' if field.required else ' = None'},\n"
    text += "    ) -> None:\n"
    for field in ordered:
        text += _setter(field)
    text += "\n"
    for field in fields:
        annotation = f"pulumi.Input[{_input_type(field.type, dicts=False, quote='')}]"
        optional = "" if field.required else " | None"
        default = "" if field.required else ", default=None"
        text += f'    {field.name}: {annotation}{optional} = pulumi.property("{field.wire}"{default})\n'
        text += _doc(full_doc(field), 4)
    return text + "\n\n"


def _setter(field: Field) -> str:
    line = f'pulumi.set(self, "{field.name}", {field.name})'
    return f"        {line}\n" if field.required else f"        if {field.name} is not None:\n            {line}\n"


def _outputs_module() -> str:
    objects = objects_in(
        [f for r in RESOURCES for f in r.outputs] + [f for function in FUNCTIONS for f in function.result.fields]
    )
    objects += [function.result for function in FUNCTIONS]
    text = _header(
        "Nested outputs, and what the functions return.",
        ["from collections.abc import Mapping, Sequence", "from typing import Any", "", "import pulumi"],
    )
    for kind in objects:
        text += f"@pulumi.output_type\nclass {kind.name}(dict[str, Any]):\n{_doc(kind.doc, 4)}\n"
        fields = [f for f in kind.fields if f.is_output]
        text += "    def __init__(\n        self,\n        *,\n"
        for field in _ordered(fields):
            hint = _output_type(field.type, "")
            text += f"        {field.name}: {hint}{'' if field.required else ' | None = None'},\n"
        text += "    ) -> None:\n        super().__init__()\n"
        for field in _ordered(fields):
            line = f'pulumi.set(self, "{field.name}", {field.name})'
            text += (
                f"        {line}\n" if field.required else f"        if {field.name} is not None:\n            {line}\n"
            )
        text += "\n"
        for field in fields:
            hint = _output_type(field.type, "") + ("" if field.required or field.default is not None else " | None")
            text += f'    {field.name}: {hint} = pulumi.property("{field.wire}")\n{_doc(full_doc(field), 4)}'
        text += "\n\n"
    return text + _all(sorted(kind.name for kind in objects))


def _resource_module(resource: Resource) -> str:
    imports = [
        "from collections.abc import Mapping, Sequence",
        "from typing import Any, Literal, cast",
        "",
        "import pulumi",
        "",
        "from pulumi_runpod import _enums, _inputs, _outputs, _registration",
    ]
    if resource is ENDPOINT:
        imports.append("from pulumi_runpod._template import Template")
    text = _header(resource.doc, imports)
    text += _props_class(resource)
    text += _resource_class(resource)
    return text + _all([resource.name])


def _props_class(resource: Resource) -> str:
    """The registered properties. Only its metadata matters: names on the wire, and types for nested names."""
    text = "@pulumi.input_type\nclass _Properties:\n"
    for field in _sdk_fields(resource):
        kind = "Any" if field.sdk_hidden else _input_type(field.type, dicts=False)
        text += f'    {field.name}: pulumi.Input[{kind}] | None = pulumi.property("{field.wire}", default=None)\n'
    return text + "\n\n"


def _sdk_fields(resource: Resource) -> list[Field]:
    """Inputs, then outputs that are no inputs."""
    return [*resource.inputs, *(f for f in resource.outputs if f.computed)]


def _resource_class(resource: Resource) -> str:
    arguments = _ordered(f for f in resource.inputs if not f.sdk_hidden)
    doc = "\n\n".join([resource.doc, *resource.notes])
    text = f"class {resource.name}(pulumi.CustomResource):\n{_doc(doc, 4)}\n"
    text += '    pulumi_type = "' + resource.token + '"\n\n'
    for field in resource.outputs:
        hint = _output_type(field.type) + ("" if always_there(field) else " | None")
        wire = "" if field.wire == field.name else f' = pulumi.property("{field.wire}")'
        text += f"    {field.name}: pulumi.Output[{hint}]{wire}\n{_doc(full_doc(field), 4)}"
    text += "\n    def __init__(\n        self,\n        resource_name: str,\n        *,\n"
    for field in arguments:
        text += f"        {field.name}: {_argument(field)}{'' if field.required else ' = None'},\n"
    if resource is ENDPOINT:
        text += "        template: Template | None = None,\n"
    text += "        opts: pulumi.ResourceOptions | None = None,\n    ) -> None:\n"
    text += _constructor_doc(resource, arguments)
    if resource is ENDPOINT:
        text += "        if template is None and (known := _registration.owner_of(template_id)) is not None:\n"
        text += "            # `template_id=template.id` means the same as `template=template`.\n"
        text += "            template, template_id = cast(Template, known), None\n"
        text += "        if template is not None:\n"
        text += '            _registration.a_template(template, Template, f"Endpoint {resource_name!r}")\n'
    text += "        properties = _registration.properties(\n            _Properties,\n"
    text += f'            f"{resource.name} {{resource_name!r}}",\n'
    text += _assignments(arguments)
    if resource is ENDPOINT:
        text += "            template=None if template is None else _content(template),\n"
    text += "        )\n"
    options = _options(resource.fields, "opts")
    text += f"        super().__init__(self.pulumi_type, resource_name, properties, {options})\n"
    if resource is TEMPLATE:
        text += "        _registration.remember(self)\n"
    text += "\n"
    options = _options(resource.fields, "pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(id=id))")
    text += (
        "    @staticmethod\n"
        "    def get(\n        resource_name: str, id: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None\n"
        f'    ) -> "{resource.name}":\n'
        f'        """Look at an existing {resource.name} by its id, without managing it."""\n'
        f"        resource = {resource.name}.__new__({resource.name})\n"
        f"        options = {options}\n"
        f"        properties = _registration.properties(_Properties)\n"
        f"        pulumi.CustomResource.__init__(resource, {resource.name}.pulumi_type, resource_name, properties, "
        "options)\n"
    )
    if resource is TEMPLATE:
        text += "        _registration.remember(resource)\n"
    text += "        return resource\n\n\n"
    if resource is ENDPOINT:
        text += _template_content_function()
    return text


def _assignments(fields: Iterable[Field]) -> str:
    """Keyword arguments that hand each field on, secrets marked."""
    text = ""
    for field in fields:
        text += f"            {field.name}={f'_registration.secret({field.name})' if field.secret else field.name},\n"
    return text


def _options(fields: Iterable[Field], options: str) -> str:
    secrets = [field.wire for field in fields if field.secret]
    return f"_registration.options({options}, additional_secret_outputs={secrets!r})" if secrets else options


def _template_content_function() -> str:
    text = (
        "def _content(template: Template) -> dict[str, Any]:\n"
        '    """The template\'s outputs travel with the endpoint, so that a change shows in the same preview."""\n'
        "    return {\n"
    )
    for field in TEMPLATE_CONTENT.fields:
        text += f'        "{field.wire}": template.{field.name},\n'
    return text + "    }\n\n\n"


def _constructor_doc(resource: Resource, arguments: Sequence[Field]) -> str:
    lines = [f"{resource.doc}", "", ":param resource_name: The resource's name in this program."]
    lines += [f":param {field.name}: {full_doc(field)}" for field in arguments]
    if resource is ENDPOINT:
        hidden = next(f for f in resource.inputs if f.sdk_hidden)
        lines.append(f":param template: {hidden.doc}")
    lines.append(":param opts: Options of the resource.")
    return _doc("\n".join(lines), 8)


def _provider_module() -> str:
    text = _header(
        "The provider as a resource, for programs that need more than one.",
        ["import pulumi", "", "from pulumi_runpod import _registration"],
    )
    text += "@pulumi.input_type\nclass _Properties:\n"
    for field in PROVIDER_CONFIG:
        text += f'    {field.name}: pulumi.Input[str] | None = pulumi.property("{field.wire}", default=None)\n'
    text += "\n\nclass Provider(pulumi.ProviderResource):\n"
    text += _doc("How and where RunPod is reached. A program with one account needs none: the stack configures it.", 4)
    text += "\n    def __init__(\n        self,\n        resource_name: str,\n        *,\n"
    for field in PROVIDER_CONFIG:
        text += f"        {field.name}: pulumi.Input[str] | None = None,\n"
    text += "        opts: pulumi.ResourceOptions | None = None,\n    ) -> None:\n"
    params = [f":param {field.name}: {full_doc(field)}" for field in PROVIDER_CONFIG]
    text += _doc("\n".join(["Configure a provider.", "", *params]), 8)
    text += "        properties = _registration.properties(\n            _Properties,\n"
    text += '            f"Provider {resource_name!r}",\n'
    text += _assignments(PROVIDER_CONFIG) + "        )\n"
    text += f'        super().__init__("runpod", resource_name, properties, {_options(PROVIDER_CONFIG, "opts")})\n\n\n'
    return text + _all(["Provider"])


def _functions_module() -> str:
    text = _header("Questions to RunPod's catalogue.", ["import pulumi", "", "from pulumi_runpod import _outputs"])
    names = []
    for function in FUNCTIONS:
        text += _function(function, output=False) + _function(function, output=True)
        names += [function.name, f"{function.name}_output"]
    return text + _all(sorted(names))


def _function(function: Function, *, output: bool) -> str:
    result = f"_outputs.{function.result.name}"
    name, kind = (f"{function.name}_output", f"pulumi.Output[{result}]") if output else (function.name, result)
    text = f"def {name}(\n"
    for field in function.arguments:
        hint = _input_type(field.type, dicts=False)
        text += f"    {field.name}: {f'pulumi.Input[{hint}]' if output else hint} | None = None,\n"
    options = "pulumi.InvokeOptions | pulumi.InvokeOutputOptions" if output else "pulumi.InvokeOptions"
    text += f"    opts: {options} | None = None,\n) -> {kind}:\n"
    params = [f":param {field.name}: {full_doc(field)}" for field in function.arguments]
    extra = " Accepts outputs, and answers in a preview once they are known." if output else ""
    text += _doc("\n".join([function.doc + extra, *(["", *params] if params else [])]), 4)
    arguments = ", ".join(f'"{field.wire}": {field.name}' for field in function.arguments)
    call = "invoke_output" if output else "invoke"
    text += f"    answer: {kind} = pulumi.runtime.{call}(\n"
    text += f'        "{function.token}", {{{arguments}}}, opts=opts, typ={result}\n'
    text += f"    ){'' if output else '.value'}\n    return answer\n\n\n"
    return text


def _package_module() -> str:
    inputs = sorted(
        name
        for kind in objects_in(f for r in RESOURCES for f in r.inputs if not f.sdk_hidden)
        for name in (f"{kind.name}Args", f"{kind.name}ArgsDict")
    )
    enums = sorted(kind.enum_name for kind in enumerations())
    functions = sorted(name for f in FUNCTIONS for name in (f.name, f"{f.name}_output"))
    text = '"""RunPod as Pulumi resources: `import pulumi_runpod as runpod`.\n\n'
    text += (
        "True here: every resource is declared once, in `pulumi_runpod.declarations`, and these classes are written "
        "from it.\nThis half imports only pulumi; the provider behind it is `pulumi_runpod.provider`, a process of its "
        "own.\n\n"
    )
    text += f'{_NOTE}\n"""\n\n'
    text += "from pulumi_runpod import _outputs as outputs\n"
    for resource in RESOURCES:
        text += f"from pulumi_runpod._{snake(resource.name)} import {resource.name}\n"
    text += "from pulumi_runpod._enums import " + ", ".join(enums) + "\n"
    text += "from pulumi_runpod._functions import " + ", ".join(functions) + "\n"
    text += "from pulumi_runpod._inputs import " + ", ".join(inputs) + "\n"
    text += "from pulumi_runpod._provider import Provider\n\n"
    return text + _all(sorted([*(r.name for r in RESOURCES), *enums, *functions, *inputs, "Provider", "outputs"]))


def _all(names: Sequence[str]) -> str:
    return "__all__ = [\n" + "".join(f'    "{name}",\n' for name in names) + "]\n"


def _doc(text: str, indent: int) -> str:
    """A docstring, wrapped."""
    pad = " " * indent
    lines: list[str] = []
    for paragraph in text.splitlines():
        follow = "    " if paragraph.startswith(":param") else ""
        lines += textwrap.wrap(paragraph, 116 - indent, subsequent_indent=follow) or [""]
    body = f"\n{pad}".join(lines).replace("\\", "\\\\")
    end = f"\n{pad}" if len(lines) > 1 or len(body) > 110 - indent else ""
    body = "\n".join(line.rstrip() for line in body.splitlines())
    return f'{pad}"""{body}{end}"""\n'
