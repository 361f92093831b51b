"""The state file at every moment of an update: whole, consistent, and losing sight of nothing that exists."""

import json
from pathlib import Path
from typing import Any

import pytest

from pulumi_embedded._backend import Backend
from pulumi_embedded._errors import IntegrityError
from pulumi_embedded._state import ResourceState, resource_from_json, resource_to_json, verify_integrity
from pulumi_embedded._statejson import NoSecrets, Sealer
from pulumi_embedded._steps import Graph, Step, antichains, rebuilt
from tests.pulumi_embedded.support import STACK, Sandbox
from tests.pulumi_embedded.virtualenv import own_virtualenv

STORY = (
    'a = Thing("a", fixed=1)\nb = Thing("b", fixed=a.url, dbr=True)\nThing("c", value=b.url)\nThing("d", value=1)',
    'a = Thing("a", fixed=2)\nb = Thing("b", fixed=a.url, dbr=True)\nThing("c", value=b.url)',
    "pass",
)


def _seen(text: bytes) -> tuple[set[str], set[str]]:
    """The ids a written state knows, and the names whose creation it knows to be under way."""
    latest = json.loads(text)["checkpoint"].get("latest") or {}
    ids = {entry.get("id", "") for entry in latest.get("resources") or ()}
    creating = {
        entry["resource"]["urn"].split("::")[-1]
        for entry in latest.get("pending_operations") or ()
        if entry["type"] == "creating"
    }
    return ids, creating


def test_at_every_write_the_state_is_whole_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Creations, both kinds of replacement and deletions: whatever is in the cloud is known, or known to be coming."""
    sandbox = Sandbox(tmp_path / "sandbox", "embedded", own_virtualenv())
    sandbox.init()
    written: list[tuple[bytes, dict[str, Any]]] = []
    real = Backend.write

    def write(self: Backend, stack: str, text: bytes) -> None:
        written.append((text, sandbox.things()))
        real(self, stack, text)

    monkeypatch.setattr(Backend, "write", write)
    for program in STORY:
        sandbox.program(program)
        outcome = sandbox.outcome("up")
        assert outcome.exit == 0, outcome.output
    assert len(written) > 20
    for text, cloud in written:
        entries = json.loads(text)["checkpoint"]["latest"].get("resources") or ()
        verify_integrity(resource_from_json(entry, Sealer(NoSecrets())) for entry in entries)
        ids, creating = _seen(text)
        for id_, thing in cloud.items():
            assert id_ in ids or thing["name"] in creating, (id_, text)
    assert sandbox.things() == {}


def test_unknown_fields_survive() -> None:
    """A newer engine's fields are carried along."""
    data = {"urn": "urn:pulumi:s::p::t::n", "custom": False, "type": "t", "novelty": {"a": [1]}}
    state = resource_from_json(data, Sealer(NoSecrets()))
    assert resource_to_json(state, Sealer(NoSecrets())) == data
    state.outputs = {"x": 1}
    assert resource_to_json(state, Sealer(NoSecrets()))["novelty"] == {"a": [1]}


def _state(name: str, **more: Any) -> ResourceState:
    return ResourceState(urn=f"urn:pulumi:s::p::t::{name}", type="t", custom=True, id=name, **more)


@pytest.mark.parametrize(
    ("states", "reason"),
    [
        ([_state("a"), _state("a")], "duplicate resource"),
        ([_state("a", parent="urn:pulumi:s::p::t::b")], "refers to parent"),
        ([_state("a", dependencies=["urn:pulumi:s::p::t::b"]), _state("b")], "is not before it"),
        ([_state("a", provider="urn::x")], "unknown provider"),
        ([ResourceState("urn:pulumi:s::p::t::a", "t", False, "id")], "is a component, and has an id"),
        ([_state("a", deleted_with="urn:pulumi:s::p::t::b")], "is deleted with"),
    ],
)
def test_contradictions_are_found(states: list[ResourceState], reason: str) -> None:
    """Everything an entry refers to must stand before it; one live entry per URN."""
    with pytest.raises(IntegrityError, match=reason):
        verify_integrity(states)


def test_deletions_come_in_rounds_dependents_first() -> None:
    """What nothing depends on any more may go, all of it at once."""
    a = _state("a")
    b, c = _state("b", dependencies=[a.urn]), _state("c", parent=a.urn)
    d = _state("d", property_dependencies={"x": [b.urn]})
    states = [a, b, c, d]
    rounds = antichains([Step("delete", state, None) for state in states], Graph(states))
    assert [sorted(step.res.name for step in chain) for chain in rounds] == [["d"], ["b", "c"], ["a"]]


def test_a_refresh_that_loses_something_leaves_nothing_dangling() -> None:
    """References to what is gone are taken out; children go to the top."""
    a = _state("a")
    b = _state("b", dependencies=[a.urn], property_dependencies={"x": [a.urn]}, deleted_with=a.urn, parent=a.urn)
    step = Step("refresh", a, None, refresh_deleted=True)
    (kept,) = rebuilt([a, b], {a: step})
    assert kept is b
    assert (kept.dependencies, kept.property_dependencies, kept.deleted_with, kept.parent) == ([], {}, "", "")


def test_the_stack_name_is_part_of_the_file(tmp_path: Path) -> None:
    """A checkpoint that belongs to another stack is refused."""
    sandbox = Sandbox(tmp_path / "sandbox", "embedded", own_virtualenv())
    sandbox.init()
    text = sandbox.state_file.read_text().replace("organization/shop/dev", "organization/shop/other")
    sandbox.state_file.write_text(text)
    code, output = sandbox.run("up", "--stack", STACK, "--yes")
    assert code == 1
    assert "belongs to stack organization/shop/other" in output
