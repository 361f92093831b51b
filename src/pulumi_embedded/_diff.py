"""Diff results, and the structural diff that stands in when a provider answers "unknown"."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pulumi_embedded._paths import contains, format_path, parse_path
from pulumi_embedded._values import equal, without_secrets

INIT_ERROR = "#initerror"

_INVERSE = {"add": "delete", "delete": "add", "add-replace": "delete-replace", "delete-replace": "add-replace"}


@dataclass(frozen=True)
class PropertyDiff:
    """What happens to one property path: `add`, `delete`, `update`, or the same with `-replace`."""

    kind: str
    input_diff: bool = False

    @property
    def replaces(self) -> bool:
        """Whether this path asks for a replacement."""
        return self.kind.endswith("-replace")

    def as_replace(self) -> "PropertyDiff":
        """The same path, asking for a replacement."""
        return self if self.replaces else PropertyDiff(f"{self.kind}-replace", self.input_diff)


@dataclass(frozen=True)
class DiffResult:
    """A provider's answer. `detailed` None means that it gave no detail, which is not the same as no difference."""

    changes: bool
    replace_keys: tuple[str, ...] = ()
    stable_keys: tuple[str, ...] = ()
    changed_keys: tuple[str, ...] = ()
    detailed: Mapping[str, PropertyDiff] | None = None
    delete_before_replace: bool = False

    @property
    def replaces(self) -> bool:
        """Whether the resource must be replaced."""
        return bool(self.replace_keys) or any(d.replaces for d in (self.detailed or {}).values())

    def inverted(self) -> "DiffResult":
        """The diff that would undo this one (a refresh is diffed backwards)."""
        if self.detailed is None:
            return self
        turned = {p: PropertyDiff(_INVERSE.get(d.kind, d.kind), d.input_diff) for p, d in self.detailed.items()}
        return replace(self, detailed=turned)


@dataclass
class _Found:
    paths: dict[str, PropertyDiff] = field(default_factory=dict)

    def add(self, path: tuple[str | int, ...], kind: str) -> None:
        self.paths[format_path(path)] = PropertyDiff(kind, True)


def _walk(old: Any, new: Any, path: tuple[str | int, ...], found: _Found) -> None:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() | new.keys():
            where = (*path, key)
            if key not in new:
                if old[key] is not None:
                    found.add(where, "delete")
            elif key not in old:
                if new[key] is not None:
                    found.add(where, "add")
            else:
                _walk(old[key], new[key], where, found)
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            where = (*path, index)
            if index >= len(new):
                found.add(where, "delete")
            elif index >= len(old):
                found.add(where, "add")
            else:
                _walk(old[index], new[index], where, found)
    elif not equal(old, new):
        found.add(path, "add" if old is None else "delete" if new is None else "update")


def structural_diff(old: Mapping[str, Any], new: Mapping[str, Any]) -> DiffResult:
    """Compare inputs ourselves; secrets count by what they hold."""
    found = _Found()
    _walk(without_secrets(dict(old)), without_secrets(dict(new)), (), found)
    keys = sorted({str(parse_path(path)[0]) for path in found.paths})
    return DiffResult(bool(found.paths), changed_keys=tuple(keys), detailed=found.paths if found.paths else None)


def apply_replace_on_changes(diff: DiffResult, replace_on_changes: Sequence[str], has_init_errors: bool) -> DiffResult:
    """Turn changes below the user's `replaceOnChanges` paths into replacements; ValueError for a bad path."""
    if not diff.changes and not has_init_errors:
        return diff
    patterns = [parse_path(text) for text in replace_on_changes]
    detailed = None
    if diff.detailed is not None:
        detailed = {
            path: change.as_replace() if any(contains(p, parse_path(path)) for p in patterns) else change
            for path, change in diff.detailed.items()
        }
    keys = list(diff.replace_keys)
    keys += [k for k in diff.changed_keys if k not in keys and any(contains(p, (k,)) for p in patterns)]
    changes = diff.changes
    if has_init_errors and any(contains(p, (INIT_ERROR,)) for p in patterns):
        keys.append(INIT_ERROR)
        if detailed is not None:
            detailed[INIT_ERROR] = PropertyDiff("update-replace")
        changes = True
    return replace(diff, changes=changes, detailed=detailed, replace_keys=tuple(keys))
