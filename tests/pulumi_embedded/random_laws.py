"""What must hold for any story, whatever the CLI does, on the embedded engine.

Every state that was ever written can be read, everything in it stands after what it needs, and no secret is in clear.
Where nothing fails, a preview says what the update does, and of what it cannot know that it may change. A second
update is nothing. An engine that is killed around any change of the cloud leaves such a state too, and the next update
brings everything to what the program says.
"""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from tests.pulumi_embedded.random_play import KeepingSandbox, Player, Stage
from tests.pulumi_embedded.random_program import Json
from tests.pulumi_embedded.random_render import rendered
from tests.pulumi_embedded.random_story import Command, Story
from tests.pulumi_embedded.support import HERE, STACK

# What is only ever given as a secret.
SECRETS, PASSWORDS = re.compile(r"hush-\w+"), re.compile(r"hunter\d\d")


def broken(path: Path) -> list[str]:
    """What is wrong with a state file: an own reading of the rules, not the engine's."""
    text = path.read_text()
    latest = json.loads(text)["checkpoint"].get("latest") or {}
    # The provider makes passwords secret; a component has none to do that.
    custom = json.dumps([entry for entry in latest.get("resources") or () if entry["custom"]])
    found = [f"{word} in clear" for word in sorted({*SECRETS.findall(text), *PASSWORDS.findall(custom)})]
    seen: set[str] = set()
    providers: set[str] = set()
    live: set[str] = set()
    for entry in latest.get("resources") or ():
        urn = entry["urn"]
        needs = [
            entry.get("parent"),
            entry.get("deletedWith"),
            *entry.get("dependencies", ()),
            *entry.get("replaceWith", ()),
        ]
        needs += [need for urns in (entry.get("propertyDependencies") or {}).values() for need in urns]
        found += [f"{urn} stands before {need}" for need in needs if need and need not in seen]
        if entry.get("provider") and entry["provider"] not in providers and not entry.get("pendingReplacement"):
            found.append(f"{urn} has the unknown provider {entry['provider']}")
        if not entry["custom"] and entry.get("id"):
            found.append(f"{urn} is a component with an id")
        if not entry.get("delete"):
            found += [f"{urn} is there twice"] if urn in live else []
            live.add(urn)
        if "::pulumi:providers:" in urn:
            providers.add(f"{urn}::{entry.get('id')}")
        seen.add(urn)
    return found


def law_breaks(stage: Stage, story: Story) -> list[str]:
    """Play a story, and say which law it broke and where."""
    player = Player(stage.sandbox())
    found: list[str] = []
    seen: set[Path] = set()
    for number, command in enumerate(story.commands):
        where = f"command {number} ({command.run})"
        foretold = None
        if command.run == "up" and not command.faults and not command.flags:
            foretold = player.play(replace(command, run="preview"), every_step=True)
            command = replace(command, cloud={}, config={})
        done = player.play(command)
        if foretold is not None and foretold["exit"] == 0 == done["exit"]:
            found += _foretold(where, foretold, done)
        for path in player.sandbox.written():
            if path not in seen:
                seen.add(path)
                found += [f"{where}: a written state: {what}" for what in broken(path)]
    if not seen:
        found.append("no state was kept: the backend ignored the switch")
    found += _settles(player, [command for command in story.commands if command.run == "up"][-1])
    shutil.rmtree(player.sandbox.root)
    return found


def _foretold(where: str, preview: Json, up: Json) -> list[str]:
    """Same operations; but what a preview cannot know may turn out to be what it was, and is then left alone."""
    said, did = (sorted(op[:2] for op in side["ops"]) for side in (preview, up))
    asked = {call[1] for call in preview["calls"] if call[0].startswith("diff")}
    unknown = {call[1] for call in preview["calls"] if call[0] == "diff (unknowns)"}
    # A component's inputs are not asked about; the engine compares them itself.
    unknown |= {name for op, name, *_ in said if op == "update" and name not in asked}
    unchanged = {name for op, name, *_ in did if op == "same"} & unknown
    said = [op for op in said if op[1] not in unchanged]
    did = [op for op in did if op[1] not in unchanged]
    return [] if said == did else [f"{where}: the preview said {said}, and the update did {did}"]


def _settles(player: Player, last: Command) -> list[str]:
    """A program that can be brought up at all is then left alone."""
    calm = Command("up")
    for _ in range(3):
        if player.play(calm)["exit"] == 0:
            break
    else:
        return []  # protected, or wrong in itself
    again = player.play(calm)
    idle = again["exit"] == 0 and all(op[0] in ("same", "read") for op in again["ops"])
    return [] if idle else [f"after {last.run}: a second update was not nothing: {again['exit']}, {again['ops']}"]


# Killed


def kill_breaks(stage: Stage, story: Story, at: int, when: str) -> tuple[bool, list[str]]:
    """Play a story, kill -9 the engine around the `at`-th change in its last update; (was it killed, what broke)."""
    player = Player(stage.sandbox())
    last = max(index for index, command in enumerate(story.commands) if command.run == "up")
    for command in story.commands[:last]:
        player.play(command)
    command, sandbox = story.commands[last], player.sandbox
    if command.program is not None:
        sandbox.program(rendered(command.program))
    sandbox.faults([])
    sandbox.change_cloud(command.cloud)
    (sandbox.cloud / "kill.json").write_text(json.dumps({"at": at, "when": when}))
    code = _in_a_process(stage, sandbox, "up", "--stack", STACK, "--yes", "--skip-preview", *command.flags)
    killed = not (sandbox.cloud / "kill.json").exists()
    (sandbox.cloud / "kill.json").unlink(missing_ok=True)
    found = [
        f"killed {when} change {at}: {what}"
        for path in [sandbox.state_file, *sandbox.written()]
        for what in broken(path)
    ]
    if killed:
        assert code not in (0, 1), code
        found += [f"killed {when} change {at}: {what}" for what in _recovers(player)]
    shutil.rmtree(sandbox.root)
    return killed, found


def _in_a_process(stage: Stage, sandbox: KeepingSandbox, *arguments: str) -> int:
    python = stage.warm.environment / "bin" / "python"
    source = str(HERE.parents[1] / "src")
    done = subprocess.run(
        [str(python), "-m", "pulumi_embedded", *arguments], cwd=sandbox.project,
        env={**sandbox.env, "PYTHONPATH": source}, capture_output=True, timeout=90,
    )  # fmt: skip
    return done.returncode


def _recovers(player: Player) -> list[str]:
    done = player.play(Command("up"))
    if done["exit"] != 0:
        done = player.play(Command("up"))
    if done["exit"] != 0:
        return [] if _never_works(player) else [f"the next update failed: {player.output}"]
    things = player.sandbox.things()
    found = [
        f"{entry['urn']} is in the state and nowhere else" for entry in _managed(player) if entry["id"] not in things
    ]
    again = player.play(Command("up"))
    if again["exit"] != 0 or any(op[0] not in ("same", "read") for op in again["ops"]):
        found.append(f"a second update was not nothing: {again['ops']}")
    return found


def _managed(player: Player) -> list[Json]:
    resources = player.sandbox.raw_state().get("resources") or []
    return [r for r in resources if r["custom"] and not r.get("external") and "::pulumi:providers:" not in r["urn"]]


def _never_works(player: Player) -> bool:
    """Whether the program is wrong in itself, or up against a protection."""
    reasons = (
        "has a problem",
        "marked for protection",
        "it is protected",
        "the program gives up",
        "may not be replaced",
    )
    return any(reason in player.output for reason in reasons)
