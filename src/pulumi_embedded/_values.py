"""Property values in memory, and the three things every rule asks of them: equal, unknown inside, secret inside.

A value is None, bool, int, float, str, list, dict, or one of the wrappers here. Numbers are ints wherever they are
whole, as in the state file. A value that has been handed to a resource's state is never changed in place.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

PropertyMap = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Secret:
    """A value that is encrypted in the state and never shown."""

    value: Any

    def __repr__(self) -> str:
        return "Secret(…)"


class Unknown:
    """What only the cloud knows, and not before the update has run. There is one: `UNKNOWN`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


@dataclass(frozen=True, slots=True, eq=False)
class ResourceRef:
    """A resource passed as a value. `id` is None for a component, UNKNOWN before its creation."""

    urn: str
    id: Any
    package_version: str = ""


def equal(left: Any, right: Any) -> bool:
    """Deep equality as the CLI has it: true is not 1, 6 is 6.0, a secret equals only a secret, unknowns are equal."""
    if isinstance(left, Secret) or isinstance(right, Secret):
        return isinstance(left, Secret) and isinstance(right, Secret) and equal(left.value, right.value)
    if isinstance(left, ResourceRef) or isinstance(right, ResourceRef):
        if not (isinstance(left, ResourceRef) and isinstance(right, ResourceRef)):
            return False
        return left.urn == right.urn and (equal(left.id, right.id))
    if isinstance(left, list):
        return (
            isinstance(right, list)
            and len(left) == len(right)
            and all(equal(a, b) for a, b in zip(left, right, strict=True))
        )
    if isinstance(left, dict):
        # A key that holds null counts as a key that is not there.
        return isinstance(right, dict) and all(
            equal(left.get(key), right.get(key)) for key in left.keys() | right.keys()
        )
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        return left is right
    return bool(left == right)


def _parts(value: Any) -> Iterator[Any]:
    if isinstance(value, Secret):
        yield value.value
    elif isinstance(value, ResourceRef):
        yield value.id
    elif isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def has_unknown(value: Any) -> bool:
    """Whether an unknown is anywhere inside."""
    return value is UNKNOWN or any(has_unknown(part) for part in _parts(value))


def has_secret(value: Any) -> bool:
    """Whether a secret is anywhere inside."""
    return isinstance(value, Secret) or any(has_secret(part) for part in _parts(value))


def rebuild(value: Any, change: Callable[[Any], Any]) -> Any:
    """A copy with `change` applied to every wrapper and leaf, outermost first; containers are copied."""
    value = change(value)
    if isinstance(value, Secret):
        return Secret(rebuild(value.value, change))
    if isinstance(value, dict):
        return {key: rebuild(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [rebuild(item, change) for item in value]
    return value


def without_unknowns(value: Any) -> Any:
    """A copy without what is not known: keys and elements that are unknown are left out, as if never given."""
    if isinstance(value, dict):
        return {key: without_unknowns(item) for key, item in value.items() if not _is_unknown(item)}
    if isinstance(value, list):
        return [without_unknowns(item) for item in value if not _is_unknown(item)]
    if isinstance(value, Secret):
        return Secret(without_unknowns(value.value))
    return value


def _is_unknown(value: Any) -> bool:
    return isinstance(value, Unknown) or (isinstance(value, Secret) and _is_unknown(value.value))


def without_secrets(value: Any) -> Any:
    """A copy with every secret replaced by what it holds."""
    if isinstance(value, Secret):
        return without_secrets(value.value)
    if isinstance(value, dict):
        return {key: without_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_secrets(item) for item in value]
    if isinstance(value, ResourceRef):
        return ResourceRef(value.urn, without_secrets(value.id), value.package_version)
    return value


def keep_secret(new: Any, old: Any) -> Any:
    """`new`, with everything marked secret that was secret in `old` at the same place."""
    if isinstance(old, Secret):
        return new if isinstance(new, Secret) else Secret(new)
    if isinstance(new, dict) and isinstance(old, dict):
        return {key: keep_secret(value, old.get(key)) for key, value in new.items()}
    if isinstance(new, list) and isinstance(old, list):
        known = [*old, *[None] * len(new)]
        # An item may have moved: where one of a list's items is secret, none is shown.
        hidden = any(has_secret(item) for item in old) and len(new) != len(old)
        marked = [keep_secret(item, known[i]) for i, item in enumerate(new)]
        return [Secret(item) if hidden and not isinstance(item, Secret) else item for item in marked]
    return new


def deep_copy(value: Any) -> Any:
    """A copy whose containers may be changed without touching the original."""
    return rebuild(value, lambda item: item)


def secret_strings(value: Any, inside: bool = False) -> Iterator[str]:
    """Every string that stands somewhere inside a secret (for redaction)."""
    if isinstance(value, Secret):
        yield from secret_strings(value.value, True)
    elif isinstance(value, str):
        if inside:
            yield value
    else:
        for part in _parts(value):
            yield from secret_strings(part, inside)
