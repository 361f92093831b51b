"""Programs written, and edited, by chance (their form is told in `random_story.py`).

Every draw is a part of the story's name: another one, or another order of them, makes all stories others.
"""

from typing import Any

from tests.pulumi_embedded.random_dice import Dice
from tests.pulumi_embedded.random_program import Json, in_order, outputs_in, renamed, without_resource

CUSTOM = ("Thing", "Plain")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
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


class Writer:
    """One program on its way. `cloud` is what must be there before it runs, `touched` what (name, call) it will do."""

    def __init__(self, dice: Dice, replacing: bool) -> None:
        self.dice = dice
        self.replacing = replacing
        self.names = 0
        self.cloud: Json = {}
        self.touched: list[tuple[str, str]] = []
        self.program: Json = {"serial": dice.chance(0.75), "resources": [], "exports": {}, "error": None}
        # All or none: where some say a version and some none, the CLI guesses one (a difference on purpose).
        self.version = "1.2.3" if dice.chance(0.08) else None

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

    def exports(self) -> None:
        self.program["exports"] = {}
        for key in ("first", "second"):
            if self.dice.chance(0.3):
                self.program["exports"][key] = self.value(self.program["resources"], 1)

    # Resources

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
        text = renamed(self.program, old, new)
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
