"""A resource as the state file knows it, and the list of them that a deployment is.

`ResourceState` objects have identity: the engine asks "is this the very entry", since one URN may stand in the list
several times (one live, others waiting for their deletion). Fields this engine does not know are carried along.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pulumi_embedded._errors import IntegrityError, NotSupported
from pulumi_embedded._statejson import Sealer
from pulumi_embedded._urn import is_provider_type, split_provider
from pulumi_embedded._values import PropertyMap

# Keys that change what a resource means; an engine that ignores them would do harm.
_NOT_CARRIED = {"viewOf": "views", "extensionRef": "parameterized extensions", "resourceHooks": "resource hooks"}


@dataclass(eq=False)
class ResourceState:
    """One entry of the state. Property maps in it are replaced, never changed in place."""

    urn: str
    type: str
    custom: bool
    id: Any = ""
    inputs: PropertyMap = field(default_factory=dict)
    outputs: PropertyMap = field(default_factory=dict)
    parent: str = ""
    delete: bool = False
    protect: bool = False
    taint: bool = False
    external: bool = False
    dependencies: list[str] = field(default_factory=list)
    init_errors: list[str] = field(default_factory=list)
    provider: str = ""
    property_dependencies: dict[str, list[str]] = field(default_factory=dict)
    pending_replacement: bool = False
    additional_secret_outputs: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    custom_timeouts: dict[str, float] = field(default_factory=dict)
    import_id: str = ""
    retain_on_delete: bool = False
    deleted_with: str = ""
    replace_with: list[str] = field(default_factory=list)
    created: str = ""
    modified: str = ""
    source_position: str = ""
    stack_trace: list[dict[str, str]] = field(default_factory=list)
    ignore_changes: list[str] = field(default_factory=list)
    hide_diff: list[str] = field(default_factory=list)
    replace_on_changes: list[str] = field(default_factory=list)
    replacement_trigger: Any = None
    refresh_before_update: bool = False
    extra: dict[str, Any] = field(default_factory=dict)
    entry: "Entry | None" = field(default=None, repr=False)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name != "entry":
            object.__setattr__(self, "entry", None)

    @property
    def is_provider(self) -> bool:
        """Whether this is a provider resource."""
        return is_provider_type(self.type)

    @property
    def name(self) -> str:
        """The last part of the URN."""
        return self.urn.split("::", 3)[3]

    def references(self, with_parent: bool = True) -> Iterable[str]:
        """URNs of everything this entry needs to stand before it, the provider's included."""
        if with_parent and self.parent:
            yield self.parent
        yield from self.dependencies
        for urns in self.property_dependencies.values():
            yield from urns
        if self.deleted_with:
            yield self.deleted_with
        yield from self.replace_with
        if self.provider:
            yield split_provider(self.provider)[0]

    def copy(self) -> "ResourceState":
        """A shallow copy with an identity of its own."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return ResourceState(**values)


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """What writing a resource takes, kept until a field of it changes: a state is written far oftener than changed."""

    data: bytes
    needs: frozenset[str]
    """URNs that have to stand before it."""
    features: frozenset[str]
    """What a reader has to know to use it."""


_FIELDS: tuple[tuple[str, str], ...] = (
    ("urn", "urn"), ("custom", "custom"), ("delete", "delete"), ("id", "id"), ("type", "type"),
    ("inputs", "inputs"), ("outputs", "outputs"), ("parent", "parent"), ("protect", "protect"), ("taint", "taint"),
    ("external", "external"), ("dependencies", "dependencies"), ("initErrors", "init_errors"),
    ("provider", "provider"), ("propertyDependencies", "property_dependencies"),
    ("pendingReplacement", "pending_replacement"), ("additionalSecretOutputs", "additional_secret_outputs"),
    ("aliases", "aliases"), ("customTimeouts", "custom_timeouts"), ("importID", "import_id"),
    ("retainOnDelete", "retain_on_delete"), ("deletedWith", "deleted_with"), ("replaceWith", "replace_with"),
    ("created", "created"), ("modified", "modified"), ("sourcePosition", "source_position"),
    ("stackTrace", "stack_trace"), ("ignoreChanges", "ignore_changes"), ("hideDiff", "hide_diff"),
    ("replaceOnChanges", "replace_on_changes"), ("replacementTrigger", "replacement_trigger"),
    ("refreshBeforeUpdate", "refresh_before_update"),
)  # fmt: skip
_ALWAYS = {"urn", "custom", "type"}
_SEALED = {"inputs", "outputs"}
_ATTRIBUTES = dict(_FIELDS)


def resource_from_json(data: Mapping[str, Any], sealer: Sealer) -> ResourceState:
    """One entry from its JSON."""
    for key, what in _NOT_CARRIED.items():
        if data.get(key):
            raise NotSupported(f"{what}, which {data.get('urn')} uses")
    values: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    place = str(data.get("urn"))
    for key, value in data.items():
        attribute = _ATTRIBUTES.get(key)
        if attribute is None:
            extra[key] = value
        elif value is None:
            continue
        elif key in _SEALED:
            values[attribute] = sealer.open(value, f"{place}/{key}")
        elif key == "replacementTrigger":
            values[attribute] = sealer.open_value(value, f"{place}/{key}")
        elif key == "propertyDependencies":  # older CLIs wrote null where a property depends on nothing
            values[attribute] = {name: urns or [] for name, urns in value.items()}
        else:
            values[attribute] = value
    for required in ("urn", "type"):
        if not values.get(required):
            raise IntegrityError(f"a resource has no `{required}`")
    values.setdefault("custom", False)
    return ResourceState(**values, extra=extra)


def resource_to_json(state: ResourceState, sealer: Sealer) -> dict[str, Any]:
    """The JSON of one entry, keys in the CLI's order, empty ones left out."""
    data: dict[str, Any] = {}
    for key, attribute in _FIELDS:
        value = getattr(state, attribute)
        if key in _SEALED:
            value = sealer.seal(value, f"{state.urn}/{key}")
        elif key == "replacementTrigger" and value is not None:
            value = sealer.seal_value(value, f"{state.urn}/{key}")
        elif key == "propertyDependencies":
            value = {name: value[name] for name in sorted(value)}
        if key in _ALWAYS or (value not in ("", None, False, 0) and value != [] and value != {}):
            data[key] = value
    data.update(state.extra)
    return data


def entry_of(state: ResourceState, sealer: Sealer) -> Entry:
    """What is written of a resource; worked out again only when a field has changed."""
    if state.entry is None:
        text = json.dumps(resource_to_json(state, sealer), separators=(",", ":"), ensure_ascii=False)
        state.entry = Entry(text.encode(), _needs(state), _features(state))
    return state.entry


def _needs(state: ResourceState) -> frozenset[str]:
    urns = {*state.dependencies, *(urn for urns in state.property_dependencies.values() for urn in urns)}
    urns.update(urn for urn in (state.parent, state.deleted_with) if urn)
    return frozenset(urns)


def _features(state: ResourceState) -> frozenset[str]:
    known = (
        ("replaceWith", state.replace_with),
        ("refreshBeforeUpdate", state.refresh_before_update),
        ("taint", state.taint),
    )
    return frozenset(name for name, used in known if used)


@dataclass
class PendingOperation:
    """A step that was begun and whose end is not known."""

    resource: ResourceState
    type: str


@dataclass
class Deployment:
    """What the checkpoint holds."""

    resources: list[ResourceState] = field(default_factory=list)
    pending: list[PendingOperation] = field(default_factory=list)
    secrets_state: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


def now() -> str:
    """The time as the state file writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def verify_integrity(resources: Iterable[ResourceState]) -> None:
    """Raise IntegrityError unless everything an entry refers to stands before it."""
    check = IntegrityCheck()
    for state in resources:
        check.add(state)


class IntegrityCheck:
    """The check of a list of resources, one after the other; `copy` goes on from here without changing this one."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._live: set[str] = set()
        self._providers: set[str] = set()

    def copy(self) -> "IntegrityCheck":
        """One that has seen the same."""
        other = IntegrityCheck()
        other._seen, other._live, other._providers = set(self._seen), set(self._live), set(self._providers)
        return other

    def add(self, state: ResourceState) -> None:
        """Take the next resource; IntegrityError says what is wrong with it."""
        urn = state.urn
        if not state.custom and state.id:
            raise IntegrityError(f"{urn} is a component, and has an id")
        if is_provider_type(state.type):
            self._providers.add(f"{urn}::{state.id}")
        if state.provider and state.provider not in self._providers and not state.pending_replacement:
            raise IntegrityError(f"{urn} refers to unknown provider {state.provider}")
        needs = state.entry.needs if state.entry is not None else _needs(state)
        if not needs <= self._seen:
            raise IntegrityError(self._missing(state))
        if not state.delete:
            if urn in self._live:
                raise IntegrityError(f"duplicate resource {urn}")
            self._live.add(urn)
        self._seen.add(urn)

    def _missing(self, state: ResourceState) -> str:
        urn, seen = state.urn, self._seen
        if state.parent and state.parent not in seen:
            return f"{urn} refers to parent {state.parent}, which is not before it"
        for name, urns in (("", state.dependencies), *state.property_dependencies.items()):
            for dependency in urns:
                if dependency not in seen:
                    of = f" of `{name}`" if name else ""
                    return f"{urn}: dependency{of} {dependency} is not before it"
        return f"{urn} is deleted with {state.deleted_with}, which is not before it"
