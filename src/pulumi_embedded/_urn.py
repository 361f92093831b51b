"""URNs: `urn:pulumi:<stack>::<project>::<qualified type>::<name>`, and provider references `<urn>::<id>`."""

STACK_TYPE = "pulumi:pulumi:Stack"
PROVIDER_PREFIX = "pulumi:providers:"
_PREFIX = "urn:pulumi:"


def make_urn(stack: str, project: str, parent: str, type_: str, name: str) -> str:
    """The URN of a resource; the root stack's type is not part of its children's."""
    if parent and qualified_type(parent) != STACK_TYPE:
        type_ = f"{qualified_type(parent)}${type_}"
    return f"{_PREFIX}{stack}::{project}::{type_}::{name}"


def is_urn(text: str) -> bool:
    """Whether it has a URN's four parts."""
    return text.startswith(_PREFIX) and text.count("::") >= 3


def qualified_type(urn: str) -> str:
    """The type with its parents' types in front."""
    return urn.split("::", 3)[2]


def type_of(urn: str) -> str:
    """The resource's own type."""
    return qualified_type(urn).rsplit("$", 1)[-1]


def name_of(urn: str) -> str:
    """The resource's name."""
    return urn.split("::", 3)[3]


def stack_of(urn: str) -> str:
    """The stack in the URN."""
    return urn.split("::", 3)[0].removeprefix(_PREFIX)


def is_provider_type(type_: str) -> bool:
    """Whether resources of this type are providers."""
    return type_.startswith(PROVIDER_PREFIX)


def package_of(type_: str) -> str:
    """The package in a type token; for a provider type the package it provides."""
    return type_.removeprefix(PROVIDER_PREFIX) if is_provider_type(type_) else type_.split(":", 1)[0]


def split_provider(reference: str) -> tuple[str, str]:
    """The (urn, id) of a provider reference."""
    urn, _, id_ = reference.rpartition("::")
    return urn, id_
