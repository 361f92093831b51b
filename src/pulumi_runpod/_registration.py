"""How the generated classes hand their properties to the Pulumi SDK.

The SDK takes an instance of an `input_type` class and uses the class's metadata to translate names, of nested
dictionaries too; only so does `idle_timeout` become `idleTimeout` on the wire while the keys of `env` stay as they are.
"""

from collections.abc import Mapping
from typing import Any, cast
from weakref import WeakSet

import pulumi

_templates: WeakSet[pulumi.CustomResource] = WeakSet()


def properties(kind: type[object], **values: Any) -> Mapping[str, Any]:
    """An instance of `kind` with these values; a property that is not named is registered as a mere output."""
    instance = object.__new__(kind)
    instance.__dict__.update(dict.fromkeys(kind.__annotations__) | values)
    return cast(Mapping[str, Any], instance)


def secret(value: pulumi.Input[str] | None) -> pulumi.Output[str] | None:
    """`value` as a secret, or nothing."""
    return None if value is None else pulumi.Output.secret(value)


def options(opts: pulumi.ResourceOptions | None, **more: Any) -> pulumi.ResourceOptions:
    """`opts` with what the resource itself adds."""
    return pulumi.ResourceOptions.merge(pulumi.ResourceOptions(**more), opts)


def remember(template: pulumi.CustomResource) -> None:
    """Let `owner_of` know a template's id again."""
    _templates.add(template)


def owner_of(template_id: object) -> pulumi.CustomResource | None:
    """The template of this program whose `id` this very output is."""
    if not isinstance(template_id, pulumi.Output):
        return None
    return next((template for template in _templates if template.id is template_id), None)
