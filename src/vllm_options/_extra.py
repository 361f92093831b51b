"""VLLM_EXTRA_ARGS, checked word by word: an escape hatch that is not a hole."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vllm_options._errors import BadValue
from vllm_options._known import IGNORED, REFUSED, SECRETS
from vllm_options._schema import Option, Schema


@dataclass
class ExtraArguments:
    """The options that the words decide, and what is wrong with them as (message, hint)."""

    given: set[str] = field(default_factory=set)
    problems: list[tuple[str, str]] = field(default_factory=list)


def check_extra(words: Sequence[str], schema: Schema) -> ExtraArguments:
    """Check words that go to vLLM as they are: known options, values of their kind, nothing that is the worker's."""
    found = ExtraArguments()
    expecting: Option | None = None
    anything_goes = False
    """After a refused or a dotted option its values are not looked at: one mistake is told once."""
    for word in words:
        if not _is_flag(word):
            if expecting is not None:
                _check_value(expecting, word, found)
                expecting = expecting if expecting.many == "list" else None
            elif not anything_goes:
                found.problems.append((f"{word!r} belongs to no option", "begin with an option: --flag"))
            continue
        flag, _, value = word.partition("=")
        name, _, part = flag.partition(".") if flag.startswith("--") else (flag, "", "")
        option, expecting = schema.by_flag(name), None
        problem = _refusal(name, option, schema)
        if option is None or problem is not None:
            found.problems += [problem] if problem else []
            anything_goes = True
            continue
        found.given.add(option.env)
        anything_goes = bool(part) and "=" not in word
        if part or option.kind in ("bool", "flag"):
            continue
        if "=" in word:
            _check_value(option, value, found)
        else:
            expecting = option
    return found


def _is_flag(word: str) -> bool:
    return word.startswith("--") or (word.startswith("-") and word[1:2].isalpha())


def _refusal(flag: str, option: Option | None, schema: Schema) -> tuple[str, str] | None:
    if option is None:
        close = schema.nearest(flag.lstrip("-").replace("-", "_").upper())
        hint = f"did you mean {schema.by_env[close].flag}?" if close else "see `vllm serve --help=all`"
        return f"{flag} is no option of vLLM {schema.version}", hint
    if option.env in SECRETS:
        return f"{option.flag} would show a secret", f"set {option.env} instead"
    if option.env in REFUSED or option.env in IGNORED:
        return f"{option.flag} is the worker's to set", REFUSED.get(option.env) or IGNORED[option.env]
    return None


def _check_value(option: Option, value: str, found: ExtraArguments) -> None:
    try:
        option.arguments(value, option.flag)
    except BadValue as error:
        found.problems.append((f"{option.flag}: {error.text!r} {error.reason}", ""))
