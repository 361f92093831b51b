"""What happens in one deployment, made from its seed alone: programs, edits, faults of the cloud, kills.

A program is data (`Wish`) that one Pulumi program reads; so an edit is another `Wish`. A story is a list of steps. The
last two are always clean: one `up` of the last program and one `destroy`; all others may meet faults and be killed.
"""

import copy
import random
import string
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]
Wish = dict[str, list[Json]]
"""By kind: `volumes`, `credentials`, `templates`, `endpoints`; each a list of what the program declares."""

KINDS = ("volumes", "credentials", "templates", "endpoints")
DATA_CENTERS = ("EU-RO-1", "US-KS-2", "EU-CZ-1", "EUR-IS-1")
IMAGES = ("oci:image:one", "oci:image:two", "oci:image:three")
POOLS = ("ADA_24", "AMPERE_24", "AMPERE_80")
SLOW_S = 0.3
"""How long a call is held that a kill waits for."""
_COMMAND_LINE_EACH = 50
"""Of so many deployments one starts its engines as commands."""


@dataclass(frozen=True)
class Kill:
    """kill -9 of a process at a moment: after seconds, while the n-th call waits, or around the n-th state write."""

    who: Literal["engine", "plugin"]
    when: Literal["time", "call", "write"]
    seconds: float = 0.0
    number: int = 0
    method: str | None = None
    after: bool = False
    """For a write: once it is done, instead of just before. For a call: once the cloud has acted."""

    @property
    def kind(self) -> str:
        """For the counters."""
        return f"{self.who} by {self.when}"


@dataclass(frozen=True)
class Step:
    """One run of the engine."""

    command: Literal["up", "destroy"]
    wish: Wish
    faults: tuple[Json, ...] = ()
    kill: Kill | None = None
    refresh: bool = False
    clean: bool = False
    """Nothing disturbs it, so it has to succeed."""


@dataclass(frozen=True)
class Story:
    """One deployment from its first `up` to its clean `destroy`."""

    seed: int
    key_from: Literal["environment", "file", "config"]
    steps: tuple[Step, ...]
    command_line: bool
    """Every engine is started as a command, not forked from a process that has loaded it already."""


def story(seed: int) -> Story:
    """The story of a seed; always the same one."""
    chance = random.Random(seed)
    first = _wish(chance)
    edited = _edited(chance, first)
    shape = chance.choices(("create", "edit", "both", "removal"), (45, 20, 25, 10))[0]
    if shape == "create":
        last, steps = first, [_disturbed(chance, "up", first)]
    elif shape == "edit":
        last, steps = edited, [Step("up", first, clean=True), _disturbed(chance, "up", edited)]
    elif shape == "both":
        last, steps = edited, [_disturbed(chance, "up", first), _disturbed(chance, "up", edited)]
    else:
        last, steps = first, [Step("up", first, clean=True), _disturbed(chance, "destroy", first)]
    # A kill between a deletion and its record leaves a resource in the state that the cloud no longer has. The program
    # wants it back here, so the engine has to look (the CLI needs the same flag).
    clean = Step("up", last, refresh=shape == "removal", clean=True)
    key_from = chance.choices(("environment", "file", "config"), (60, 20, 20))[0]
    return Story(
        seed,
        key_from,  # type: ignore[arg-type]
        (*steps, clean, Step("destroy", last, clean=True)),
        command_line=seed % _COMMAND_LINE_EACH == 0,
    )


# Programs


def _wish(chance: random.Random) -> Wish:
    wish: Wish = {kind: [] for kind in KINDS}
    for number in range(chance.randint(0, 2)):
        wish["volumes"].append(_volume(chance, f"v{number}"))
    if wish["volumes"] and chance.random() < 0.08:
        # Two that nobody can tell apart but by their ids.
        original = wish["volumes"][0]
        original["label"] = original["label"] or _word(chance)
        wish["volumes"].append({**original, "name": "vtwin"})
    for number in range(chance.randint(0, 2)):
        wish["credentials"].append(_credential(chance, f"c{number}"))
    for number in range(chance.randint(0, 2)):
        wish["templates"].append(_template(chance, f"t{number}", wish))
    for number in range(chance.randint(0 if wish["volumes"] else 1, 2)):
        wish["endpoints"].append(_endpoint(chance, f"e{number}", wish))
    return wish


def _volume(chance: random.Random, name: str) -> Json:
    return {
        "name": name,
        "label": _label(chance),
        "size": chance.randint(10, 60),
        "data_center": chance.choice(DATA_CENTERS),
    }


def _credential(chance: random.Random, name: str) -> Json:
    return {"name": name, "label": _label(chance), "username": _word(chance), "password": _secret(chance)}


def _template(chance: random.Random, name: str, wish: Wish) -> Json:
    return {
        "name": name,
        "label": _label(chance),
        "image": chance.choice(IMAGES),
        "registry": _one_of(chance, wish["credentials"], 0.6),
        # A command line that holds a secret: a word of its own, so that it is told apart from what is no secret.
        "cmd": ["serve", "--token", _secret(chance)] if chance.random() < 0.25 else [],
        **_env(chance),
    }


def _endpoint(chance: random.Random, name: str, wish: Wish) -> Json:
    template = _one_of(chance, wish["templates"], 0.7)
    centers: dict[str, str] = {}
    for volume in wish["volumes"]:
        if chance.random() < 0.5:
            centers[volume["data_center"]] = volume["name"]
    queue_delay = chance.random() < 0.5
    return {
        "name": name,
        "label": _label(chance),
        "type": "QUEUE" if queue_delay or chance.random() < 0.7 else "LOAD_BALANCER",
        "queue_delay": queue_delay,
        "template": template,
        "image": None if template and chance.random() < 0.8 else chance.choice(IMAGES),
        "registry": None if template else _one_of(chance, wish["credentials"], 0.3),
        "pools": sorted(chance.sample(POOLS, chance.randint(1, 2))) if chance.random() < 0.85 else [],
        "volumes": sorted(centers.values()),
        "timeout": chance.choice((0, 60_000, 300_000)),
        **_env(chance),
    }


def _env(chance: random.Random) -> Json:
    return {
        "env": {f"PLAIN_{key}": _word(chance) for key in range(chance.randint(0, 2))},
        "secret_env": {f"HIDDEN_{key}": _secret(chance) for key in range(chance.randint(0, 2))},
    }


def _one_of(chance: random.Random, there: list[Json], likely: float) -> str | None:
    name: str | None = chance.choice(there)["name"] if there and chance.random() < likely else None
    return name


def _label(chance: random.Random) -> str | None:
    """A name in the cloud that the program chooses, or None: the provider makes one."""
    return _word(chance) if chance.random() < 0.3 else None


def _word(chance: random.Random) -> str:
    return "".join(chance.choices(string.ascii_lowercase, k=8))


def _secret(chance: random.Random) -> str:
    """Long enough that it is in a file only if somebody wrote it there; sometimes with characters to be escaped."""
    middle = 'q"\\ü\n' if chance.random() < 0.1 else ""
    return "Sx" + "".join(chance.choices(string.ascii_letters + string.digits, k=9)) + middle + _word(chance)


# Edits


def _edited(chance: random.Random, before: Wish) -> Wish:
    wish = copy.deepcopy(before)
    for _ in range(chance.randint(1, 3)):
        kind = chance.choice(KINDS)
        change = chance.choices(("change", "remove", "add"), (60, 15, 25))[0]
        if change == "add" or not wish[kind]:
            _add(chance, wish, kind)
        elif change == "remove":
            gone = wish[kind].pop(chance.randrange(len(wish[kind])))
            _forget(wish, kind, gone["name"])
        else:
            _change(chance, wish, kind, chance.choice(wish[kind]))
    return wish


def _add(chance: random.Random, wish: Wish, kind: str) -> None:
    name = f"{kind[0]}new{chance.randrange(10_000)}"
    labelled = [volume for volume in wish["volumes"] if volume["label"]]
    if kind == "volumes" and labelled and chance.random() < 0.5:
        wish[kind].append({**chance.choice(labelled), "name": name})
    elif kind == "volumes":
        wish[kind].append(_volume(chance, name))
    elif kind == "credentials":
        wish[kind].append(_credential(chance, name))
    elif kind == "templates":
        wish[kind].append(_template(chance, name, wish))
    else:
        wish[kind].append(_endpoint(chance, name, wish))


def _forget(wish: Wish, kind: str, name: str) -> None:
    for holder in (*wish["templates"], *wish["endpoints"]):
        if kind == "volumes" and name in holder.get("volumes", ()):
            holder["volumes"].remove(name)
        elif kind == "credentials" and holder["registry"] == name:
            holder["registry"] = None
        elif kind == "templates" and holder.get("template") == name:
            holder["template"], holder["image"] = None, IMAGES[0]


def _change(chance: random.Random, wish: Wish, kind: str, item: Json) -> None:
    if kind == "volumes":
        if chance.random() < 0.6:
            item["size"] = item["size"] + chance.randint(-5, 20)  # smaller: a new one
            item["size"] = max(10, item["size"])
        else:
            # One volume per data center and endpoint: a new place is one that no other volume is in.
            taken = {volume["data_center"] for volume in wish["volumes"]}
            free = [place for place in DATA_CENTERS if place not in taken]
            item["data_center"] = chance.choice(free or [item["data_center"]])
    elif kind == "credentials":
        item["password"] = _secret(chance)
    elif kind == "templates":
        item.update({"image": chance.choice(IMAGES), **_env(chance)})
    elif chance.random() < 0.2:
        item.update({"type": "LOAD_BALANCER" if item["type"] == "QUEUE" else "QUEUE", "queue_delay": False})
    else:
        item.update({"timeout": item["timeout"] + 1000, **_env(chance)})


# Faults and kills


def _disturbed(chance: random.Random, command: Literal["up", "destroy"], wish: Wish) -> Step:
    kill = _kill(chance) if chance.random() < 0.5 else None
    faults = [_fault(chance) for _ in range(chance.randint(0 if kill else 1, 4))]
    return Step(command, wish, tuple(faults), kill)


def _kill(chance: random.Random) -> Kill:
    who: Literal["engine", "plugin"] = chance.choice(("engine", "plugin"))
    when = chance.choices(("time", "call", "write"), (30, 40, 30 if who == "engine" else 0))[0]
    method = chance.choice((None, "POST", "POST", "PATCH", "DELETE")) if when == "call" else None
    return Kill(
        who,
        when,  # type: ignore[arg-type]
        seconds=round(chance.uniform(0.05, 1.3), 3),
        number=chance.randint(1, 12 if when == "write" else 4 if method else 10),
        method=method,
        after=chance.random() < 0.5,
    )


def _fault(chance: random.Random) -> Json:
    match: Json = {"method": None, "path": None, "name": None}
    if chance.random() < 0.7:
        match["method"] = chance.choices(("POST", "DELETE", "PATCH", "GET"), (50, 20, 15, 15))[0]
    if chance.random() < 0.3:
        match["path"] = f"/v2/{chance.choice(('network-volumes', 'templates', 'registries', 'serverless'))}.*"
    return {
        "match": match,
        "times": chance.choices((1, 2, 4), (70, 22, 8))[0],
        "skip": chance.choices((0, 1, 2, 3), (50, 25, 15, 10))[0],
        "chance": chance.choice((1, 1, 0.6)),
        "fault": _fault_itself(chance),
    }


def _fault_itself(chance: random.Random) -> Json:
    kind = chance.choices(
        ("reset before", "reset after", "429", "5xx", "latency", "truncate", "edge"), (18, 25, 13, 20, 8, 11, 5)
    )[0]
    if kind.startswith("reset"):
        return {"kind": "reset", "when": kind.removeprefix("reset ")}
    if kind == "429":
        return {"kind": "status", "status": 429, "retry_after": chance.choice((0, 1)), "bare": chance.random() < 0.3}
    if kind == "5xx":
        status = chance.choice((500, 502, 503))
        return {"kind": "status", "status": status, "retry_after": None, "bare": chance.random() < 0.5}
    if kind == "latency":
        return {"kind": "latency", "seconds": round(chance.uniform(0.05, 0.8), 2)}
    if kind == "truncate":
        return {"kind": "truncate", "after_bytes": chance.choice((0, 1, 20, 60))}
    return {"kind": "edge"}


def fault_name(fault: Json) -> str:
    """The kind of a fault, for the counters."""
    if fault["kind"] == "reset":
        return f"reset {fault['when']}"
    return str(fault["status"]) if fault["kind"] == "status" else str(fault["kind"])


def secrets_of(wish: Wish) -> set[str]:
    """Every value of a program that must be readable nowhere."""
    passwords = {credential["password"] for credential in wish["credentials"]}
    hidden = {
        value for kind in ("templates", "endpoints") for item in wish[kind] for value in item["secret_env"].values()
    }
    words = {item["cmd"][-1] for item in wish["templates"] if item["cmd"]}
    return passwords | hidden | words
