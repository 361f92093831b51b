"""Small typed validators for request bodies, speaking the wording that RunPod's own validator was seen to use.

Seen live (runpod-api-live.md §3 rows 14 and 15): `$: got string, want object`, `$: missing property 'dataCenter'`,
`$: additional properties 'dataCenterId' not allowed`. The other messages follow the style of the validator that those
three come from (our assumption).

A `Check` yields one message per mistake and never stops at the first, so that a caller learns all of them at once.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

Check = Callable[[Any, str], Iterator[str]]
"""(value, path) -> messages. The path begins with `$`."""

_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),  # before int: True is an int in Python
    (int, "number"),
    (float, "number"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
)


def kind_of(value: Any) -> str:
    """The JSON name of a decoded value's type."""
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "null")


def is_integer(value: Any) -> bool:
    """JSON knows one kind of number: 5.0 is an integer, true is not."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _wrong_kind(value: Any, path: str, want: str) -> str:
    return f"{path}: got {kind_of(value)}, want {want}"


def string(*, min_length: int = 0, pattern: str | None = None) -> Check:
    # The service's expressions are not Python's: `$` means the very end there, `\d` means 0 to 9.
    compiled = re.compile(pattern.replace("$", r"\Z"), re.ASCII) if pattern is not None else None

    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, str):
            yield _wrong_kind(value, path, "string")
            return
        if len(value) < min_length:
            yield f"{path}: minLength: got {len(value)}, want {min_length}"
        if compiled is not None and not compiled.search(value):
            yield f"{path}: '{value}' does not match pattern '{pattern}'"

    return check


def nullable(inner: Check) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if value is not None:
            yield from (message.replace(", want string", ", want null or string") for message in inner(value, path))

    return check


def integer(*, minimum: int | None = None, maximum: int | None = None) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if not is_integer(value):
            yield _wrong_kind(value, path, "integer")
            return
        yield from _in_range(value, path, minimum, maximum)

    return check


def number(*, minimum: float | None = None) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield _wrong_kind(value, path, "number")
            return
        yield from _in_range(value, path, minimum, None)

    return check


def _in_range(value: float, path: str, minimum: float | None, maximum: float | None) -> Iterator[str]:
    if minimum is not None and value < minimum:
        yield f"{path}: minimum: got {json.dumps(value)}, want {json.dumps(minimum)}"
    if maximum is not None and value > maximum:
        yield f"{path}: maximum: got {json.dumps(value)}, want {json.dumps(maximum)}"


def boolean() -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, bool):
            yield _wrong_kind(value, path, "boolean")

    return check


def one_of(*choices: str) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, str):
            yield _wrong_kind(value, path, "string")
        elif value not in choices:
            yield f"{path}: value must be " + (quoted(choices) if len(choices) == 1 else f"one of {quoted(choices)}")

    return check


def array(item: Check, *, min_items: int = 0, unique: bool = False) -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield _wrong_kind(value, path, "array")
            return
        if len(value) < min_items:
            yield f"{path}: minItems: got {len(value)}, want {min_items}"
        for index, element in enumerate(value):
            yield from item(element, f"{path}[{index}]")
        if unique:
            yield from _twins(value, path)

    return check


def _twins(value: Sequence[Any], path: str) -> Iterator[str]:
    seen: dict[str, int] = {}
    for index, element in enumerate(value):
        text = json.dumps(_plain(element), sort_keys=True)
        if text in seen:
            yield f"{path}: items at {seen[text]} and {index} are equal"
        seen.setdefault(text, index)


def _plain(value: Any) -> Any:
    """2.0 and 2 are one number in JSON."""
    if isinstance(value, dict):
        return {key: _plain(element) for key, element in value.items()}
    if isinstance(value, list):
        return [_plain(element) for element in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def string_map() -> Check:
    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield _wrong_kind(value, path, "object")
            return
        for key, element in value.items():
            if not isinstance(element, str):
                yield _wrong_kind(element, f"{path}.{key}", "string")

    return check


def record(
    fields: Mapping[str, Check],
    *,
    required: Sequence[str] = (),
    required_with: Mapping[str, str] | None = None,
    min_properties: int = 0,
    also_blamed: Iterable[str] = (),
) -> Check:
    """An object that knows its fields.

    `required_with` maps a field to one that must accompany it. `also_blamed`: where the published schema is a
    composition, one missing field makes the service call the part's other fields "additional" too
    (runpod-api-live.md §3 row 15); these are the fields so blamed.
    """
    blamed = frozenset(also_blamed)

    def check(value: Any, path: str) -> Iterator[str]:
        if not isinstance(value, dict):
            yield _wrong_kind(value, path, "object")
            return
        missing = [name for name in required if name not in value]
        if missing:
            yield f"{path}: missing {'property' if len(missing) == 1 else 'properties'} {quoted(missing)}"
        if len(value) < min_properties:
            yield f"{path}: minProperties: got {len(value)}, want {min_properties}"
        for name, companion in (required_with or {}).items():
            if name in value and companion not in value:
                yield f"{path}: properties {quoted([companion])} required, if {quoted([name])} exists"
        strangers = [name for name in value if name not in fields or (missing and name in blamed)]
        if strangers:
            yield f"{path}: additional properties {quoted(strangers)} not allowed"
        for name, inner in fields.items():
            if name in value:
                yield from inner(value[name], f"{path}.{name}")

    return check
