"""Stories told by chance: programs, edits, commands, faults and changes of the cloud, as plain data.

A story is named by its seed: `story(7)` is the same on every machine. The same generator draws from hypothesis, which
then looks for the smallest story. `rendered` turns a program into Python. Everything in a story is JSON:

    program   {"serial": bool, "resources": [...], "exports": {name: value}, "error": index | None}
    resource  {"kind": Thing|Plain|Group|Demo|Get, "name", "props": {…}, "opts": {…}}
    value     JSON, {"$secret": value}, {"$out": [name, attribute]}, {"$concat": [value, …]}

A serial program waits for each resource before it registers the next, so that it is defined what had been done when
something failed. In others only the dependencies order things, and nothing fails there.
"""

import copy
import random
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

CUSTOM = ("Thing", "Plain")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Command:
    """One command of a story, and what happens before it."""

    run: str
    program: Json | None = None
    flags: list[str] = field(default_factory=list)
    faults: list[Json] = field(default_factory=list)
    cloud: Json = field(default_factory=dict)
    config: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Story:
    """Commands in order."""

    commands: list[Command]


class _Dice:
    """All of chance. Only `random()` is asked, which is the same in every Python."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def chance(self, likelihood: float) -> bool:
        return self._source.random() < likelihood

    def number(self, low: int, high: int) -> int:
        return low + min(int(self._source.random() * (high - low + 1)), high - low)

    def pick(self, choices: Any) -> Any:
        return choices[self.number(0, len(choices) - 1)]

    def weighted(self, choices: dict[str, int]) -> str:
        drawn = self.number(0, sum(choices.values()) - 1)
        for choice, weight in choices.items():
            drawn -= weight
            if drawn < 0:
                return choice
        raise AssertionError("the weights do not add up")


def story(seed: int) -> Story:
    """The story of that name. From number 150 on they are mostly about replacements."""
    return told(random.Random(seed), replacing=seed >= 150)


def told(source: random.Random, replacing: bool) -> Story:
    """A story drawn from `source`."""
    return _Teller(_Dice(source), replacing).tell()


# What a resource refers to


def outputs_in(value: Any) -> set[str]:
    """Names of the resources whose outputs are in a value."""
    if isinstance(value, dict):
        if "$out" in value:
            return {value["$out"][0]}
        return set().union(*(outputs_in(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(outputs_in(item) for item in value))
    return set()


_LISTS, _SINGLES = ("depends_on", "replace_with", "providers"), ("parent", "deleted_with", "provider")


def references(resource: Json) -> set[str]:
    """Names of everything that must be declared before it."""
    opts = resource["opts"]
    found = outputs_in(resource["props"])
    found |= {name for option in _LISTS for name in opts.get(option, ())}
    found |= {opts[option] for option in _SINGLES if option in opts}
    found |= {alias["parent"] for alias in opts.get("aliases", ()) if alias.get("parent", "$root") != "$root"}
    return found


def in_order(resources: list[Json]) -> bool:
    """Whether everything is declared before it is used."""
    seen: set[str] = set()
    for resource in resources:
        if not references(resource) <= seen:
            return False
        seen.add(resource["name"])
    return True


def without_references(value: Any, name: str) -> Any:
    """A value with the outputs of one resource replaced by a constant."""
    if isinstance(value, dict):
        if "$out" in value:
            return 7 if value["$out"][0] == name else value
        return {key: without_references(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [without_references(item, name) for item in value]
    return value


def without_resource(program: Json, name: str) -> Json:
    """The program without one resource, and without anything that refers to it."""
    left = copy.deepcopy(program)
    left["resources"] = [resource for resource in left["resources"] if resource["name"] != name]
    for resource in left["resources"]:
        resource["props"] = without_references(resource["props"], name)
        opts = resource["opts"]
        for option in _LISTS:
            if option in opts:
                opts[option] = [other for other in opts[option] if other != name]
                if not opts[option]:
                    del opts[option]
        for option in _SINGLES:
            if opts.get(option) == name:
                del opts[option]
        if "aliases" in opts:
            opts["aliases"] = [alias for alias in opts["aliases"] if alias.get("parent") != name]
            if not opts["aliases"]:
                del opts["aliases"]
    left["exports"] = without_references(left["exports"], name)
    if left["error"] is not None:
        left["error"] = min(left["error"], len(left["resources"]))
    return left


# Telling


class _Teller:
    def __init__(self, dice: _Dice, replacing: bool) -> None:
        self.dice = dice
        self.replacing = replacing
        self.names = 0
        self.cloud: Json = {}
        self.touched: list[tuple[str, str]] = []
        self.program: Json = {"serial": dice.chance(0.75), "resources": [], "exports": {}, "error": None}
        # All or none: where some say a version and some none, the CLI guesses one (a difference on purpose).
        self.version = "1.2.3" if dice.chance(0.08) else None

    # The commands

    def tell(self) -> Story:
        dice = self.dice
        for _ in range(dice.number(2, 5)):
            self.add()
        self.exports()
        commands = self.update(first=True)
        for _ in range(dice.number(1, 2)):
            what = dice.weighted(
                {"edit": 200 if self.replacing else 60, "refresh": 16, "up --refresh": 10, "again": 6, "config": 8}
            )
            if what == "edit":
                for _ in range(dice.number(1, 3)):
                    self.edit()
                self.exports()
                commands += self.update()
            elif what == "refresh":
                commands.append(self.refresh())
                if dice.chance(0.6):
                    commands += self.update()
            elif what == "up --refresh":
                commands.append(Command("up", None, ["--refresh"], cloud=self.weather()))
            elif what == "again":
                commands.append(Command("up"))
            else:
                value = dice.pick(["one-token", "two-token", "three-token"])
                commands.append(Command("up", config={"demo:token": value}))
        if dice.chance(0.35):
            commands += self.destroy()
        return Story(commands)

    def update(self, first: bool = False) -> list[Command]:
        dice = self.dice
        if not self.program["serial"]:
            _break_circles(self.program)
        program = copy.deepcopy(self.program)
        commands = []
        cloud, self.cloud = self.cloud, {}
        if dice.chance(0.25):
            commands.append(Command("preview", program, cloud=cloud))
            cloud = {}
        faults = self.faults() if dice.chance(0.2 if first else 0.4) else []
        flags = ["--continue-on-error"] if faults and dice.chance(0.25) else []
        if not faults and program["serial"] and dice.chance(0.05):
            program["error"] = dice.number(0, len(program["resources"]))
        commands.append(Command("up", program, flags, faults, cloud))
        if faults or program["error"] is not None:
            if dice.chance(0.3):
                commands.append(self.refresh())
            if dice.chance(0.25):
                self.edit()
                if not self.program["serial"]:
                    _break_circles(self.program)
            repaired = copy.deepcopy(self.program)
            if dice.chance(0.25):
                commands.append(Command("preview", repaired))
            cloud, self.cloud = self.cloud, {}
            commands.append(Command("up", repaired, cloud=cloud))
        self.touched = []
        return commands

    def refresh(self) -> Command:
        faults = []
        if self.dice.chance(0.25) and (names := self.named(*CUSTOM)):
            kind = self.dice.pick(["error", "init", "slow"])
            faults.append({"rpc": "read", "name": self.dice.pick(names), "kind": kind})
        return Command("refresh", faults=faults, cloud=self.weather())

    def destroy(self) -> list[Command]:
        dice = self.dice
        names = self.named(*CUSTOM)
        flags = [
            flag for flag, likelihood in (("--refresh", 0.2), ("--continue-on-error", 0.2)) if dice.chance(likelihood)
        ]
        if names and dice.chance(0.3):
            fault = {"rpc": "delete", "name": dice.pick(names), "kind": dice.pick(["error", "internal"])}
            return [Command("destroy", None, flags, [fault]), Command("destroy")]
        return [Command("destroy", None, flags, cloud=self.weather() if "--refresh" in flags else {})]

    def weather(self) -> Json:
        """Things changed or deleted behind the engine's back."""
        names = self.named(*CUSTOM)
        found: Json = {}
        for _ in range(self.dice.number(0, 2) if names else 0):
            gone = self.dice.chance(0.45)
            found[self.dice.pick(names)] = None if gone else {"value": self.dice.number(90, 99)}
        return found

    def faults(self) -> list[Json]:
        dice, found = self.dice, []
        rpcs = ["create", "update", "delete", "check", "diff"] if self.program["serial"] else ["create", "update"]
        for _ in range(dice.number(1, 2)):
            if self.touched and dice.chance(0.85):
                name, rpc = dice.pick(self.touched)
                if dice.chance(0.1) and rpc != "delete":
                    rpc = dice.pick(["check", "diff"])
            elif names := self.named(*CUSTOM):
                name, rpc = dice.pick(names), dice.pick(rpcs)
            else:
                continue
            if not self.program["serial"]:
                rpc, kind = ("update" if rpc == "update" else "create"), "slow"
            elif rpc in ("check", "diff"):
                kind = "error"
            elif rpc == "delete":
                kind = dice.pick(["error", "internal", "slow"])
            else:
                kind = dice.weighted({"error": 8, "init": 8, "internal": 3, "slow": 2, "exit": 1})
            fault = {"rpc": rpc, "name": name, "kind": kind}
            if dice.chance(0.15):
                fault["times"] = 2
            found.append(fault)
        return found

    def exports(self) -> None:
        self.program["exports"] = {}
        for key in ("first", "second"):
            if self.dice.chance(0.3):
                self.program["exports"][key] = self.value(self.program["resources"], 1)

    # The program

    def named(self, *kinds: str) -> list[str]:
        return [resource["name"] for resource in self.program["resources"] if resource["kind"] in kinds]

    def fresh(self) -> str:
        self.names += 1
        index = self.names - 1
        return _LETTERS[index % 26] * (1 + index // 26)

    def value(self, before: list[Json], depth: int = 2) -> Any:
        dice = self.dice
        sources = [resource for resource in before if resource["kind"] in (*CUSTOM, "Get")]
        if sources and dice.chance(0.4):
            return self.output(dice.pick(sources))
        if depth and dice.chance(0.25):
            if dice.chance(0.5):
                return [self.value(before, depth - 1) for _ in range(dice.number(0, 3))]
            keys = [key for key in ("x", "y", "k.x", "n 1") if dice.chance(0.5)]
            return {key: self.value(before, depth - 1) for key in keys}
        if depth == 2 and dice.chance(0.15):
            return {"$secret": dice.pick(["hush-one", "hush-two", {"deep": ["hush-three"]}, 5])}
        return dice.pick([1, 2, 3, 0, 2.5, "text", "more text", "", True, False, -4, 10**12])

    def output(self, source: Json) -> Any:
        attributes = ["url", "url", "serial", "id"]
        attributes += [key for key in ("value", "tags") if key in source["props"]]
        found = {"$out": [source["name"], self.dice.pick(attributes)]}
        return {"$concat": ["at ", found]} if self.dice.chance(0.15) and found["$out"][1] == "url" else found

    def add(self) -> None:
        dice, resources = self.dice, self.program["resources"]
        kind = dice.weighted({"Thing": 60, "Plain": 16, "Group": 11, "Demo": 8, "Get": 5})
        place = len(resources) if dice.chance(0.8) else dice.number(0, len(resources))
        name = self.fresh()
        resource: Json = {"kind": kind, "name": name, "props": {}, "opts": {}}
        before = resources[:place]
        if kind == "Get":
            resource["opts"]["id"] = f"found-{name}"
            self.cloud[f"+found-{name}"] = {"value": dice.number(1, 9), "tier": "basic"}
        elif kind == "Demo":
            resource["props"] = {"region": dice.pick(["eu", "us"])}
            for key in ("extra", "token"):
                if dice.chance(0.3):
                    resource["props"][key] = "plain" if dice.chance(0.5) else self.value(before, 0)
        else:
            resource["props"] = self.props(before)
        for option in ("depends_on", "parent", "provider", "providers"):
            if dice.chance(0.25):
                self.option(resource, before, option)
        for _ in range(dice.weighted({"0": 5, "1": 5, "2": 3}) != "0" and dice.number(1, 2)):
            self.option(resource, before, dice.pick(_REPLACING_OPTIONS if self.replacing else _OPTIONS))
        if self.version and kind in (*CUSTOM, "Get", "Demo"):
            resource["opts"]["version"] = self.version
        resources.insert(place, resource)
        self.touched.append((name, "create"))

    def props(self, before: list[Json]) -> Json:
        dice = self.dice
        found: Json = {}
        fixed = 0.7 if self.replacing else 0.3
        for key, likelihood in (("value", 0.8), ("fixed", fixed), ("tags", 0.3), ("list", 0.15), ("n", 0.2)):
            if dice.chance(likelihood):
                found[key] = self.prop(key, before)
        dbr = 0.25 if self.replacing else 0.12
        for key, value, likelihood in (
            ("password", "hunter22", 0.08), ("autoLabel", True, 0.06), ("dbr", True, dbr), ("none", None, 0.05),
        ):  # fmt: skip
            if dice.chance(likelihood):
                found[key] = value
        return found

    def prop(self, key: str, before: list[Json]) -> Any:
        customs = [other for other in before if other["kind"] in CUSTOM] if self.replacing and key == "fixed" else []
        if customs and self.dice.chance(0.5):
            return self.output(self.dice.pick(customs))
        if key == "tags":
            return {name: self.value(before, 1) for name in ("x", "y", "z.q") if self.dice.chance(0.6)}
        if key == "list":
            return [{"k": self.value(before, 0), "j": self.dice.number(0, 3)} for _ in range(self.dice.number(1, 3))]
        return self.value(before)

    def option(self, resource: Json, before: list[Json], option: str) -> None:
        """Set, change or take away one option, if the resource can have it."""
        dice, opts, kind = self.dice, resource["opts"], resource["kind"]
        if option not in _CAN[kind] or (option == "version" and not self.version):
            return
        if option in opts and option not in ("id", "import_", "version") and dice.chance(0.5):
            del opts[option]
            return
        others = [other for other in before if other["kind"] != "Get"]
        customs = [other["name"] for other in others if other["kind"] in CUSTOM]
        names = [other["name"] for other in others if other["kind"] != "Demo"]
        demos = [other["name"] for other in others if other["kind"] == "Demo"]
        found: Any = None
        if option in ("depends_on", "replace_with"):
            pool = names if option == "depends_on" else customs
            found = sorted({dice.pick(pool) for _ in range(dice.number(1, 2))}) if pool else None
        elif option == "parent":
            groups = [other["name"] for other in others if other["kind"] == "Group"]
            pool = groups if groups and dice.chance(0.75) else names
            found = dice.pick(pool) if pool and "aliases" not in opts else None
        elif option == "deleted_with":
            found = dice.pick(customs) if customs else None
        elif option == "provider":
            found = dice.pick(demos) if demos else None
        elif option == "providers":
            found = [dice.pick(demos)] if demos else None
        elif option == "ignore_changes":
            found = dice.pick([["value"], ["tags.x"], ["list[*].k"], ["tags"], ["fixed"], ["value", "n"], ["*"]])
        elif option == "replace_on_changes":
            found = dice.pick([["value"], ["tags.x"], ["tags"], ["*"], ["list[0].k"], ["#initerror"]])
        elif option == "additional_secret_outputs":
            found = dice.pick([["url"], ["serial", "value"], ["nothing"]])
        elif option == "custom_timeouts":
            found = dice.pick([{"create": "5m"}, {"update": "1h30m", "delete": "90s"}])
        elif option == "import_":
            found = self.importing(resource)
        elif option in ("protect", "retain_on_delete", "delete_before_replace"):
            found = dice.chance(0.75)
        elif option == "version":
            found = dice.pick(["1.2.3", "1.2.4"])
        elif option == "replacement_trigger":
            # No secret: of that the CLI makes nothing in a refresh, and a crash in a preview with --json.
            found = dice.pick(["t1", "t2", "t3"])
        elif option == "hide_diffs":
            found = ["value"]
        if found is not None:
            opts[option] = found

    def importing(self, resource: Json) -> str | None:
        dice, props = self.dice, resource["props"]
        if "import_" in resource["opts"] or any(outputs_in(value) for value in props.values()):
            return None
        id_ = f"found-{self.fresh()}"
        if dice.chance(0.9):
            found = {key: value for key, value in props.items() if key in ("value", "fixed", "n", "tags")}
            if any("$secret" in str(value) for value in found.values()):
                return None
            if dice.chance(0.3):
                found["value"] = 77
            self.cloud[f"+{id_}"] = {**found, "tier": "basic"}
        return id_

    # Edits

    def edit(self) -> None:
        dice, resources = self.dice, self.program["resources"]
        what = dice.weighted(_REPLACING_EDITS if self.replacing else _EDITS)
        if what == "add" or not resources:
            self.add()
            return
        at = dice.number(0, len(resources) - 1)
        resource, before = resources[at], resources[:at]
        kind, props, name = resource["kind"], resource["props"], resource["name"]
        if what == "remove":
            self.program.update(without_resource(self.program, name))
            self.touched.append((name, "delete"))
        elif what in ("value", "fixed") and kind in (*CUSTOM, "Group"):
            key = "fixed" if what == "fixed" else dice.pick([k for k in props if k in _EDITABLE] or ["value"])
            old = props.get(key)
            props[key] = self.prop(key, before)
            if props[key] == old:
                props[key] = "changed"
            self.touched += [(name, rpc) for rpc in (("create", "delete") if what == "fixed" else ("update",))]
        elif what == "property" and kind in CUSTOM:
            key = dice.pick(["value", "n", "tags", "fixed", "dbr", "password"])
            if key in props:
                del props[key]
            else:
                props[key] = {"dbr": True, "password": "hunter33"}.get(key) or self.prop(key, before)
            self.touched.append((name, "update"))
        elif what == "rename" and kind != "Get":
            self.rename(resource)
        elif what == "re-parent" and kind not in ("Get", "Demo"):
            self.reparent(resource, before)
        elif what == "option":
            self.option(resource, before, dice.pick(_REPLACING_OPTIONS if self.replacing else _OPTIONS + _PLACE))
        elif what == "reorder":
            self.reorder(at)
        elif what == "kind" and kind in CUSTOM:
            resource["kind"] = "Plain" if kind == "Thing" else "Thing"
            if dice.chance(0.7):
                old_type = f"demo:index:{kind}"
                resource["opts"]["aliases"] = [*resource["opts"].get("aliases", ()), {"type": old_type}]
            self.touched += [(name, "create"), (name, "delete")]
        elif what == "provider" and (demos := [r for r in resources if r["kind"] == "Demo"]):
            demo = dice.pick(demos)
            demo["props"][dice.pick(["region", "extra"])] = dice.pick(["eu", "us", "asia"])
        elif what == "bad" and kind == "Thing":
            props["value"] = "bad"

    def rename(self, resource: Json) -> None:
        old, new = resource["name"], self.fresh()
        text = _renamed(self.program, old, new)
        self.program.update(text)
        resource = next(r for r in self.program["resources"] if r["name"] == new)
        if self.dice.chance(0.75):
            resource["opts"]["aliases"] = [*resource["opts"].get("aliases", ()), {"name": old}]
        self.touched += [(new, "create"), (old, "delete")]

    def reparent(self, resource: Json, before: list[Json]) -> None:
        dice, opts = self.dice, resource["opts"]
        old = opts.pop("parent", "$root")
        pool = [other["name"] for other in before if other["kind"] == "Group" and other["name"] != old]
        if pool and (old == "$root" or dice.chance(0.5)):
            opts["parent"] = dice.pick(pool)
        if dice.chance(0.75) and opts.get("parent", "$root") != old:
            opts["aliases"] = [*opts.get("aliases", ()), {"parent": old}]
        self.touched += [(resource["name"], "create"), (resource["name"], "delete")]

    def reorder(self, at: int) -> None:
        resources = self.program["resources"]
        moved = resources[:at] + resources[at + 1 :]
        moved.insert(self.dice.number(0, len(moved)), resources[at])
        if in_order(moved):
            self.program["resources"] = moved


_EDITS = {
    "add": 14, "remove": 14, "value": 22, "fixed": 14, "property": 8, "rename": 8, "re-parent": 7,
    "option": 22, "reorder": 5, "kind": 4, "provider": 5, "bad": 2,
}  # fmt: skip
_REPLACING_EDITS = {
    "add": 5, "remove": 10, "value": 10, "fixed": 50, "property": 5, "rename": 6, "re-parent": 4,
    "option": 25, "reorder": 3, "kind": 5, "provider": 12, "bad": 1,
}  # fmt: skip
_REPLACING_OPTIONS = [
    "deleted_with", "replace_with", "replace_on_changes", "delete_before_replace", "replacement_trigger",
    "retain_on_delete", "protect", "ignore_changes", "depends_on", "provider", "parent",
]  # fmt: skip
_EDITABLE = ("value", "tags", "list", "n", "password")
_OPTIONS = [
    "protect", "retain_on_delete", "retain_on_delete", "deleted_with", "deleted_with", "replace_with",
    "ignore_changes", "ignore_changes", "replace_on_changes", "replace_on_changes", "delete_before_replace",
    "delete_before_replace", "additional_secret_outputs", "custom_timeouts", "import_", "version",
    "replacement_trigger", "hide_diffs",
]  # fmt: skip
_PLACE = ["depends_on", "depends_on", "parent", "provider"]
_OF_ALL = {"depends_on", "parent", "protect", "retain_on_delete", "deleted_with"}
_OF_CUSTOM = _OF_ALL | {"provider", *_OPTIONS}
_CAN = {
    "Thing": _OF_CUSTOM, "Plain": _OF_CUSTOM, "Group": _OF_ALL | {"providers", "replace_with"},
    "Demo": {"depends_on", "retain_on_delete", "protect", "delete_before_replace", "ignore_changes", "version"},
    "Get": {"depends_on", "parent", "provider", "additional_secret_outputs", "version"},
}  # fmt: skip


def _renamed(value: Any, old: str, new: str) -> Any:
    """The program with a resource called otherwise wherever it is referred to; aliases keep the names they had."""
    program = copy.deepcopy(value)

    def through(part: Any) -> Any:
        if isinstance(part, dict):
            if "$out" in part:
                return {"$out": [new if part["$out"][0] == old else part["$out"][0], part["$out"][1]]}
            return {key: through(item) for key, item in part.items()}
        if isinstance(part, list):
            return [through(item) for item in part]
        return part

    for resource in program["resources"]:
        if resource["name"] == old:
            resource["name"] = new
        resource["props"] = through(resource["props"])
        opts = resource["opts"]
        for option in _LISTS:
            if option in opts:
                opts[option] = [new if name == old else name for name in opts[option]]
        for option in _SINGLES:
            if opts.get(option) == old:
                opts[option] = new
        for alias in opts.get("aliases", ()):
            if alias.get("parent") == old:
                alias["parent"] = new
    program["exports"] = through(program["exports"])
    return dict(program)


def _break_circles(program: Json) -> None:
    """Let nothing depend on what it stands under, nor on a component with a part that uses it: the SDK waits for ever."""
    used: dict[str, set[str]] = {}
    for resource in program["resources"]:
        direct = references(resource)
        used[resource["name"]] = direct.union(*(used[name] for name in direct))
    parents = {resource["name"]: resource["opts"].get("parent") for resource in program["resources"]}
    circular: dict[str, set[str]] = {name: set() for name in parents}
    for part in parents:
        above: str | None = part
        while (above := parents[above]) is not None:
            for user in {part, *used[part]}:
                circular[user].add(above)
    for resource in program["resources"]:
        opts = resource["opts"]
        if left := [name for name in opts.get("depends_on", ()) if name not in circular[resource["name"]]]:
            opts["depends_on"] = left
        else:
            opts.pop("depends_on", None)


# Rendering


def rendered(program: Json) -> str:
    """The program as Python, to follow the tests' prelude."""
    lines = []
    for index, resource in enumerate(program["resources"]):
        if program["error"] == index:
            lines.append('raise ValueError("the program gives up")')
        variable = _variable(resource["name"])
        lines.append(f"{variable} = {_call(resource)}")
        if program["serial"]:
            lines.append(f"await {variable}.urn.future(with_unknowns=True)")
    if program["error"] == len(program["resources"]):
        lines.append('raise ValueError("the program gives up")')
    for key, value in program["exports"].items():
        lines.append(f"pulumi.export({key!r}, {_source(value)})")
    lines = lines or ["pass"]
    if not program["serial"]:
        return "\n".join(lines) + "\n"
    return "async def main():\n" + "".join(f"    {line}\n" for line in lines) + "pulumi.run(main)\n"


def _variable(name: str) -> str:
    return f"r_{name}"


def _call(resource: Json) -> str:
    opts = resource["opts"]
    options = [f"{option}={_option(option, opts[option])}" for option in sorted(opts)]
    props = "".join(f", {key}={_source(value)}" for key, value in resource["props"].items())
    kind = {"Get": "Thing"}.get(resource["kind"], resource["kind"])
    return f"{kind}({resource['name']!r}, O({', '.join(options)}){props})"


def _option(option: str, value: Any) -> str:
    if option in _LISTS:
        return f"[{', '.join(_variable(name) for name in value)}]"
    if option in _SINGLES:
        return _variable(value)
    if option == "custom_timeouts":
        return f"pulumi.CustomTimeouts({', '.join(f'{key}={text!r}' for key, text in value.items())})"
    if option == "aliases":
        return f"[{', '.join(_alias(alias) for alias in value)}]"
    return _source(value)


def _alias(alias: Json) -> str:
    if "parent" in alias:
        parent = alias["parent"]
        return f"pulumi.Alias(parent={'pulumi.ROOT_STACK_RESOURCE' if parent == '$root' else _variable(parent)})"
    ((key, value),) = alias.items()
    return f"pulumi.Alias({'type_' if key == 'type' else key}={value!r})"


def _source(value: Any) -> str:
    if isinstance(value, dict):
        if "$out" in value:
            return f"{_variable(value['$out'][0])}.{value['$out'][1]}"
        if "$secret" in value:
            return f"pulumi.Output.secret({_source(value['$secret'])})"
        if "$concat" in value:
            return f"pulumi.Output.concat({', '.join(_source(item) for item in value['$concat'])})"
        return "{" + ", ".join(f"{key!r}: {_source(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_source(item) for item in value) + "]"
    return repr(value)
