"""Property values as the provider works with them: plain Python data plus `UNKNOWN` and `Secret`.

`None`, `bool`, `int`, `float`, `str`, `list`, `dict[str, ...]`; a number without a fraction is always an `int`.
`UNKNOWN` stands for what only a real run will tell, `Secret` wraps what must not be shown. A `Secret` never prints
its content and never wraps another one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

Value = Any
Properties = dict[str, Any]


class _Unknown:
    def __repr__(self) -> str:
        return "UNKNOWN"

    def __bool__(self) -> bool:
        raise TypeError("an unknown value is neither true nor false")


UNKNOWN: Final = _Unknown()


@dataclass(frozen=True, eq=True)
class Secret:
    """A value that is encrypted in the state and hidden everywhere else."""

    value: Value

    def __post_init__(self) -> None:
        if isinstance(self.value, Secret):
            object.__setattr__(self, "value", self.value.value)

    def __repr__(self) -> str:
        return "Secret(...)"

    __hash__ = None  # type: ignore[assignment]  # the content may be a list or a dict


def plain(value: Value) -> Value:
    """`value` without any secret wrapper, at any depth."""
    if isinstance(value, Secret):
        return plain(value.value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def has_unknown(value: Value) -> bool:
    if isinstance(value, Secret):
        return has_unknown(value.value)
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    if isinstance(value, dict):
        return any(has_unknown(item) for item in value.values())
    return value is UNKNOWN


def secret_texts(value: Value, *, inside: bool = False) -> Iterator[str]:
    """Every string under a secret wrapper: what has to be registered for redaction."""
    if isinstance(value, Secret):
        yield from secret_texts(value.value, inside=True)
    elif isinstance(value, list):
        for item in value:
            yield from secret_texts(item, inside=inside)
    elif isinstance(value, dict):
        for item in value.values():
            yield from secret_texts(item, inside=inside)
    elif inside and isinstance(value, str):
        yield value


def secret_like(new: Value, *patterns: Value) -> Value:
    """`new`, with a secret wrapper at each place where one of `patterns` has one."""
    if any(isinstance(pattern, Secret) for pattern in patterns):
        return Secret(plain(new))
    if isinstance(new, Secret):
        return new
    if isinstance(new, dict):
        maps = [pattern for pattern in patterns if isinstance(pattern, dict)]
        return {key: secret_like(item, *(m[key] for m in maps if key in m)) for key, item in new.items()}
    if isinstance(new, list):
        lists = [pattern for pattern in patterns if isinstance(pattern, list)]
        # Positions shift when something is inserted, so one secret element makes every element secret.
        if any(_holds_secret(entry) for entries in lists for entry in entries):
            return [Secret(plain(item)) for item in new]
    return new


def _holds_secret(value: Value) -> bool:
    if isinstance(value, dict):
        return any(_holds_secret(item) for item in value.values())
    if isinstance(value, list):
        return any(_holds_secret(item) for item in value)
    return isinstance(value, Secret)


_CREDENTIAL_NAME = re.compile(r"(?i)(^|_)(token|tokens|password|passwd|passphrase|secret|credential|credentials)($|_)")
_CREDENTIAL_KEY = re.compile(r"(?i)(^|_)(api|access|private|secret|auth|encryption|signing)_?key($|_)")
_NOT_A_CREDENTIAL = re.compile(r"(?i)^(|\d+(\.\d+)?|true|false|null|none)$")
_CREDENTIAL_VALUE = re.compile(r"\b(?:rpa|rps|hf|ghp|gho|glpat|sk)[_-][A-Za-z0-9_-]{8,}|://[^/\s:@]+:[^/\s@]+@")


def looks_like_credential(name: str, value: Value) -> bool:
    """Whether an environment variable ought to be secret although nobody marked it.

    `MAX_TOKENS=8192` and `{{ RUNPOD_SECRET_x }}`, a mere reference, are none.
    """
    named = _CREDENTIAL_NAME.search(name) or _CREDENTIAL_KEY.search(name)
    if value is UNKNOWN:
        return bool(named)
    if not isinstance(value, str) or _NOT_A_CREDENTIAL.match(value) or value.startswith("{{"):
        return False
    return bool(named or _CREDENTIAL_VALUE.search(value))


_QUOTED_KEY = re.compile(r'\["((?:[^"\\]|\\.)*)"\]', re.DOTALL)
_PLAIN_KEY = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


def join_path(parent: str, key: str | int) -> str:
    """A property path as Pulumi writes it: `gpu.pools[0]`, `env.HOME`, `env["a.b"]`."""
    if isinstance(key, int):
        return f"{parent}[{key}]"
    if _PLAIN_KEY.fullmatch(key):
        return f"{parent}.{key}" if parent else key
    quoted = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'{parent}["{quoted}"]'


def path_root(path: str) -> str:
    """The top-level property that a path lies in."""
    if quoted := _QUOTED_KEY.match(path):
        return re.sub(r"\\(.)", r"\1", quoted.group(1), flags=re.DOTALL)
    return re.split(r"[.\[]", path, maxsplit=1)[0]
