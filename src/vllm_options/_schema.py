"""One vLLM version's options, and how one text becomes arguments of `vllm serve`."""

import functools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Any

from vllm_options._errors import BadValue, UnknownVersion
from vllm_options._names import nearest

TRUE_WORDS = frozenset({"true", "1", "yes", "on"})
FALSE_WORDS = frozenset({"false", "0", "no", "off"})
_SIZE = re.compile(r"\d+(?:\.\d+)?[kmgt]|\d+[KMGT]|-?\d+")
_BARE_SIZE = re.compile(r"\b(\d+(?:\.\d+)?)[kKmMgGtT]\b")
_QUOTED = re.compile(r'("(?:[^"\\]|\\.)*")')


def parse_bool(name: str, text: str) -> bool:
    """Read true/1/yes/on and false/0/no/off; anything else is refused."""
    word = text.strip().lower()
    if word in TRUE_WORDS:
        return True
    if word in FALSE_WORDS:
        return False
    raise BadValue(name, text, "is neither yes nor no; write true or false")


@dataclass(frozen=True)
class Option:
    """One option of `vllm serve`, as its own parser describes it."""

    flag: str
    """With dashes: `--max-model-len`."""
    kind: str
    """str, int, float, bool, flag (no value, cannot be negated), json, json_or_str, size (4k, 2G), size_or_auto."""
    many: str | None
    """`list` (one flag, several values), `repeat` (the flag again for each value) or None."""
    value_optional: bool
    negatable: bool
    choices: tuple[str | int, ...] | None
    suggestions: tuple[str, ...]
    """Known words where other words are allowed as well."""
    default: Any
    """None also where vLLM computes the default."""
    help: str
    aliases: tuple[str, ...]

    @property
    def env(self) -> str:
        """The name of its environment variable: MAX_MODEL_LEN."""
        return self.flag.removeprefix("--").replace("-", "_").upper()

    def arguments(self, text: str, name: str | None = None) -> tuple[str, ...]:
        """Turn the text of a variable into arguments; `name` is the variable to blame (an alias, say).

        Raises BadValue with a reason that says what would be right.
        """
        name = name or self.env
        text = text.strip()
        if self.kind == "bool":
            return (self.flag,) if parse_bool(name, text) else (f"--no-{self.flag.removeprefix('--')}",)
        if self.kind == "flag":
            return (self.flag,) if parse_bool(name, text) else ()
        if self.flag == "--config":
            # vLLM looks for this one, and only this one, as a word of its own.
            return (self.flag, text)
        if self.many is None:
            return (f"{self.flag}={self._value(name, text)}",)
        values = [self._value(name, item) for item in _items(name, text)]
        if self.many == "repeat":
            return tuple(f"{self.flag}={value}" for value in values)
        if bad := [value for value in values if value.startswith("-")]:
            raise BadValue(name, text, f"has a value that begins with a dash: {bad[0]}")
        return (self.flag, *values)

    def _value(self, name: str, text: str) -> str:
        if self.choices is not None:
            return self._choice(name, text)
        reader = _READERS.get(self.kind)
        return text if reader is None else reader(name, text)

    def _choice(self, name: str, text: str) -> str:
        words = [str(choice) for choice in self.choices or ()]
        if text in words:
            return text
        folded = text.lower().replace("-", "_")
        same = [word for word in words if word.lower().replace("-", "_") == folded]
        if len(same) == 1:
            return same[0]
        raise BadValue(name, text, f"is not one of {', '.join(words)}")


def _items(name: str, text: str) -> list[str]:
    """The items of a list: a JSON array, one JSON object, or words between commas."""
    if text[:1] in ("[", "{"):
        try:
            value = json.loads(text)
        except ValueError as error:
            raise BadValue(name, text, f"is not valid JSON ({error}), nor a list of words between commas") from None
        values = value if isinstance(value, list) else [value]
        items = [item if isinstance(item, str) else json.dumps(item, ensure_ascii=False) for item in values]
    else:
        items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise BadValue(name, text, "is an empty list; leave the variable out instead")
    return items


def _int(name: str, text: str) -> str:
    if re.fullmatch(r"[+-]?[0-9]+", text) is None:
        raise BadValue(name, text, "is not a whole number")
    return text


def _float(name: str, text: str) -> str:
    try:
        value = float(text)
    except ValueError:
        raise BadValue(name, text, "is not a number") from None
    if not math.isfinite(value):
        raise BadValue(name, text, "is not a finite number")
    return text


def _size(name: str, text: str) -> str:
    if _SIZE.fullmatch(text) is None:
        raise BadValue(name, text, "is not a whole number, nor one like 4k (4000), 4K (4096) or 25.6k")
    return text


def _size_or_auto(name: str, text: str) -> str:
    return text if text.lower() == "auto" else _size(name, text)


def _json(name: str, text: str) -> str:
    # vLLM takes bare sizes such as 80m inside its JSON; outside of strings they are read as numbers here too.
    parts = _QUOTED.split(text)
    parts[::2] = [_BARE_SIZE.sub(r"\1", part) for part in parts[::2]]
    try:
        json.loads("".join(parts))
    except ValueError as error:
        raise BadValue(name, text, f"is not valid JSON: {error}") from None
    return text


def _json_or_str(name: str, text: str) -> str:
    return _json(name, text) if text.startswith("{") else text


_READERS = {
    "int": _int,
    "float": _float,
    "size": _size,
    "size_or_auto": _size_or_auto,
    "json": _json,
    "json_or_str": _json_or_str,
}


@dataclass(frozen=True)
class Schema:
    """All options of one vLLM version."""

    version: str
    by_env: Mapping[str, Option]
    environment: frozenset[str]
    """The environment variables that vLLM itself reads."""
    removed: Mapping[str, str]
    """Names that older vLLM versions or older workers took, each with what to do instead."""

    def __iter__(self) -> Iterator[Option]:
        return iter(self.by_env.values())

    def __len__(self) -> int:
        return len(self.by_env)

    def by_flag(self, flag: str) -> Option | None:
        """The option that a flag (long, short, negated, with `_` for `-`) belongs to."""
        flag = flag.split("=", 1)[0]
        normal = flag.replace("_", "-") if flag.startswith("--") else flag
        return self._flags.get(normal)

    @functools.cached_property
    def _flags(self) -> dict[str, Option]:
        flags: dict[str, Option] = {}
        for option in self.by_env.values():
            flags[option.flag] = option
            flags.update(dict.fromkeys(option.aliases, option))
            if option.negatable:
                flags[f"--no-{option.flag.removeprefix('--')}"] = option
        return flags

    def nearest(self, name: str) -> str | None:
        """The variable of an option that `name` looks like, if any does."""
        return nearest(name, self.by_env)


def versions() -> tuple[str, ...]:
    """The vLLM versions with option data, oldest first."""
    files = resources.files("vllm_options").joinpath("data")
    found = [entry.name.removesuffix(".json") for entry in files.iterdir() if entry.name[:1].isdigit()]
    return tuple(sorted(found, key=lambda version: [int(part) for part in version.split(".")]))


def latest_version() -> str:
    """The newest vLLM version with option data."""
    return versions()[-1]


@functools.cache
def options(version: str) -> Schema:
    """The options of one vLLM version, for example `options("0.32.0")`.

    Raises UnknownVersion where no data was kept.
    """
    if version not in versions():
        raise UnknownVersion(version, versions())
    data = resources.files("vllm_options").joinpath("data")
    document = json.loads(data.joinpath(f"{version}.json").read_text(encoding="utf-8"))
    removed = json.loads(data.joinpath("removed.json").read_text(encoding="utf-8"))
    found = [_option(entry) for entry in document["options"]]
    by_env = {option.env: option for option in found}
    return Schema(
        version=version,
        by_env=MappingProxyType(by_env),
        environment=frozenset(document["environment"]),
        removed=MappingProxyType({name: remedy for name, remedy in removed.items() if name not in by_env}),
    )


def _option(entry: dict[str, Any]) -> Option:
    choices = entry.pop("choices")
    return Option(
        choices=None if choices is None else tuple(choices),
        suggestions=tuple(entry.pop("suggestions")),
        aliases=tuple(entry.pop("aliases")),
        **entry,
    )
