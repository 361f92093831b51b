"""Told programs as Python, to follow the tests' prelude."""

from typing import Any

from tests.pulumi_embedded.random_program import LISTS, SINGLES, Json


def rendered(program: Json) -> str:
    """The program as Python."""
    lines = []
    for index, resource in enumerate(program["resources"]):
        if program["error"] == index:
            lines.append('raise ValueError("the program gives up")')
        variable = _variable(resource["name"])
        lines.append(f"{variable} = {_call(resource)}")
        if program["serial"]:
            lines.append(f"await {variable}.urn.future(with_unknowns=True)")
    if program["error"] == len(program["resources"]):
        lines.append('raise ValueError("the program gives up")')
    for key, value in program["exports"].items():
        lines.append(f"pulumi.export({key!r}, {_source(value)})")
    lines = lines or ["pass"]
    if not program["serial"]:
        return "\n".join(lines) + "\n"
    return "async def main():\n" + "".join(f"    {line}\n" for line in lines) + "pulumi.run(main)\n"


def _variable(name: str) -> str:
    return f"r_{name}"


def _call(resource: Json) -> str:
    opts = resource["opts"]
    options = [f"{option}={_option(option, opts[option])}" for option in sorted(opts)]
    props = "".join(f", {key}={_source(value)}" for key, value in resource["props"].items())
    kind = {"Get": "Thing"}.get(resource["kind"], resource["kind"])
    return f"{kind}({resource['name']!r}, O({', '.join(options)}){props})"


def _option(option: str, value: Any) -> str:
    if option in LISTS:
        return f"[{', '.join(_variable(name) for name in value)}]"
    if option in SINGLES:
        return _variable(value)
    if option == "custom_timeouts":
        return f"pulumi.CustomTimeouts({', '.join(f'{key}={text!r}' for key, text in value.items())})"
    if option == "aliases":
        return f"[{', '.join(_alias(alias) for alias in value)}]"
    return _source(value)


def _alias(alias: Json) -> str:
    if "parent" in alias:
        parent = alias["parent"]
        return f"pulumi.Alias(parent={'pulumi.ROOT_STACK_RESOURCE' if parent == '$root' else _variable(parent)})"
    ((key, value),) = alias.items()
    return f"pulumi.Alias({'type_' if key == 'type' else key}={value!r})"


def _source(value: Any) -> str:
    if isinstance(value, dict):
        if "$out" in value:
            return f"{_variable(value['$out'][0])}.{value['$out'][1]}"
        if "$secret" in value:
            return f"pulumi.Output.secret({_source(value['$secret'])})"
        if "$concat" in value:
            return f"pulumi.Output.concat({', '.join(_source(item) for item in value['$concat'])})"
        return "{" + ", ".join(f"{key!r}: {_source(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_source(item) for item in value) + "]"
    return repr(value)
