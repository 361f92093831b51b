"""Faults on demand: which request is struck by what. Pure: no HTTP here, the acting is `_strike`'s.

A rule looks at every request outside /_emulator/, in the order in which the rules were made. It lets its first `skip`
matching requests through, then strikes with its `chance` until it has struck `times` times. Latencies add up; the first
fault of another kind decides, and later rules do not see that request.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from runpod_emulator.control.checks import (
    Check,
    boolean,
    integer,
    kind_of,
    nullable,
    number,
    one_of,
    record,
    string,
)
from runpod_emulator.model import Json

LONGEST_PAUSE_S = 3600


def up_to(maximum: float) -> Check:
    """A number from 0 to `maximum`."""

    def check(value: Any, path: str) -> Iterator[str]:
        wrong = list(number(minimum=0)(value, path))
        yield from wrong
        if not wrong and value > maximum:
            yield f"{path}: maximum: got {value}, want {maximum}"

    return check


KINDS = {
    "latency": record(
        {"kind": string(), "seconds": up_to(LONGEST_PAUSE_S), "when": one_of("before", "after")},
        required=("kind", "seconds"),
    ),
    "reset": record({"kind": string(), "when": one_of("before", "after")}, required=("kind", "when")),
    "status": record(
        {
            "kind": string(),
            "status": integer(minimum=400, maximum=599),
            "retry_after": nullable(integer(minimum=0, maximum=86_400)),
            "bare": boolean(),
        },
        required=("kind", "status"),
    ),
    "edge": record({"kind": string()}, required=("kind",)),
    "truncate": record({"kind": string(), "after_bytes": integer(minimum=0)}, required=("kind", "after_bytes")),
}


_REPEATED_GROUP = re.compile(r"(?<!\\)\)[*+{]")
"""Nothing stops Python's matcher once it tries all ways to share a text out over repeats within repeats."""


def _regex(value: Any, path: str) -> Iterator[str]:
    yield from string()(value, path)
    if isinstance(value, str):
        try:
            re.compile(value)
        except (re.error, RecursionError, OverflowError) as error:
            yield f"{path}: '{value}' is no regular expression: {error}"
            return
        if _REPEATED_GROUP.search(value):
            yield f"{path}: '{value}' repeats a group, which may match for ever; write it without (...)* or (...)+"


def _fault(value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: got {kind_of(value)}, want object"
    elif "kind" not in value:
        yield f"{path}: missing property 'kind'"
    else:
        wrong = list(one_of(*KINDS)(value["kind"], f"{path}.kind"))
        yield from wrong or KINDS[value["kind"]](value, path)


check_rule = record(
    {
        "match": record(
            {"method": nullable(string(min_length=1)), "path": nullable(_regex), "name": nullable(string())}
        ),
        "times": nullable(integer(minimum=1)),
        "skip": integer(minimum=0),
        "chance": up_to(1),
        "fault": _fault,
    },
    required=("fault",),
)
check_seed = record({"seed": integer()}, required=("seed",))


@dataclass
class Rule:
    """One rule, as it was asked for, and what it did so far."""

    id: str
    method: str | None
    path: str | None
    name: str | None
    times: int | None
    skip: int
    chance: float
    fault: Json
    seen: int = 0
    """Matching requests while the rule was not used up."""
    fired: int = 0
    _pattern: re.Pattern[str] | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        self._pattern = None if self.path is None else re.compile(self.path)

    @property
    def used_up(self) -> bool:
        return self.times is not None and self.fired >= self.times

    def may_fit(self, method: str, path: str) -> bool:
        """Everything but the name, for which the body has to be read."""
        return (
            not self.used_up
            and (self.method is None or self.method == method)
            and (self._pattern is None or self._pattern.fullmatch(path) is not None)
        )

    def as_json(self) -> Json:
        return {
            "id": self.id,
            "match": {"method": self.method, "path": self.path, "name": self.name},
            "times": self.times,
            "skip": self.skip,
            "chance": self.chance,
            "fault": self.fault,
            "seen": self.seen,
            "fired": self.fired,
        }


class FaultBook:
    """All rules. In memory only: a new emulator has none."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self._made = 0
        self.seed(0)

    def seed(self, seed: int) -> None:
        """Begin the sequence of chances anew."""
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def add(self, body: Json) -> Rule:
        """A rule from a checked body."""
        self._made += 1
        match = body.get("match") or {}
        method = match.get("method")
        rule = Rule(
            id=f"fault-{self._made}",
            method=None if method is None else method.upper(),
            path=match.get("path"),
            name=match.get("name"),
            times=body.get("times", 1),
            skip=int(body.get("skip", 0)),
            chance=float(body.get("chance", 1)),
            fault=body["fault"],
        )
        self.rules.append(rule)
        return rule

    def remove(self, rule_id: str) -> bool:
        left = [rule for rule in self.rules if rule.id != rule_id]
        found = len(left) < len(self.rules)
        self.rules = left
        return found

    def wants_name(self, method: str, path: str) -> bool:
        """Whether the request's body has to be read to decide."""
        return any(rule.name is not None and rule.may_fit(method, path) for rule in self.rules)

    def strike(self, method: str, path: str, name: str | None) -> list[Rule]:
        """The rules that strike this request now, counted as fired: latencies, then at most one of another kind."""
        struck = []
        for rule in self.rules:
            if not rule.may_fit(method, path) or (rule.name is not None and rule.name != name):
                continue
            rule.seen += 1
            if rule.seen <= rule.skip or (rule.chance < 1 and self._random.random() >= rule.chance):
                continue
            rule.fired += 1
            struck.append(rule)
            if rule.fault["kind"] != "latency":
                break
        return struck
