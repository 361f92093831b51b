"""How values, differences and counts look as text. Everything that comes out of here has been redacted."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pulumi_embedded._diff import PropertyDiff
from pulumi_embedded._paths import format_path, parse_path
from pulumi_embedded._steps import (
    CREATE,
    CREATE_REPLACEMENT,
    DELETE,
    DELETE_REPLACED,
    DISCARD,
    DISCARD_REPLACED,
    IMPORT,
    IMPORT_REPLACEMENT,
    READ,
    READ_REPLACEMENT,
    REFRESH,
    REPLACE,
    SAME,
    UPDATE,
    Step,
)
from pulumi_embedded._values import ResourceRef, Secret, Unknown, equal, without_secrets
from redaction import REDACTED, redact

SYMBOL = {
    SAME: "", CREATE: "+", UPDATE: "~", DELETE: "-", REPLACE: "+-", CREATE_REPLACEMENT: "++", DELETE_REPLACED: "--",
    READ: ">", READ_REPLACEMENT: ">>", REFRESH: "~", DISCARD: "<", DISCARD_REPLACED: "<<", IMPORT: "=",
    IMPORT_REPLACEMENT: "=>",
}  # fmt: skip
COLOUR = {
    CREATE: "green", UPDATE: "yellow", DELETE: "red", REPLACE: "magenta", CREATE_REPLACEMENT: "green",
    DELETE_REPLACED: "red", READ: "cyan", REFRESH: "cyan", IMPORT: "cyan", DISCARD: "red",
}  # fmt: skip
_DOING = {
    SAME: ("", "", ""), CREATE: ("create", "creating", "created"), UPDATE: ("update", "updating", "updated"),
    DELETE: ("delete", "deleting", "deleted"), REPLACE: ("replace", "replacing", "replaced"),
    CREATE_REPLACEMENT: ("create replacement", "creating replacement", "created replacement"),
    DELETE_REPLACED: ("delete original", "deleting original", "deleted original"),
    READ: ("read", "reading", "read"), READ_REPLACEMENT: ("read for replacement", "reading", "read"),
    REFRESH: ("refresh", "refreshing", "refreshed"), DISCARD: ("discard", "discarding", "discarded"),
    DISCARD_REPLACED: ("discard original", "discarding original", "discarded original"),
    IMPORT: ("import", "importing", "imported"),
    IMPORT_REPLACEMENT: ("import replacement", "importing replacement", "imported replacement"),
}  # fmt: skip
_SUMMARY = (CREATE, UPDATE, DELETE, REPLACE, READ, IMPORT, DISCARD)


def doing(op: str, preview: bool, done: bool) -> str:
    """`create`, `creating` or `created`."""
    words = _DOING.get(op, (op, op, op))
    return words[0] if preview else words[2] if done else words[1]


def value_text(value: Any, indent: int = 0) -> str:
    """A value for people: `[secret]`, `[unknown]`, containers over several lines."""
    if isinstance(value, Secret):
        return REDACTED
    if isinstance(value, Unknown):
        return "[unknown]"
    if isinstance(value, ResourceRef):
        return value.urn
    pad = "    " * (indent + 1)
    if isinstance(value, dict):
        if not value:
            return "{}"
        width = max(len(key) for key in value)
        lines = [f"{pad}{key:<{width}}: {value_text(value[key], indent + 1)}" for key in sorted(value)]
        return "{\n" + "\n".join(lines) + "\n" + "    " * indent + "}"
    if isinstance(value, list):
        if not value:
            return "[]"
        lines = [f"{pad}[{i}]: {value_text(item, indent + 1)}" for i, item in enumerate(value)]
        return "[\n" + "\n".join(lines) + "\n" + "    " * indent + "]"
    if isinstance(value, str):
        return '"' + redact(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def map_lines(values: Mapping[str, Any], indent: int) -> Iterator[str]:
    """`key: value` lines, keys aligned."""
    shown = {key: value for key, value in values.items() if not key.startswith("__")}
    width = max((len(key) for key in shown), default=0)
    pad = "    " * indent
    for key in sorted(shown):
        yield f"{pad}{key:<{width}}: {value_text(shown[key], indent)}"


def _at(values: Any, path: Sequence[str | int]) -> tuple[Any, bool, bool]:
    """The value at a path, whether there is one, and whether it stands inside a secret."""
    secret = False
    for element in path:
        while isinstance(values, Secret):
            values, secret = values.value, True
        if isinstance(values, dict) and element in values:
            values = values[str(element)]
        elif isinstance(values, list) and isinstance(element, int) and 0 <= element < len(values):
            values = values[element]
        else:
            return None, False, secret
    return values, True, secret


def _side(values: Any, path: Sequence[str | int], indent: int) -> str:
    value, found, secret = _at(values, path)
    return REDACTED if secret and found else value_text(value, indent)


def diff_lines(step: Step, indent: int) -> Iterator[str]:
    """One line for each property path that changes: `~ workers.max: 3 => 5`."""
    old, new = step.old, step.new
    if old is None or new is None:
        return
    refresh = step.op == REFRESH
    detailed = step.refresh_diff.detailed if refresh and step.refresh_diff else step.detailed
    changes: dict[str, PropertyDiff | None] = dict(detailed or {})
    if not changes:
        changes = dict.fromkeys(step.diffs or _changed_keys(old.inputs, new.inputs))
    pad = "    " * indent
    for text in sorted(changes):
        path = parse_path(text)
        change = changes[text]
        before: Any = old.inputs if change is None or change.input_diff else old.outputs
        after: Any = new.inputs
        if not _at(before, path)[1]:
            before = old.inputs if _at(old.inputs, path)[1] else old.outputs
        if refresh and not _at(after, path)[1]:
            after = new.outputs
        had, has = _at(before, path)[1], _at(after, path)[1]
        kind = change.kind if change is not None else "update" if had and has else "add" if has else "delete"
        why = "  (forces replacement)" if kind.endswith("-replace") else ""
        name = redact(format_path(path))
        if kind.startswith("add"):
            yield f"{pad}+ {name}: {_side(after, path, indent)}{why}"
        elif kind.startswith("delete"):
            yield f"{pad}- {name}: {_side(before, path, indent)}{why}"
        else:
            yield f"{pad}~ {name}: {_side(before, path, indent)} => {_side(after, path, indent)}{why}"


def _changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    keys = sorted(old.keys() | new.keys())
    return [format_path((k,)) for k in keys if not equal(without_secrets(old.get(k)), without_secrets(new.get(k)))]


def summary_text(counts: Mapping[str, int], preview: bool) -> str:
    """`Resources: + 2 to create, ~ 1 to update; 3 unchanged`."""
    parts = []
    for op in _SUMMARY:
        count = counts.get(op, 0)
        if count:
            symbol = SYMBOL[op]
            words = _DOING[op]
            parts.append(f"{symbol} {count} to {words[0]}" if preview else f"{symbol} {count} {words[2]}")
    same = counts.get(SAME, 0)
    text = ", ".join(parts)
    if same:
        text = f"{text}; {same} unchanged" if text else f"{same} unchanged"
    return f"Resources: {text or 'none'}"


def has_changes(counts: Mapping[str, int]) -> bool:
    """Whether anything but `same` was counted."""
    return any(count for op, count in counts.items() if op != SAME)
