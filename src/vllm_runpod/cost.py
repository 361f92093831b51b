"""Before a paid `up`: the plan, its hourly floor and ceiling, and a question."""

import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import click

from vllm_runpod import engine
from vllm_runpod.errors import CommandError
from vllm_runpod.project import Project
from vllm_sizing import SizingError, format_usd, hourly_cost, snapshot

ENDPOINT = "runpod:index:Endpoint"


@dataclass(frozen=True)
class Bill:
    """Sums over all endpoints of a plan, in USD per hour at list price; None where a price is not published."""

    floor: Decimal | None
    ceiling: Decimal | None
    basis: tuple[str, ...]


def bill(plan: dict[str, Any]) -> Bill:
    """What the endpoints of a previewed plan cost once it is applied.

    `plan` is the document of `preview --json`. An endpoint whose GPU pools are unknown in the plan makes the sums
    unknown: a figure that leaves something out would be worse than none.
    """
    floor: Decimal | None = Decimal(0)
    ceiling: Decimal | None = Decimal(0)
    basis = []
    for step in plan.get("steps", []):
        state = step.get("newState") or {}
        if state.get("type") != ENDPOINT or step.get("op") == "delete":
            continue
        inputs = state.get("inputs", {})
        name = str(state.get("urn", "")).rsplit("::", 1)[-1]
        try:
            gpu, workers = inputs["gpu"], inputs["workers"]
            cost = hourly_cost(
                gpu["pools"],
                int(gpu.get("count", 1)),
                int(workers.get("min", 0)),
                int(workers.get("max", 3)),
                snapshot(),
            )
        except (KeyError, TypeError, ValueError, SizingError) as error:
            floor = ceiling = None
            basis.append(f"{name}: unknown ({error})")
            continue
        floor = None if floor is None or cost.floor_usd is None else floor + cost.floor_usd
        ceiling = None if ceiling is None or cost.ceiling_usd is None else ceiling + cost.ceiling_usd
        basis.append(f"{name}: {cost.basis}")
    return Bill(floor, ceiling, tuple(basis))


def ask_before_spending(
    project: Project, stack: str, chosen: engine.Engine, *, assume_yes: bool, to_stderr: bool = False
) -> None:
    """Show the plan and what it costs, then ask. Raises CommandError when nobody can be asked, click.Abort on no."""
    shows = engine.engine_for_preview(project, stack, chosen)
    engine.run(project, stack, ("preview",), shows, to_stderr=to_stderr)
    costs = bill(engine.run_json(project, stack, ("preview", "--json"), shows))
    print(f"\nhourly floor:   {_usd(costs.floor)}  (workers that are always on)", file=sys.stderr)
    print(f"hourly ceiling: {_usd(costs.ceiling)}  (every worker busy)", file=sys.stderr)
    for line in costs.basis:
        print(f"  {line}", file=sys.stderr)
    if assume_yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(
            f"stack `{stack}` costs money and nobody can be asked here\n\nhint: `make up STACK={stack} YES=1` goes on"
        )
    click.confirm(f"Deploy stack `{stack}`?", abort=True, err=True)


def _usd(amount: Decimal | None) -> str:
    """In whole cents, rounded as the program's own outputs are: one plan must not name two prices."""
    return "unknown" if amount is None else f"{format_usd(amount)} USD"
