"""Plays told stories through one engine, and says what happened in a form that can be compared.

The form leaves out what differs by nature (times, ciphertexts) and names random ids in the order they came up. What a
serial program does comes in order; of everything that runs side by side only the counts are compared.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pulumi_embedded._state import resource_to_json
from pulumi_embedded._statejson import NoSecrets, Sealer
from pulumi_embedded._values import Secret, rebuild
from tests.pulumi_embedded.random_program import Json
from tests.pulumi_embedded.random_render import rendered
from tests.pulumi_embedded.random_story import Command, Story
from tests.pulumi_embedded.random_warm import WarmPython
from tests.pulumi_embedded.support import HERE, STACK, Sandbox
from tests.pulumi_embedded.virtualenv import cli_virtualenv

_RANDOM = re.compile(r"\b(?:([a-z]+)-[0-9a-f]{8}|[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12})\b")
_SIDE_BY_SIDE = {
    "delete",
    "delete-replaced",
    "discard",
    "discard-replaced",
    "remove-pending-replace",
    "refresh",
    "read",
}
_DELAY_S = 0.25


class KeepingSandbox(Sandbox):
    """A sandbox whose backend keeps every state that was ever written."""

    @property
    def env(self) -> dict[str, str]:
        """The environment of both engines."""
        return {**super().env, "PULUMI_DIY_BACKEND_RETAIN_CHECKPOINTS": "true"}

    def written(self) -> list[Path]:
        """The states, in the order they were written."""
        return sorted(self.state_file.parent.glob(f"{STACK}.json.[0-9]*"))


class Stage:
    """Where stories are played: one warm Python and one prepared stack for all of them."""

    def __init__(self, root: Path, engine: str, warm: WarmPython) -> None:
        self.root = root
        self.engine = engine
        self.warm = warm
        self._count = 0
        self._prepared = Sandbox(root / "prepared", engine, warm.environment)
        self._prepared.init()

    def sandbox(self) -> KeepingSandbox:
        """A project with an empty stack."""
        self._count += 1
        root = self.root / f"story-{self._count}"
        made = KeepingSandbox(root, self.engine, self.warm.environment)
        made.init_like(self._prepared)
        (root / "plugin" / "__main__.py").write_text(
            f"import runpy\nrunpy.run_path({str(HERE / 'random_provider.py')!r}, run_name='__main__')\n"
        )
        return made


@contextmanager
def stage(engine: str) -> Iterator[Stage]:
    """A stage in a folder that goes when it is done."""
    interpreter = cli_virtualenv() / "bin" / "python"
    with tempfile.TemporaryDirectory() as folder, WarmPython(Path(folder) / "warm", interpreter) as warm:
        yield Stage(Path(folder), engine, warm)


class Player:
    """One story on its way."""

    def __init__(self, sandbox: KeepingSandbox) -> None:
        self.sandbox = sandbox
        self.serial = True
        self._ids: dict[str, str] = {}
        self._calls_seen = 0
        self.output = ""

    def play(self, command: Command, every_step: bool = False) -> Json:
        """Carry out one command, and say what it did. A preview says `every_step` only in this project's engine."""
        sandbox = self.sandbox
        if command.program is not None:
            self.serial = command.program["serial"]
            sandbox.program(rendered(command.program))
        late = ("delete", "read")
        sandbox.faults([{**f, "delay": _DELAY_S} if f["rpc"] in late and f["kind"] != "slow" else
                        {**f, "seconds": 0.05} for f in command.faults])  # fmt: skip
        if command.cloud:
            sandbox.change_cloud(command.cloud)
        for key, value in command.config.items():
            code, output = sandbox.run("config", "set", "--stack", STACK, key, value)
            assert code == 0, output
        return self._outcome(command, every_step)

    def _outcome(self, command: Command, every_step: bool) -> Json:
        sandbox = self.sandbox
        log = sandbox.root / "events.json"
        log.unlink(missing_ok=True)
        as_json = command.run == "preview" and not every_step
        how = ["--json"] if as_json else ["--event-log", str(log)]
        how += [] if command.run == "preview" else ["--yes", "--skip-preview"]
        code, self.output = sandbox.run(command.run, "--stack", STACK, *how, *command.flags)
        ops = _previewed(self.output) if as_json else [[*op] for op in sandbox._ops(log)]
        calls = self._calls()
        self._name_ids()
        states, pending = self._states()
        cloud = [
            [self._named(id_), self._named(json.dumps(thing, sort_keys=True))]
            for id_, thing in sandbox.things().items()
        ]
        result: Json = {"run": command.run, "exit": code, "ops": sorted(ops), "calls": sorted(calls), "state": states,
                        "pending": sorted(pending), "cloud": sorted(cloud)}  # fmt: skip
        if self.serial and command.run in ("up", "preview"):
            result["order"] = [" ".join(op[:2]) for op in ops if op[0] not in _SIDE_BY_SIDE]
            if "--refresh" not in command.flags:
                result["call order"] = [" ".join(call[:2]) for call in calls if call[0] not in _SIDE_BY_SIDE]
        if not self.serial:
            result["state"] = sorted(states)
        return result

    def _calls(self) -> list[list[str]]:
        path = self.sandbox.cloud / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        new, self._calls_seen = lines[self._calls_seen :], len(lines)
        calls = []
        for line in new:
            call = json.loads(line)
            if call["rpc"] in ("configure", "cancel"):
                continue
            marks = (" (preview)" if call["preview"] else "") + (" (unknowns)" if call.get("unknowns") else "")
            calls.append([call["rpc"] + marks, call["name"], *([str(call["timeout"])] if call.get("timeout") else [])])
        return calls

    # Names for what is random

    def _name_ids(self) -> None:
        for id_ in self.sandbox.things():
            self._name(id_)
        states = self.sandbox.raw_state().get("resources") or []
        for state in sorted(states, key=self._place):
            if (match := _RANDOM.fullmatch(str(state.get("id", "")))) and not match[1]:
                self._name(state["id"], f"uuid-of-{state['urn'].split('::')[-1]}")
        for state in sorted(states, key=self._place):
            for match in _RANDOM.finditer(json.dumps(state)):
                self._name(match[0])

    def _place(self, state: Json) -> tuple[Any, ...]:
        flags = (state.get("delete", False), state.get("pendingReplacement", False))
        return (state["urn"], *flags, self._ids.get(state.get("id", ""), "~"))

    def _name(self, random: str, prefix: str = "") -> None:
        if random not in self._ids and (match := _RANDOM.fullmatch(random)):
            prefix = prefix or match[1] or "uuid"
            count = sum(1 for known in self._ids.values() if known.rsplit("#", 1)[0] == prefix)
            self._ids[random] = f"{prefix}#{count + 1}"

    def _named(self, text: str) -> str:
        return _RANDOM.sub(lambda match: self._ids.get(match[0], "not known"), text)

    def _states(self) -> tuple[list[str], list[list[str]]]:
        entries = []
        for state in self.sandbox.resources():
            state.inputs, state.outputs = _open(state.inputs), _open(state.outputs)
            state.created = state.modified = state.source_position = ""
            state.stack_trace = []
            # The SDK collects these in sets.
            state.dependencies = sorted(state.dependencies)
            by_property = state.property_dependencies
            state.property_dependencies = {key: sorted(urns) for key, urns in by_property.items()}
            text = json.dumps(resource_to_json(state, Sealer(NoSecrets())), sort_keys=True)
            entries.append(self._named(text))
        pending = self.sandbox.raw_state().get("pending_operations") or ()
        return entries, [[entry["type"], entry["resource"]["urn"].split("::")[-1]] for entry in pending]


def _open(value: Any) -> Any:
    """A property value whose secrets can be read."""
    return rebuild(value, lambda part: {"secret": part.value} if isinstance(part, Secret) else part)


def _previewed(output: str) -> list[list[str]]:
    """The steps of `preview --json`, each with its reasons and detailed differences."""
    lines = output.splitlines()
    if "{" not in lines:
        return []
    document, _ = json.JSONDecoder().raw_decode("\n".join(lines[lines.index("{") :]))
    found = []
    for step in document.get("steps") or ():
        urn = step["urn"]
        if "::pulumi:providers:" in urn and urn.split("::")[-1].startswith("default"):
            continue
        detailed = step.get("detailedDiff") or {}
        why = [
            f"{path}: {diff['kind']}{' (inputs)' if diff.get('inputDiff') else ''}" for path, diff in detailed.items()
        ]
        reasons = [f"differs {key}" for key in step.get("diffReasons") or ()]
        reasons += [f"replaced for {key}" for key in step.get("replaceReasons") or ()]
        found.append([step["op"], urn.split("::")[-1], *sorted(why), *sorted(reasons)])
    return found


def differences(ours: list[Json], theirs: list[Json]) -> list[str]:
    """What is not alike, a line each; nothing after the first command that differs."""
    for number, (have, want) in enumerate(zip(ours, theirs, strict=False)):
        found = []
        for key in sorted(have.keys() | want.keys()):
            mine, cli = have.get(key), want.get(key)
            if mine == cli:
                continue
            where = f"command {number} ({want['run']}), {key}"
            if not isinstance(mine, list) or not isinstance(cli, list):
                found.append(f"{where}: {mine!r}, and the CLI {cli!r}")
                continue
            rest = list(cli)
            for item in mine:
                if item in rest:
                    rest.remove(item)
                else:
                    found.append(f"{where}: only ours: {item}")
            found += [f"{where}: only the CLI's: {item}" for item in rest]
            if sorted(map(str, mine)) == sorted(map(str, cli)):
                found.append(f"{where}: another order: {mine}, and the CLI {cli}")
        if found:
            return found
    return [] if len(ours) == len(theirs) else [f"{len(ours)} commands, and the CLI {len(theirs)}"]


def played(stage: Stage, story: Story) -> tuple[list[Json], list[str]]:
    """The whole story: what each command did, and what it printed."""
    player = Player(stage.sandbox())
    outcomes, outputs = [], []
    for command in story.commands:
        outcomes.append(player.play(command))
        outputs.append(player.output)
    shutil.rmtree(player.sandbox.root)
    return outcomes, outputs
