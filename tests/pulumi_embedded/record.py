"""Records what the pulumi CLI does: `python -m tests.pulumi_embedded.record [name…]` with the CLI on PATH."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.pulumi_embedded.scenarios import BY_NAME, SCENARIOS, Scenario
from tests.pulumi_embedded.support import HERE, Outcome, Sandbox
from tests.pulumi_embedded.virtualenv import cli_virtualenv

RECORDED = HERE / "recorded"


def play(scenario: Scenario, sandbox: Sandbox, made: Sandbox | None = None) -> list[Outcome]:
    """Carry out a scenario, on a stack made for it or on a copy of an empty one that was `made` before."""
    if made is None:
        sandbox.init()
    else:
        sandbox.init_like(made)
    return [sandbox.act(act) for act in scenario.acts]


def comparable(scenario: Scenario, outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """Outcomes as they are recorded and compared."""
    result = []
    for act, outcome in zip(scenario.acts, outcomes, strict=True):
        data = outcome.comparable(scenario.ordered)
        if act.run == "preview":
            del data["ops"]  # the CLI writes no event log for a preview; its calls say the same
        result.append({"run": act.run, **data})
    return result


def record(scenario: Scenario, root: Path) -> list[dict[str, Any]]:
    """What the CLI does in a scenario."""
    return comparable(scenario, play(scenario, Sandbox(root, "cli", cli_virtualenv())))


def differences(mine: list[dict[str, Any]], recorded: list[dict[str, Any]]) -> list[str]:
    """What is not alike, a line each."""
    found = []
    for number, (have, want) in enumerate(zip(mine, recorded, strict=True)):
        for key in want:
            if have[key] == want[key]:
                continue
            where = f"act {number} ({want['run']}), {key}"
            if not isinstance(want[key], list):
                found.append(f"{where}: {have[key]!r}, and the CLI {want[key]!r}")
                continue
            ours, theirs = ([json.dumps(item) for item in side[key]] for side in (have, want))
            found += [f"{where}: only ours: {item}" for item in ours if item not in theirs]
            found += [f"{where}: only the CLI's: {item}" for item in theirs if item not in ours]
            if sorted(ours) == sorted(theirs):
                found.append(f"{where}: another order: {ours}, and the CLI {theirs}")
    return found


def read(name: str) -> Any:
    """What was recorded."""
    return json.loads((RECORDED / f"{name}.json").read_text())


def _text(data: list[dict[str, Any]]) -> str:
    """One line for each command's exit code, operations and calls, and one for each entry of the state."""
    acts = []
    for act in data:
        parts = []
        for key, value in act.items():
            text = json.dumps(value, ensure_ascii=False)
            if key == "state" and value:
                text = "[\n    " + ",\n    ".join(json.dumps(entry, ensure_ascii=False) for entry in value) + "\n  ]"
            parts.append(f'  "{key}": {text}')
        acts.append("{\n" + ",\n".join(parts) + "\n}")
    return "[" + ",\n".join(acts) + "]\n"


def main(names: list[str]) -> None:
    """Record the named scenarios, or all."""
    RECORDED.mkdir(exist_ok=True)
    for scenario in [BY_NAME[name] for name in names] or SCENARIOS:
        with tempfile.TemporaryDirectory() as folder:
            data = record(scenario, Path(folder) / "sandbox")
        (RECORDED / f"{scenario.name}.json").write_text(_text(data))
        sys.stdout.write(f"{scenario.name} {[act['exit'] for act in data]}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
