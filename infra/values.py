"""Reading one configuration value: from the text that Pulumi hands over to a typed value, or a reason why not.

Pulumi gives every value as text; lists and maps arrive as JSON. A kind says what is accepted in words (for the
documentation) and reads it; a value that does not fit raises `Unreadable` with the reason, never with the value of a
secret.
"""

import difflib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol


class Unreadable(ValueError):
    """The value does not fit its key."""


class Kind(Protocol):
    """One kind of value."""

    @property
    def words(self) -> str:
        """What is accepted, for the table of keys."""

    def read(self, text: str) -> Any:
        """The typed value; raises Unreadable."""


@dataclass(frozen=True)
class Text:
    """A line of text, or one of `choices`."""

    choices: tuple[str, ...] = ()
    pattern: str = ""
    example: str = ""

    @property
    def words(self) -> str:
        return " or ".join(f"`{choice}`" for choice in self.choices) if self.choices else "text"

    def read(self, text: str) -> str:
        if not text.strip():
            raise Unreadable("is empty; leave the key out instead")
        if text == "false" and "OFF" in self.choices:
            return "OFF"  # YAML 1.1 reads an unquoted OFF as a flag
        if self.choices and text not in self.choices:
            raise Unreadable(f"is {text!r}{did_you_mean(text, self.choices)}; it must be {self.words}".replace("`", ""))
        if self.pattern and not re.fullmatch(self.pattern, text):
            raise Unreadable(f"is {text!r}; write it like {self.example}")
        return text


@dataclass(frozen=True)
class Secret:
    """Text that must be set with `--secret`."""

    words: str = "text, secret"

    def read(self, text: str) -> str:
        if not text.strip():
            raise Unreadable("is empty; leave the key out instead")
        if any(char.isspace() for char in text.strip()) or text != text.strip():
            raise Unreadable("holds a space or a line break, which no token has")
        return text


@dataclass(frozen=True)
class Integer:
    """A whole number in a range."""

    low: int
    high: int | None = None

    @property
    def words(self) -> str:
        return f"whole number from {self.low}" + ("" if self.high is None else f" to {self.high}")

    def read(self, text: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,18}(\.0+)?", text.strip()):
            raise Unreadable(f"is {text!r}; it must be a {self.words}")
        value = int(float(text)) if "." in text else int(text)
        if value < self.low or (self.high is not None and value > self.high):
            raise Unreadable(f"is {value}; it must be a {self.words}")
        return value


@dataclass(frozen=True)
class Number:
    """A number above `above`, at most `high`."""

    above: float
    high: float

    @property
    def words(self) -> str:
        return f"number above {self.above:g}, at most {self.high:g}"

    def read(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise Unreadable(f"is {text!r}; it must be a {self.words}") from None
        if not self.above < value <= self.high:
            raise Unreadable(f"is {text}; it must be a {self.words}")
        return value


@dataclass(frozen=True)
class Flag:
    """true or false."""

    words: str = "`true` or `false`"

    def read(self, text: str) -> bool:
        if text.strip().lower() not in ("true", "false"):
            raise Unreadable(f"is {text!r}; it must be true or false")
        return text.strip().lower() == "true"


@dataclass(frozen=True)
class Texts:
    """A list of texts; one text alone counts as a list of one."""

    words: str = "list of texts"

    def read(self, text: str) -> tuple[str, ...]:
        value = _json(text) if text.lstrip().startswith("[") else [text]
        if not isinstance(value, list) or not value or not all(isinstance(e, str) and e.strip() for e in value):
            raise Unreadable(f"is {text}; it must be a list of texts with at least one entry")
        repeated = sorted({entry for entry in value if value.count(entry) > 1})
        if repeated:
            raise Unreadable(f"names {', '.join(repeated)} twice")
        return tuple(value)


@dataclass(frozen=True)
class Strings:
    """A map of names to texts. Numbers and flags become the text that YAML showed."""

    words: str = "map of names to texts"

    def read(self, text: str) -> dict[str, str]:
        value = _map(text, self.words)
        entries = {}
        for name, entry in value.items():
            if isinstance(entry, bool):
                entry = "true" if entry else "false"
            if not isinstance(entry, str | int | float):
                raise Unreadable(f"has a {_type(entry)} under {name}; each value must be a text")
            entries[name] = str(entry)
        return entries


@dataclass(frozen=True)
class Fields:
    """A map with fixed fields, each of its own kind. Gives a dict of those that are there."""

    fields: Mapping[str, Kind]
    required: tuple[str, ...]

    @property
    def words(self) -> str:
        return "map of " + ", ".join(
            f"`{name}` ({kind.words})" + ("" if name in self.required else "?") for name, kind in self.fields.items()
        )

    def read(self, text: str) -> dict[str, Any]:
        value = _map(text, self.words)
        for name in value:
            if name not in self.fields:
                known = ", ".join(self.fields)
                raise Unreadable(f"has an unknown field {name}{did_you_mean(name, self.fields)}; it knows {known}")
        missing = [name for name in self.required if name not in value]
        if missing:
            raise Unreadable(f"lacks {', '.join(missing)}")
        read = {}
        for name, entry in value.items():
            try:
                read[name] = self.fields[name].read(entry if isinstance(entry, str) else json.dumps(entry))
            except Unreadable as error:
                raise Unreadable(f"has a field {name} that {error}") from None
        return read


def did_you_mean(name: str, known: Collection[str]) -> str:
    """` (did you mean X?)`, or nothing where no known name is near."""
    by_plain = {plain(entry): entry for entry in known}
    found = difflib.get_close_matches(plain(name), by_plain, n=1, cutoff=0.6)
    return f" (did you mean {by_plain[found[0]]}?)" if found else ""


def plain(name: str) -> str:
    """`name` without what people get wrong first: case, dashes, underscores."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _map(text: str, words: str) -> dict[str, Any]:
    value = _json(text)
    if not isinstance(value, dict):
        raise Unreadable(f"is a {_type(value)}; it must be a {words}".replace("`", ""))
    return value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _type(value: object) -> str:
    names = {str: "text", bool: "flag", int: "number", float: "number", list: "list", dict: "map", type(None): "null"}
    return names.get(type(value), type(value).__name__)
