"""The form of a checkpoint's JSON: what is not of it is named before anything reads it."""

from collections.abc import Callable, Mapping
from typing import Any


def misshapen(checkpoint: Any) -> str | None:
    """What does not have a checkpoint's form, so that reading it would fail."""
    if not isinstance(checkpoint, dict):
        return "`checkpoint` is no object"
    latest = checkpoint.get("latest")
    if not isinstance(latest or {}, dict):
        return "`latest` is no object"
    for key in ("manifest", "secrets_providers", "metadata"):
        if latest and not isinstance(latest.get(key) or {}, dict):
            return f"`{key}` is no object"
    for key in ("resources", "pending_operations"):
        entries = (latest or {}).get(key) or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            return f"`{key}` is no list of objects"
        for index, entry in enumerate(entries):
            if wrong := _misshapen_entry(entry, key == "resources"):
                return f"`{key}[{index}]` {wrong}"
    return _misshapen_manifest(latest or {})


def _misshapen_entry(entry: Mapping[str, Any], is_resource: bool) -> str | None:
    if not isinstance(entry.get("type"), str):
        return "has no `type`"
    state = entry if is_resource else entry.get("resource")
    if not isinstance(state, dict):
        return "has no `resource`"
    if missing := [name for name in ("urn", "type") if not isinstance(state.get(name), str)]:
        return f"has no `{missing[0]}`"
    if len(state["urn"].split("::", 3)) < 4:
        return f"has a `urn` that is none: {state['urn']}"
    for name, (fits, kind) in _FORMS.items():
        if state.get(name) is not None and not fits(state[name]):
            return f"({state['urn']}): `{name}` is no {kind}"
    return None


def _misshapen_manifest(latest: Mapping[str, Any]) -> str | None:
    manifest, secrets = latest.get("manifest") or {}, latest.get("secrets_providers") or {}
    if not all(_text(manifest[name]) for name in ("version", "magic") if manifest.get(name) is not None):
        return "`manifest`: version and magic must be text"
    if not isinstance(secrets.get("state") or {}, dict):
        return "`secrets_providers.state` is no object"
    return None


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _lists_of_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(item is None or _texts(item) for item in value.values())


def _numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(item, int | float) and not isinstance(item, bool) for item in value.values()
    )


def _of(fits: Callable[[Any], bool], kind: str, names: str) -> dict[str, tuple[Callable[[Any], bool], str]]:
    return dict.fromkeys(names.split(), (fits, kind))


_FORMS = {
    **_of(_text, "text", "id parent provider importID deletedWith created modified sourcePosition"),
    **_of(_flag, "true or false", "custom delete protect taint external pendingReplacement retainOnDelete"),
    **_of(_flag, "true or false", "refreshBeforeUpdate"),
    **_of(_object, "object", "inputs outputs"),
    **_of(_texts, "list of text", "dependencies initErrors additionalSecretOutputs aliases replaceWith"),
    **_of(_texts, "list of text", "ignoreChanges replaceOnChanges"),
    **_of(_lists_of_texts, "object of lists", "propertyDependencies"),
    **_of(_numbers, "object of numbers", "customTimeouts"),
}
