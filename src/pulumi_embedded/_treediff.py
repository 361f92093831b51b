"""What changed between two values, as a tree that can be shown: added, removed, changed and unchanged parts.

Two ways lead to one: comparing the values (`object_diff`), and a provider's detailed diff laid over them (`step_diff`).
A secret is a leaf here, whatever it holds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pulumi_embedded._diff import PropertyDiff
from pulumi_embedded._paths import contains, parse_path
from pulumi_embedded._steps import REFRESH, Step
from pulumi_embedded._values import UNKNOWN, Secret, Unknown, equal


def is_internal(key: str | int) -> bool:
    """Keys of the engine's own, which nobody is shown."""
    return str(key).startswith("__")


@dataclass
class ValueDiff:
    """One changed value; `children` where both sides are objects, or both lists."""

    old: Any
    new: Any
    children: "PartsDiff | None" = None


@dataclass
class PartsDiff:
    """The parts of an object (keys) or of a list (positions), each in one of four groups."""

    adds: dict[str | int, Any] = field(default_factory=dict)
    deletes: dict[str | int, Any] = field(default_factory=dict)
    sames: dict[str | int, Any] = field(default_factory=dict)
    updates: dict[str | int, ValueDiff] = field(default_factory=dict)

    def keys(self) -> list[Any]:
        """All of them, in order."""
        return sorted({*self.adds, *self.deletes, *self.sames, *self.updates}, key=lambda key: (str(type(key)), key))

    @property
    def any(self) -> bool:
        """Whether anything differs."""
        return bool(self.adds or self.deletes or self.updates)


def object_diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> PartsDiff | None:
    """How two property maps differ; None when they do not. A null counts as nothing there."""
    found = PartsDiff()
    for key in dict.fromkeys((*old, *new)):
        if is_internal(key):
            continue
        before, after = old.get(key), new.get(key)
        difference = value_diff(before, after)
        if key in old and key in new and difference is None:
            found.sames[key] = before
        elif before is None and after is not None:
            found.adds[key] = after
        elif before is not None and after is None:
            found.deletes[key] = before
        elif difference is not None:
            found.updates[key] = difference
    return found if found.any else None


def value_diff(old: Any, new: Any) -> ValueDiff | None:
    """How two values differ; None when they do not."""
    if isinstance(old, list) and isinstance(new, list):
        found = PartsDiff()
        for index in range(max(len(old), len(new))):
            if index >= len(old):
                found.adds[index] = new[index]
            elif index >= len(new):
                found.deletes[index] = old[index]
            elif (difference := value_diff(old[index], new[index])) is not None:
                found.updates[index] = difference
            else:
                found.sames[index] = old[index]
        return ValueDiff(old, new, found) if found.any else None
    if isinstance(old, dict) and isinstance(new, dict):
        parts = object_diff(old, new)
        return None if parts is None else ValueDiff(old, new, parts)
    return None if equal(old, new) else ValueDiff(old, new)


def _child(key: str | int, value: Any) -> tuple[Any, bool]:
    if isinstance(value, Secret | Unknown):
        return value, True  # what is inside cannot be told: the whole stands for its parts
    if isinstance(value, list):
        found = isinstance(key, int) and 0 <= key < len(value)
        return (value[int(key)] if found else None), found
    if isinstance(value, dict):
        return value.get(key), key in value
    return None, False


def _insert(path: Sequence[str | int], kind: str, into: ValueDiff, old_parent: Any, new_parent: Any) -> None:
    key = path[0]
    old, had = _child(key, old_parent)
    new, has = _child(key, new_parent)
    if into.children is None:
        into.children = PartsDiff()
    parts = into.children
    if len(path) == 1:
        if kind.startswith("add"):
            parts.adds[key] = new if has else UNKNOWN
        elif kind.startswith("delete"):
            parts.deletes[key] = old if had else UNKNOWN
        else:
            parts.updates[key] = value_diff(old, new) or ValueDiff(old, new)
    elif old is None and new is not None:
        parts.adds[key] = new
    elif old is not None and new is None:
        parts.deletes[key] = old
    else:
        below = parts.updates.setdefault(key, ValueDiff(None, None))
        _insert(path[1:], kind, below, old, new)


def detailed_of(step: Step) -> Mapping[str, PropertyDiff] | None:
    """The detailed diff that belongs to a step."""
    return step.refresh_diff.detailed if step.op == REFRESH and step.refresh_diff else step.detailed


def changed_keys(step: Step) -> Sequence[str]:
    """The properties at the top that the provider named as changed; empty also when it named none."""
    return step.refresh_diff.changed_keys if step.op == REFRESH and step.refresh_diff else step.diffs


def hidden_paths(step: Step) -> list[str]:
    """Property paths whose differences the program asked not to show."""
    state = step.new or step.old
    return list(state.hide_diff) if state is not None else []


def step_diff(step: Step, refresh: bool) -> tuple[PartsDiff | None, list[str]]:
    """A step's detailed diff as a tree, and the hidden paths that it touched."""
    assert step.old is not None
    assert step.new is not None
    root = ValueDiff(None, None)
    hidden = [(text, parse_path(text)) for text in hidden_paths(step)]
    touched: set[str] = set()
    for text, change in sorted((detailed_of(step) or {}).items()):
        try:
            path: Sequence[str | int] = parse_path(text)
        except ValueError:
            path = (text,)
        covered = {name for name, pattern in hidden if contains(pattern, tuple(path))}
        if covered:
            touched |= covered
            continue
        olds = step.old.inputs if change.input_diff else step.old.outputs
        news = step.new.outputs if refresh and not change.input_diff else step.new.inputs
        if path:
            _insert(path, change.kind, root, olds, news)
    return root.children, sorted(touched)
