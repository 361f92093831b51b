"""Property paths: `a.b[0]`, `a["k.x"]`, with `*` for "any" in ignoreChanges and replaceOnChanges."""

import re
from collections.abc import Sequence
from typing import Any

from pulumi_embedded._values import Secret

Path = tuple[str | int, ...]

_TOKEN = re.compile(
    r"""\.?\[\"(?P<quoted>(?:\\\"|[^\"])*)\"\]   # ["any text"]
      | \.?\[(?P<star>\*)\]
      | \.?\[(?P<index>-?\d+)\]
      | \.?(?P<name>[^.\[\]]+)""",
    re.VERBOSE,
)
_PLAIN = re.compile(r"[A-Za-z0-9_]+\Z")


def parse_path(text: str) -> Path:
    """The path's elements; ValueError says what is wrong with it."""
    elements: list[str | int] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or (position == 0 and text[0] == "."):
            raise ValueError(f"`{text}` is not a property path (at character {position + 1})")
        if match["quoted"] is not None:
            elements.append(match["quoted"].replace('\\"', '"'))
        elif match["star"] is not None:
            elements.append("*")
        elif match["index"] is not None:
            elements.append(int(match["index"]))
        else:
            elements.append(match["name"])
        position = match.end()
    return tuple(elements)


def format_path(path: Sequence[str | int]) -> str:
    """The path as text, in the form `parse_path` reads."""
    text = ""
    for element in path:
        if isinstance(element, int):
            text += f"[{element}]"
        elif _PLAIN.match(element):
            text += f".{element}" if text else element
        else:
            quoted = element.replace('"', '\\"')
            text += f'["{quoted}"]'
    return text


def contains(pattern: Sequence[str | int], path: Sequence[str | int]) -> bool:
    """Whether `path` lies at or below `pattern`."""
    if len(path) < len(pattern):
        return False
    return all(p == "*" or (p == q and type(p) is type(q)) for p, q in zip(pattern, path, strict=False))


def _bare(value: Any, secret: bool) -> tuple[Any, bool]:
    while isinstance(value, Secret):
        value, secret = value.value, True
    return value, secret


def reset(path: Sequence[str | int], old: Any, new: Any, old_secret: bool = False, new_secret: bool = False) -> bool:
    """Put the old value back at `path` in `new`, in place. False when the path cannot be followed.

    `new` must be a deep copy: its containers are changed.
    """
    if not path:
        return False
    old, old_secret = _bare(old, old_secret)
    new, new_secret = _bare(new, new_secret)
    key, rest = path[0], path[1:]

    def carried(value: Any) -> Any:
        return Secret(value) if old_secret and not new_secret else value

    if key == "*":
        return _reset_all(rest, old, new, carried, old_secret, new_secret)
    if isinstance(key, int):
        if not isinstance(old, list) or not isinstance(new, list):
            return not isinstance(old, list) and not isinstance(new, list)
        if key < 0 or key >= len(old) or key >= len(new):
            return key >= 0 and not rest and key >= len(old) and key >= len(new)
        if rest:
            return reset(rest, old[key], new[key], old_secret, new_secret)
        new[key] = carried(old[key])
        return True
    if not rest:
        if isinstance(old, dict) and key in old:
            if not isinstance(new, dict):
                return False
            new[key] = carried(old[key])
        elif isinstance(new, dict):
            new.pop(key, None)
        return True
    if not isinstance(old, dict) or not isinstance(new, dict):
        return not isinstance(old, dict) and not isinstance(new, dict)
    if key not in new:
        return key not in old
    return reset(rest, old.get(key), new[key], old_secret, new_secret)


def _reset_all(rest: Sequence[str | int], old: Any, new: Any, carried: Any, old_secret: bool, new_secret: bool) -> bool:
    if not rest:
        if isinstance(new, dict):
            if isinstance(old, dict):
                for key in [key for key in new if key not in old]:
                    del new[key]
                new.update({key: carried(value) for key, value in old.items()})
            return True
        if isinstance(new, list):
            if isinstance(old, list):
                for index in range(min(len(old), len(new))):
                    new[index] = carried(old[index])
                return len(old) == len(new)
            return True
        return False
    if isinstance(old, dict) and isinstance(new, dict):
        return all(key in new and reset(rest, value, new[key], old_secret, new_secret) for key, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return all(reset(rest, a, b, old_secret, new_secret) for a, b in zip(old, new, strict=False)) and len(
            old
        ) == len(new)
    return False
