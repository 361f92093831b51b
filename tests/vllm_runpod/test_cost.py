"""The bill of a plan: summed over its endpoints, unknown where anything is unknown."""

from decimal import Decimal
from typing import Any

from vllm_runpod.cost import bill
from vllm_sizing import snapshot


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
