"""How the generated classes hand their properties to the Pulumi SDK.

The SDK takes an instance of an `input_type` class and uses the class's metadata to translate names, of nested
dictionaries too; only so does `idle_timeout` become `idleTimeout` on the wire while the keys of `env` stay as they are.
"""

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Union, cast, get_args, get_origin
from weakref import WeakSet

import pulumi

_SENT = (str, int, float, NoneType, Enum, Awaitable, pulumi.Output, pulumi.Resource, pulumi.Asset, pulumi.Archive)
"""What the SDK can send, beside maps, lists and its own input classes."""

_templates: WeakSet[pulumi.CustomResource] = WeakSet()


def properties(kind: type[object], whose: str = "", /, **values: Any) -> Mapping[str, Any]:
    """An instance of `kind` with these values; a property that is not named is registered as a mere output.

    `whose` names the resource in errors.

    Raises pulumi.RunError for a list where a map belongs and the other way round, and for what cannot be sent at all:
    the SDK would fail over it with its own traceback, before the provider can say what is wrong.
    """
    for field, value in values.items():
        _check_value(value, f"{whose}: {field}")
        _check_shape(kind.__annotations__[field], value, f"{whose}: {field}")
    instance = object.__new__(kind)
    instance.__dict__.update(dict.fromkeys(kind.__annotations__) | values)
    return cast(Mapping[str, Any], instance)


def _check_value(value: Any, path: str) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise pulumi.RunError(f"{path}: the key {key!r} must be text")
            _check_value(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_value(item, f"{path}[{index}]")
    elif not isinstance(value, _SENT) and not hasattr(value, "_pulumi_input_type"):
        raise pulumi.RunError(f"{path}: a value of type {type(value).__name__} cannot be sent")


def _check_shape(annotation: Any, value: Any, path: str) -> None:
    if not isinstance(value, (Mapping, list, tuple)):
        return
    choices = list(_choices(annotation))
    classes = [choice for choice in choices if getattr(choice, "__module__", "") == f"{__package__}._inputs"]
    takes_map = bool(classes) or any(get_origin(choice) is Mapping for choice in choices)
    takes_list = any(get_origin(choice) is Sequence for choice in choices)
    if isinstance(value, Mapping):
        if takes_list and not takes_map:
            raise pulumi.RunError(f"{path}: must be a list, not a map")
        for nested in classes:
            for key in value.keys() & nested.__annotations__.keys():
                _check_shape(nested.__annotations__[key], value[key], f"{path}.{key}")
    elif takes_map and not takes_list:
        raise pulumi.RunError(f"{path}: must be a map, not a list")


def _choices(annotation: Any) -> Iterator[Any]:
    """What a union may be, unions inside it included."""
    if get_origin(annotation) in (Union, UnionType):
        for choice in get_args(annotation):
            yield from _choices(choice)
    else:
        yield annotation


def secret(value: pulumi.Input[str] | None) -> pulumi.Output[str] | None:
    """`value` as a secret, or nothing."""
    return None if value is None else pulumi.Output.secret(value)


def options(opts: pulumi.ResourceOptions | None, **more: Any) -> pulumi.ResourceOptions:
    """`opts` with what the resource itself adds."""
    return pulumi.ResourceOptions.merge(pulumi.ResourceOptions(**more), opts)


def remember(template: pulumi.CustomResource) -> None:
    """Let `owner_of` know a template's id again."""
    _templates.add(template)


def a_template(value: object, kind: type[object], whose: str) -> None:
    """Raise pulumi.RunError unless `value` is a template; a mistaken id would fail over its missing attributes."""
    if not isinstance(value, kind):
        raise pulumi.RunError(
            f"{whose}: template: must be a {kind.__name__}, not a {type(value).__name__}; an id goes to template_id"
        )


def owner_of(template_id: object) -> pulumi.CustomResource | None:
    """The template of this program whose `id` this very output is."""
    if not isinstance(template_id, pulumi.Output):
        return None
    return next((template for template in _templates if template.id is template_id), None)
