"""Stories told by chance: programs, edits, commands, faults and changes of the cloud, as plain data.

A story is named by its seed: `story(7)` is the same on every machine. The same generator draws from hypothesis, which
then looks for the smallest story. Everything in a story is JSON:

    program   {"serial": bool, "resources": [...], "exports": {name: value}, "error": index | None}
    resource  {"kind": Thing|Plain|Group|Demo|Get, "name", "props": {…}, "opts": {…}}
    value     JSON, {"$secret": value}, {"$out": [name, attribute]}, {"$concat": [value, …]}

A serial program waits for each resource before it registers the next, so that it is defined what had been done when
something failed. In others only the dependencies order things, and nothing fails there.

What happens is decided here; the programs are written in `random_writer.py`.
"""

import copy
import random
from dataclasses import dataclass, field

from tests.pulumi_embedded.random_dice import Dice
from tests.pulumi_embedded.random_program import Json, break_circles
from tests.pulumi_embedded.random_writer import CUSTOM, Writer


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


def story(seed: int) -> Story:
    """The story of that name. From number 150 on they are mostly about replacements."""
    return told(random.Random(seed), replacing=seed >= 150)


def told(source: random.Random, replacing: bool) -> Story:
    """A story drawn from `source`."""
    return _Teller(Dice(source), replacing).tell()


class _Teller(Writer):
    """Decides what is done with the program, and what gets in the way."""

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
            break_circles(self.program)
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
                    break_circles(self.program)
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
