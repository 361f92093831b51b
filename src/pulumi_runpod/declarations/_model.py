"""The vocabulary of a declaration: value types, fields, resources, functions. Plain frozen data, no behaviour."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final


class Replace(Enum):
    """When a change of a field cannot be made in place."""

    NEVER = "never"
    ALWAYS = "always"
    WHEN_LOWERED = "when lowered"
    WHEN_IT_COMES_OR_GOES = "when it comes or goes"


class _NotClearable:
    """Leaving such a field out of the program leaves it alone in the cloud."""

    def __repr__(self) -> str:
        return "NOT_CLEARABLE"


NOT_CLEARABLE: Final = _NotClearable()


@dataclass(frozen=True)
class Text:
    """A string. `pattern` is a full match; `hint` says in words what it asks for."""

    enum: tuple[str, ...] = ()
    enum_name: str = ""
    """How the SDKs call the type of these words; every `enum` has one."""
    pattern: str | None = None
    hint: str = ""
    min_length: int = 0


@dataclass(frozen=True)
class Integer:
    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True)
class Number:
    minimum: float | None = None


@dataclass(frozen=True)
class Flag:
    """true or false."""


@dataclass(frozen=True)
class Json:
    """Any value that JSON can hold."""


@dataclass(frozen=True)
class ListOf:
    item: "Type"
    min_items: int = 0
    unique: bool = False
    ordered: bool = True
    """False: the order says nothing, and another order is no change."""


@dataclass(frozen=True)
class MapOf:
    item: "Type"
    may_hold_secrets: bool = False
    """Values whose name or text looks like a credential are kept secret even where the program forgot to say so."""


@dataclass(frozen=True)
class Object:
    name: str
    doc: str
    fields: "tuple[Field, ...]"

    def field(self, wire: str) -> "Field | None":
        return next((f for f in self.fields if f.wire == wire), None)


Type = Text | Integer | Number | Flag | Json | ListOf | MapOf | Object


def constant(word: str) -> str:
    """`hf-cache` -> `HF_CACHE`: how the SDKs call one of an enumeration's words."""
    return re.sub(r"\W", "_", word).upper()


def camel(name: str) -> str:
    """`idle_timeout` -> `idleTimeout`."""
    return re.sub(r"_([a-z0-9])", lambda m: m.group(1).upper(), name)


@dataclass(frozen=True)
class Field:
    """One property of a resource, of a nested object, of the provider configuration or of a function."""

    name: str
    """In Python. On the wire, in the schema and in RunPod's API it is the camelCase form."""
    type: Type
    doc: str
    required: bool = False
    default: Any = None
    """Filled in by Check. An Object with `default={}` is filled with the defaults of its own fields."""
    conditional_default: str = ""
    """Set where the default depends on other fields; the resource's rule fills it in, this is its description."""
    secret: bool = False
    replace: Replace = Replace.NEVER
    clear: Any = NOT_CLEARABLE
    """What a PATCH sends when the program no longer has the field. Also the value that means "nothing" when read."""
    computed: bool = False
    """Only an output."""
    provider_only: bool = False
    """Only an input, for the provider itself; never sent to RunPod as such."""
    write_only: bool = False
    """Sent, but never given back by RunPod, so drift cannot be seen."""
    server_chosen: bool = False
    """RunPod picks a value when the field is left out; the picked value is no drift."""
    autoname: bool = False
    """Left out, it becomes the resource's logical name and a short suffix."""
    environment: str = ""
    """Only in the provider configuration: the environment variable that goes with it."""
    sdk_hidden: bool = False
    """Not a keyword argument of the Python class as such; the SDK computes it."""
    unit: str = ""
    """Of a number: `GB`, `s`, `ms`, ..."""
    ours: str = ""
    """What is not RunPod's but this provider's: `default`, `range`, or both. A test holds the rest against the API."""
    left_out: str = ""
    """What happens when a program no longer has it, where a rule between fields decides that."""

    @property
    def wire(self) -> str:
        return camel(self.name)

    @property
    def stays(self) -> bool:
        """Whether what is there stays as it is once the program no longer says the field."""
        fixed = self.required or self.autoname or self.default is not None or self.conditional_default != ""
        comes_or_goes = self.replace is Replace.WHEN_IT_COMES_OR_GOES
        return self.is_input and not fixed and not comes_or_goes and self.clear is NOT_CLEARABLE

    @property
    def is_input(self) -> bool:
        return not self.computed

    @property
    def is_output(self) -> bool:
        return not self.provider_only


@dataclass(frozen=True)
class Resource:
    """A resource as users see it, and as Check, Diff, the SDK, the schema and the docs page follow it."""

    name: str
    doc: str
    fields: tuple[Field, ...]
    path: str
    """Of the REST API: `POST`, `PATCH <path>/{id}` and so on. Empty where the provider itself makes the thing."""
    example: str
    typescript: str
    """The same with the SDK that `pulumi package gen-sdk` writes from the schema."""
    notes: tuple[str, ...] = ()
    """Sentences for the docs page: what is surprising about its life."""
    delete_before_replace: bool = False

    @property
    def token(self) -> str:
        return f"runpod:index:{self.name}"

    @property
    def inputs(self) -> tuple[Field, ...]:
        return tuple(f for f in self.fields if f.is_input)

    @property
    def outputs(self) -> tuple[Field, ...]:
        return tuple(f for f in self.fields if f.is_output)

    def field(self, wire: str) -> Field | None:
        return next((f for f in self.fields if f.wire == wire), None)


@dataclass(frozen=True)
class Function:
    """An invoke: arguments in, one result object out."""

    name: str
    """In Python, `get_gpus`; the token has the camelCase form."""
    doc: str
    arguments: tuple[Field, ...]
    result: Object

    @property
    def token(self) -> str:
        return f"runpod:index:{camel(self.name)}"


def nothing(field: Field, value: Any) -> bool:
    """Whether `value` says the same as leaving the field out."""
    if value is None:
        return True
    if field.clear is not NOT_CLEARABLE and value == field.clear:
        return True
    return isinstance(value, (list, dict, Mapping, str)) and len(value) == 0
