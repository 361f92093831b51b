"""Told programs as data: what a resource refers to, and what it takes to remove or rename one.

The form of a program is told in random_story.py.
"""

import copy
from typing import Any

Json = dict[str, Any]


def outputs_in(value: Any) -> set[str]:
    """Names of the resources whose outputs are in a value."""
    if isinstance(value, dict):
        if "$out" in value:
            return {value["$out"][0]}
        return set().union(*(outputs_in(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(outputs_in(item) for item in value))
    return set()


LISTS, SINGLES = ("depends_on", "replace_with", "providers"), ("parent", "deleted_with", "provider")


def references(resource: Json) -> set[str]:
    """Names of everything that must be declared before it."""
    opts = resource["opts"]
    found = outputs_in(resource["props"])
    found |= {name for option in LISTS for name in opts.get(option, ())}
    found |= {opts[option] for option in SINGLES if option in opts}
    found |= {alias["parent"] for alias in opts.get("aliases", ()) if alias.get("parent", "$root") != "$root"}
    return found


def in_order(resources: list[Json]) -> bool:
    """Whether everything is declared before it is used."""
    seen: set[str] = set()
    for resource in resources:
        if not references(resource) <= seen:
            return False
        seen.add(resource["name"])
    return True


def without_references(value: Any, name: str) -> Any:
    """A value with the outputs of one resource replaced by a constant."""
    if isinstance(value, dict):
        if "$out" in value:
            return 7 if value["$out"][0] == name else value
        return {key: without_references(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [without_references(item, name) for item in value]
    return value


def without_resource(program: Json, name: str) -> Json:
    """The program without one resource, and without anything that refers to it."""
    left = copy.deepcopy(program)
    left["resources"] = [resource for resource in left["resources"] if resource["name"] != name]
    for resource in left["resources"]:
        resource["props"] = without_references(resource["props"], name)
        opts = resource["opts"]
        for option in LISTS:
            if option in opts:
                opts[option] = [other for other in opts[option] if other != name]
                if not opts[option]:
                    del opts[option]
        for option in SINGLES:
            if opts.get(option) == name:
                del opts[option]
        if "aliases" in opts:
            opts["aliases"] = [alias for alias in opts["aliases"] if alias.get("parent") != name]
            if not opts["aliases"]:
                del opts["aliases"]
    left["exports"] = without_references(left["exports"], name)
    if left["error"] is not None:
        left["error"] = min(left["error"], len(left["resources"]))
    return left


def renamed(value: Any, old: str, new: str) -> Any:
    """The program with a resource called otherwise wherever it is referred to; aliases keep the names they had."""
    program = copy.deepcopy(value)

    def through(part: Any) -> Any:
        if isinstance(part, dict):
            if "$out" in part:
                return {"$out": [new if part["$out"][0] == old else part["$out"][0], part["$out"][1]]}
            return {key: through(item) for key, item in part.items()}
        if isinstance(part, list):
            return [through(item) for item in part]
        return part

    for resource in program["resources"]:
        if resource["name"] == old:
            resource["name"] = new
        resource["props"] = through(resource["props"])
        opts = resource["opts"]
        for option in LISTS:
            if option in opts:
                opts[option] = [new if name == old else name for name in opts[option]]
        for option in SINGLES:
            if opts.get(option) == old:
                opts[option] = new
        for alias in opts.get("aliases", ()):
            if alias.get("parent") == old:
                alias["parent"] = new
    program["exports"] = through(program["exports"])
    return dict(program)


def break_circles(program: Json) -> None:
    """Let nothing depend on what it stands under, or on a component with a part that uses it: the SDK would hang."""
    used: dict[str, set[str]] = {}
    for resource in program["resources"]:
        direct = references(resource)
        used[resource["name"]] = direct.union(*(used[name] for name in direct))
    parents = {resource["name"]: resource["opts"].get("parent") for resource in program["resources"]}
    circular: dict[str, set[str]] = {name: set() for name in parents}
    for part in parents:
        above: str | None = part
        while (above := parents[above]) is not None:
            for user in {part, *used[part]}:
                circular[user].add(above)
    for resource in program["resources"]:
        opts = resource["opts"]
        if left := [name for name in opts.get("depends_on", ()) if name not in circular[resource["name"]]]:
            opts["depends_on"] = left
        else:
            opts.pop("depends_on", None)
