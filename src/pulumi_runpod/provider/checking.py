"""Check: the program's inputs against the declaration. All mistakes at once, each with its property and the remedy.

The inputs come back with defaults filled in, without null properties, with secret marks where the declaration has
them, and otherwise as the program wrote them. Unknown values pass: they are checked when they are known.
"""

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pulumi_runpod.declarations import (
    NOT_CLEARABLE,
    Field,
    Flag,
    Integer,
    Json,
    ListOf,
    MapOf,
    Number,
    Object,
    Text,
    Type,
)
from pulumi_runpod.provider.values import (
    UNKNOWN,
    Properties,
    Secret,
    Value,
    has_unknown,
    join_path,
    looks_like_credential,
    plain,
)

_LARGEST = 2**53
"""Numbers are doubles on the wire, so a whole number above this may already be another one."""
_NOT_AN_OUTPUT = "Calling __str__ on an Output[T] is not supported"


@dataclass(frozen=True)
class Failure:
    """One mistake: where, and what to do about it. The path stays on one line, whatever a key holds."""

    path: str
    reason: str

    def __post_init__(self) -> None:
        shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in self.path)
        object.__setattr__(self, "path", shown)


def check_fields(
    fields: Sequence[Field], given: Properties, failures: list[Failure], parent: str = "", *, hidden: bool = False
) -> Properties:
    """Check `given` against `fields`; mistakes are added to `failures`. `hidden`: it is secret, quote nothing."""
    fields = [field for field in fields if field.is_input]
    known = {field.wire: field for field in fields}
    for key in given:
        if key not in known and not key.startswith("__"):
            failures.append(Failure(join_path(parent, key), _no_such_property(key, known)))
    checked: Properties = {}
    for field in fields:
        value = given.get(field.wire)
        path = join_path(parent, field.wire)
        if value is None:
            value = _default(field)
        if plain(value) == "" and field.clear is not NOT_CLEARABLE:
            continue  # says the same as leaving it out
        if value is None:
            if field.required:
                failures.append(Failure(path, f"is required: {_first_sentence(field.doc)}"))
            continue
        value = check_value(field.type, value, path, failures, hidden=hidden or field.secret)
        checked[field.wire] = Secret(value) if field.secret else value
    return checked


def check_value(kind: Type, value: Value, path: str, failures: list[Failure], *, hidden: bool = False) -> Value:
    """Check one value and return it in the form the state keeps."""
    if value is UNKNOWN:
        return UNKNOWN
    if isinstance(value, Secret):
        return Secret(check_value(kind, value.value, path, failures, hidden=True))
    match kind:
        case Text():
            return _check_text(kind, value, path, failures, hidden)
        case Integer():
            if isinstance(value, float) and value.is_integer():
                value = int(value)
            if isinstance(value, float):
                shown = "" if hidden else f", not {value:g}"
                return _fail(failures, path, f"must be a whole number{shown}", value)
            if isinstance(value, bool) or not isinstance(value, int):
                return _fail(failures, path, f"must be a whole number, not {_describe(value)}", value)
            return _check_range(kind.minimum, kind.maximum, value, path, failures, hidden)
        case Number():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                return _fail(failures, path, f"must be a number, not {_describe(value)}", value)
            return _check_range(kind.minimum, None, value, path, failures, hidden)
        case Flag():
            if not isinstance(value, bool):
                return _fail(failures, path, f"must be true or false, not {_describe(value)}", value)
            return value
        case ListOf():
            return _check_list(kind, value, path, failures, hidden)
        case MapOf():
            if not isinstance(value, dict):
                return _fail(failures, path, f"must be a map, not {_describe(value)}", value)
            return _check_map(kind, value, path, failures, hidden)
        case Object():
            if not isinstance(value, dict):
                return _fail(failures, path, f"must be an object, not {_describe(value)}", value)
            return check_fields(kind.fields, value, failures, path, hidden=hidden)
        case Json():
            return _check_json(value, path, failures)


def _check_text(kind: Text, value: Value, path: str, failures: list[Failure], hidden: bool) -> Value:
    if not isinstance(value, str):
        return _fail(failures, path, f"must be a string, not {_describe(value)}", value)
    if _NOT_AN_OUTPUT in value:
        reason = "holds an Output that was put into a string; use pulumi.Output.concat or pulumi.Output.format"
        return _fail(failures, path, reason, value)
    if "\0" in value:
        return _fail(failures, path, "holds a NUL character, which nothing behind RunPod can take; remove it", value)
    shown = "" if hidden else f", not {value!r}"
    if kind.enum and value not in kind.enum:
        near = difflib.get_close_matches(value.upper(), kind.enum, 1)
        also = f"; did you mean {near[0]}?" if near else ""
        return _fail(failures, path, f"must be one of {', '.join(kind.enum)}{shown}{also}", value)
    if len(value) < kind.min_length:
        return _fail(failures, path, "must not be empty", value)
    # ASCII: RunPod's digits are 0 to 9, Python's are those of every script.
    if kind.pattern and not re.fullmatch(kind.pattern, value, re.ASCII):
        return _fail(failures, path, f"must be {kind.hint or kind.pattern}{shown}", value)
    return value


def _check_list(kind: ListOf, value: Value, path: str, failures: list[Failure], hidden: bool) -> Value:
    if not isinstance(value, list):
        return _fail(failures, path, f"must be a list, not {_describe(value)}", value)
    if len(value) < kind.min_items:
        return _fail(failures, path, f"needs at least {kind.min_items} entry", value)
    checked = [
        check_value(kind.item, item, join_path(path, index), failures, hidden=hidden)
        for index, item in enumerate(value)
    ]
    if kind.unique:
        seen: list[Any] = []
        for index, item in enumerate(checked):
            bare = plain(item)
            if not has_unknown(bare) and bare in seen:
                failures.append(Failure(join_path(path, index), "is in the list twice; name it once"))
            seen.append(bare)
    return checked


def _check_map(kind: MapOf, value: dict[str, Any], path: str, failures: list[Failure], hidden: bool) -> Properties:
    checked: Properties = {}
    for key, item in value.items():
        if item is None:
            continue
        if not key:
            failures.append(Failure(path, "has an entry without a name"))
        item = check_value(kind.item, item, join_path(path, key), failures, hidden=hidden)
        if kind.may_hold_secrets and looks_like_credential(key, item):
            item = Secret(item)
        checked[key] = item
    return checked


def _check_json(value: Value, path: str, failures: list[Failure]) -> Value:
    """Anything that JSON can hold: NaN and the infinities travel on the wire, but have no JSON form."""
    if isinstance(value, Secret):
        _check_json(value.value, path, failures)
    elif isinstance(value, float) and not math.isfinite(value):
        failures.append(Failure(path, "must be a finite number"))
    elif isinstance(value, (list, dict)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check_json(item, join_path(path, key), failures)
    return value


def _check_range(
    low: float | None, high: float | None, value: Value, path: str, failures: list[Failure], hidden: bool
) -> Value:
    if not math.isfinite(value):
        return _fail(failures, path, "must be a finite number", value)
    shown = "" if hidden else f", not {value:g}"
    if (low is not None and value < low) or (high is not None and value > high):
        limits = f"between {low:g} and {high:g}" if low is not None and high is not None else f"{low:g} or more"
        return _fail(failures, path, f"must be {limits}{shown}", value)
    if abs(value) > _LARGEST:
        return _fail(failures, path, "is larger than any number RunPod can keep exactly; give a smaller one", value)
    return value


def _fail(failures: list[Failure], path: str, reason: str, value: Value) -> Value:
    failures.append(Failure(path, reason))
    return value


def _default(field: Field) -> Value:
    # A copy, since the caller owns what Check returns.
    return dict(field.default) if isinstance(field.default, dict) else field.default


def _describe(value: Value) -> str:
    """A value's kind. Never the value: it may be a secret that somebody put into the wrong place."""
    names = {bool: "true/false", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def _no_such_property(key: str, known: dict[str, Field]) -> str:
    by_python_name = {field.name: field.wire for field in known.values()}
    if key in by_python_name:
        return f"is spelled {by_python_name[key]} here"
    near = difflib.get_close_matches(key, list(known), 1, cutoff=0.5)
    return f"is no such property; did you mean {near[0]}?" if near else f"is no such property; there are {_list(known)}"


def _list(known: dict[str, Field]) -> str:
    return ", ".join(sorted(known))


def _first_sentence(doc: str) -> str:
    sentence = doc.split(". ")[0].rstrip(".")
    return sentence[0].lower() + sentence[1:] if sentence else sentence
