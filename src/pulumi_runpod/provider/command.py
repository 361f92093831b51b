"""A container's command, which has three spellings that may mean the same.

RunPod stores one string, `args`: a shell string (the arguments), or the JSON text `{"entrypoint": [...], "cmd":
[...]}`. It answers with the string and with both lists decoded (runpod-api-live.md §2.2).
"""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from pulumi_runpod.provider.values import Properties, has_unknown, plain

KEYS = ("args", "entrypoint", "cmd")
Command = tuple[tuple[str, ...], tuple[str, ...]]


def decode_args(args: str) -> Command:
    """What `args` means as (entrypoint, cmd)."""
    text = args.strip()
    if text.startswith("{"):
        try:
            document: Any = json.loads(text)
        except ValueError:
            document = None
        if (
            isinstance(document, dict)
            and set(document) <= {"entrypoint", "cmd"}
            and all(map(is_words, document.values()))
        ):
            return _words(document.get("entrypoint")), _words(document.get("cmd"))
    try:
        return (), tuple(shlex.split(text))
    except ValueError:
        # Unbalanced quotes: RunPod splits at white space (runpod-api-live.md §2.2).
        return (), tuple(text.split())


def command_of(properties: Mapping[str, Any]) -> Command | None:
    """The command that the three properties mean together, or None where part of it is unknown.

    The lists win over `args` where they are given: RunPod answers with all three, and they agree then.
    """
    lists = {key: properties.get(key) for key in ("entrypoint", "cmd")}
    if has_unknown(lists):
        return None
    lists = plain(lists)
    if lists["entrypoint"] or lists["cmd"]:
        return _words(lists["entrypoint"]), _words(lists["cmd"])
    args = properties.get("args")
    if has_unknown(args):
        return None
    args = plain(args)
    return decode_args(args if isinstance(args, str) else "")


def same_command(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    old_command, new_command = command_of(old), command_of(new)
    return old_command is not None and old_command == new_command


def command_body(properties: Properties, *, clear: bool) -> Properties:
    """The part of a create or PATCH body that sets the command. `clear` empties what is not given."""
    lists = {key: plain(properties.get(key)) or [] for key in ("entrypoint", "cmd")}
    if lists["entrypoint"] or lists["cmd"]:
        return lists
    args = plain(properties.get("args")) or ""
    if args or clear:
        return {"args": args}
    return {}


def command_inputs(actual: Mapping[str, Any], old_inputs: Mapping[str, Any]) -> Properties:
    """How the actual command would be spelled as inputs: as the old inputs spell it, where they still mean it."""
    if any(old_inputs.get(key) is not None for key in KEYS) and same_command(actual, old_inputs):
        return {key: old_inputs[key] for key in KEYS if old_inputs.get(key) is not None}
    args = plain(actual.get("args")) or ""
    command = command_of(actual)
    if command is None or not any(command):
        return {}
    if args and not args.strip().startswith("{"):
        return {"args": args}
    entrypoint, cmd = command
    spelled: Properties = {"entrypoint": list(entrypoint)} if entrypoint else {}
    if cmd:
        spelled["cmd"] = list(cmd)
    return spelled


def is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _words(value: Any) -> tuple[str, ...]:
    return tuple(str(word) for word in value) if isinstance(value, (list, tuple)) else ()
