"""Diff: what the program wants against what is there, element by element, by the declaration's rules.

"What is there" are the outputs in the state, which Read keeps true to RunPod; only what RunPod never gives back
(`write_only`) is compared with the old inputs. An unknown value counts as a change, since it may be one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from pulumi_runpod.declarations import NOT_CLEARABLE, Field, ListOf, MapOf, Object, Replace, Type, nothing
from pulumi_runpod.provider.values import UNKNOWN, Properties, Secret, Value, has_unknown, join_path, path_root, plain


class Kind(Enum):
    ADD = "add"
    DELETE = "delete"
    UPDATE = "update"


@dataclass(frozen=True)
class Change:
    kind: Kind
    replace: bool = False
    between_inputs: bool = False
    """The old side is the old input, because RunPod never gives this property back."""


Changes = dict[str, Change]


def diff_fields(fields: Sequence[Field], olds: Properties, old_inputs: Properties, news: Properties) -> Changes:
    """All changes by property path."""
    changes: Changes = {}
    for field in fields:
        if not field.is_input or field.provider_only:
            continue
        new = news.get(field.wire)
        if field.write_only:
            old = old_inputs.get(field.wire)
            if old is None:
                # Imported: nobody knows the old value, so nobody can call it different.
                continue
        else:
            old = olds.get(field.wire, old_inputs.get(field.wire))
        found: Changes = {}
        diff_field(field, old, new, field.wire, found)
        for path, change in found.items():
            replace = change.replace or field.replace is Replace.ALWAYS
            changes[path] = Change(change.kind, replace, field.write_only)
    return changes


def diff_field(field: Field, old: Value, new: Value, path: str, changes: Changes) -> None:
    """The changes of one field, of a resource or of a nested object."""
    old, new = _bare(old), _bare(new)
    gone = old is not UNKNOWN and nothing(field, old)
    absent = new is not UNKNOWN and nothing(field, new)
    if gone and absent:
        return
    comes_or_goes = field.replace is Replace.WHEN_IT_COMES_OR_GOES
    if absent:
        if field.clear is not NOT_CLEARABLE or comes_or_goes:
            changes[path] = Change(Kind.DELETE, replace=comes_or_goes)
        return
    if gone:
        changes[path] = Change(Kind.ADD, replace=comes_or_goes)
        return
    if new is UNKNOWN or old is UNKNOWN:
        changes[path] = Change(Kind.UPDATE)
        return
    if field.replace is Replace.WHEN_LOWERED and isinstance(old, (int, float)) and isinstance(new, (int, float)):
        if new != old:
            changes[path] = Change(Kind.UPDATE, replace=new < old)
        return
    diff_values(field.type, old, new, path, changes)


def diff_values(kind: Type, old: Value, new: Value, path: str, changes: Changes) -> None:
    """The changes between two values that are both there."""
    old, new = _bare(old), _bare(new)
    if isinstance(kind, Object) and isinstance(old, dict) and isinstance(new, dict):
        for field in kind.fields:
            if field.is_input:
                diff_field(field, old.get(field.wire), new.get(field.wire), join_path(path, field.wire), changes)
    elif isinstance(kind, MapOf) and isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            entry = join_path(path, key)
            if key not in new:
                changes[entry] = Change(Kind.DELETE)
            elif key not in old:
                changes[entry] = Change(Kind.ADD)
            else:
                diff_values(kind.item, old[key], new[key], entry, changes)
    elif isinstance(kind, ListOf) and isinstance(old, list) and isinstance(new, list):
        _diff_lists(kind, old, new, path, changes)
    elif new is UNKNOWN or old is UNKNOWN or plain(old) != plain(new):
        changes[path] = Change(Kind.UPDATE)


def _diff_lists(kind: ListOf, old: list[Value], new: list[Value], path: str, changes: Changes) -> None:
    if not kind.ordered:
        if not has_unknown(new) and _sorted(old) == _sorted(new):
            return
        bare_old, bare_new = plain(old), plain(new)
        added = [i for i, item in enumerate(bare_new) if item is UNKNOWN or item not in bare_old]
        removed = [i for i, item in enumerate(bare_old) if item not in bare_new]
        for index in sorted({*added, *removed}):
            both = index in added and index in removed
            kind_of_change = Kind.UPDATE if both else Kind.ADD if index in added else Kind.DELETE
            changes[join_path(path, index)] = Change(kind_of_change)
        if not added and not removed:
            changes[path] = Change(Kind.UPDATE)  # the same entries, another number of times
        return
    for index in range(max(len(old), len(new))):
        entry = join_path(path, index)
        if index >= len(new):
            changes[entry] = Change(Kind.DELETE)
        elif index >= len(old):
            changes[entry] = Change(Kind.ADD)
        else:
            diff_values(kind.item, old[index], new[index], entry, changes)


def same(field: Field, old: Value, new: Value) -> bool:
    """Whether two known values of a field mean the same."""
    changes: Changes = {}
    diff_field(field, old, new, field.wire, changes)
    return not changes and nothing(field, _bare(old)) == nothing(field, _bare(new))


def changed_roots(changes: Changes) -> set[str]:
    """The top-level properties that changed."""
    return {path_root(path) for path in changes}


def _bare(value: Value) -> Value:
    return value.value if isinstance(value, Secret) else value


def _sorted(values: list[Value]) -> list[str]:
    return sorted(repr(plain(value)) for value in values)
