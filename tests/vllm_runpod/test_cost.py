"""The bill of a plan: summed over its endpoints, unknown where anything is unknown."""

import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from vllm_runpod.cost import ask_before_spending, bill
from vllm_runpod.engine import Engine
from vllm_runpod.errors import CommandError
from vllm_runpod.project import Project
from vllm_sizing import format_usd, snapshot


def step(op: str = "create", **inputs: Any) -> dict[str, Any]:
    state = {"type": "runpod:index:Endpoint", "urn": "urn:pulumi:prod::p::runpod:index:Endpoint::llm", "inputs": inputs}
    return {"op": op, "newState": state}


def price(pool: str) -> Decimal:
    found = snapshot().pools[pool].usd_per_hour
    assert found is not None
    return found


def test_floor_and_ceiling_are_min_and_max_workers() -> None:
    """One pool, two GPUs a worker: price x count x workers."""
    plan = {"steps": [step(gpu={"pools": ["ADA_24"], "count": 2}, workers={"min": 1, "max": 3})]}
    found = bill(plan)
    assert found.floor == 2 * price("ADA_24")
    assert found.ceiling == 6 * price("ADA_24")


def test_endpoints_add_up_and_deleted_ones_do_not_count() -> None:
    """Only what will be there costs."""
    one = step(gpu={"pools": ["ADA_24"]}, workers={"min": 1, "max": 1})
    gone = step("delete", gpu={"pools": ["ADA_24"]}, workers={"min": 5, "max": 5})
    assert bill({"steps": [one, one, gone]}).floor == 2 * price("ADA_24")


def test_an_unknown_pool_makes_the_bill_unknown_not_small() -> None:
    """A figure that leaves something out would be worse than none."""
    known = step(gpu={"pools": ["ADA_24"]}, workers={"min": 1, "max": 1})
    unknown = step(gpu="04da6b54-80e4-46f7-96ec-b56ff0331ba9", workers={"min": 1, "max": 1})
    found = bill({"steps": [known, unknown]})
    assert found.floor is None
    assert found.ceiling is None


def test_a_plan_without_endpoints_is_free() -> None:
    """Volumes and templates have no hourly worker cost."""
    assert bill({"steps": [{"op": "create", "newState": {"type": "runpod:index:Template"}}]}).ceiling == 0


def test_the_plan_and_the_bill_come_before_the_question(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The plan is shown by a whole engine command, the bill under it, and where nobody can be asked nothing is done."""
    plan = {"steps": [step(gpu={"pools": ["ADA_48_PRO"]}, workers={"min": 1, "max": 3})]}
    script = tmp_path / "engine.py"
    script.write_text(
        "import json, sys\n"
        "asked = sys.argv[sys.argv.index('--non-interactive') + 1 :]\n"
        f"plan, calls = {plan!r}, {str(tmp_path / 'calls')!r}\n"
        "with open(calls, 'a') as record:\n"
        "    record.write(json.dumps(asked) + '\\n')\n"
        "print(json.dumps(plan) if '--json' in asked else 'THE PLAN')\n"
    )
    engine = Engine((sys.executable, str(script)), "engine", embedded=True)
    with pytest.raises(CommandError, match="YES=1"):
        ask_before_spending(Project(tmp_path, "vllm-runpod"), "prod", engine, assume_yes=False)
    shown = capfd.readouterr()
    assert "THE PLAN" in shown.out
    assert f"hourly floor:   {format_usd(price('ADA_48_PRO'))} USD" in shown.err
    assert f"hourly ceiling: {format_usd(3 * price('ADA_48_PRO'))} USD" in shown.err
    assert [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()] == [
        ["preview", "--stack", "prod"],
        ["preview", "--json", "--stack", "prod"],
    ]
