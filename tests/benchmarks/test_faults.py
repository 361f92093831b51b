"""The benchmark of faults: its judge misses nothing, its stories are lawful, and a small run of it comes out clean."""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import faults
from benchmarks._faults_judge import TYPES, Findings, Recorded, judge_destroy, judge_up, readable, recorded
from benchmarks._faults_lane import Verdict
from benchmarks._faults_program import ENVIRONMENT
from benchmarks._faults_story import KINDS, Wish, fault_name, secrets_of, story

SEEDS = range(1, 400)
NOTHING: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}


# The judge


def wish() -> Wish:
    """A program with one resource of each kind."""
    return {
        "volumes": [{"name": "v", "label": None, "size": 20, "data_center": "EU-RO-1"}],
        "credentials": [{"name": "c", "label": "ghcr", "username": "u", "password": "pass-word"}],
        "templates": [
            {"name": "t", "label": None, "image": "i:1", "registry": "c", "cmd": ["serve", "s-2"],
             "env": {"A": "1"}, "secret_env": {"S": "s-1"}}
        ],
        "endpoints": [
            {"name": "e", "label": None, "type": "QUEUE", "queue_delay": True, "template": "t", "image": None,
             "registry": None, "pools": [], "volumes": ["v"], "timeout": 0, "env": {"B": "2"}, "secret_env": {}}
        ],
    }  # fmt: skip


def cloud() -> dict[str, list[dict[str, Any]]]:
    """What the control plane lists once that program is up."""
    return {
        "volumes": [{"id": "v1", "name": "v-0", "size": 20, "dataCenter": "EU-RO-1"}],
        "credentials": [{"id": "c1", "name": "ghcr"}],
        "templates": [
            {"id": "t1", "name": "t-0", "image": "i:1", "cmd": ["serve", "s-2"], "env": {"A": "1", "S": "s-1"}}
        ],
        "endpoints": [
            {"id": "e1", "name": "e-0", "type": "QUEUE", "timeout": 0, "image": "i:1",
             "env": {"A": "1", "S": "s-1", "B": "2"}}
        ],
    }  # fmt: skip


def state() -> list[Recorded]:
    """What the state says then."""
    return [Recorded(kind, kind[0], f"{kind[0]}1", False) for kind in KINDS]


def test_agreement_is_no_finding() -> None:
    """Cloud, state and program are the same: nothing to say. The same after a destroy that left nothing."""
    assert judge_up(cloud(), state(), wish(), NOTHING) == Findings()
    assert judge_destroy(NOTHING, [], NOTHING) == Findings()


@pytest.mark.parametrize("kind", KINDS)
def test_planted_orphan_is_found(kind: str) -> None:
    """One resource that no state knows is an orphan after the `up` and after the destroy."""
    there = cloud()
    there[kind].append({**there[kind][0], "id": "stray"})
    findings = judge_up(there, state(), wish(), NOTHING)
    assert [line for line in findings.orphans if "stray" in line]
    assert findings.lost == []
    assert judge_destroy({**NOTHING, kind: there[kind][-1:]}, [], NOTHING).orphans


@pytest.mark.parametrize("kind", KINDS)
def test_planted_loss_is_found(kind: str) -> None:
    """Gone from the cloud, gone from the state, twice in the state, or left in the state after a destroy."""
    gone = {**cloud(), kind: []}
    assert judge_up(gone, state(), wish(), NOTHING).lost
    forgotten = [entry for entry in state() if entry.kind != kind]
    findings = judge_up(cloud(), forgotten, wish(), NOTHING)
    assert findings.lost
    assert findings.orphans
    twice = [*state(), *(dataclasses.replace(entry, id="x") for entry in state() if entry.kind == kind)]
    assert judge_up(cloud(), twice, wish(), NOTHING).lost
    assert judge_destroy(NOTHING, state(), NOTHING).lost


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("volumes", "size", 10),
        ("volumes", "dataCenter", "US-KS-2"),
        ("credentials", "name", "other"),
        ("templates", "env", {"A": "1", "S": "old"}),
        ("templates", "image", "i:0"),
        ("templates", "cmd", ["serve"]),
        ("endpoints", "env", {"A": "1", "B": "2"}),
        ("endpoints", "type", "LOAD_BALANCER"),
        ("endpoints", "image", "i:0"),
    ],
)
def test_content_that_never_arrived_is_lost(kind: str, key: str, value: object) -> None:
    """There, but not as the program says: named by its property, without the value."""
    there = cloud()
    there[kind][0][key] = value
    lost = judge_up(there, state(), wish(), NOTHING).lost
    assert [line for line in lost if line.endswith(f"{key} is not what the program says")]


def test_left_overs_of_a_replacement_and_of_an_edit_are_orphans() -> None:
    """A resource that the state only keeps to delete it, or that the program dropped, should be gone by then."""
    there = cloud()
    there["volumes"].append({**there["volumes"][0], "id": "v0"})
    replaced = [*state(), Recorded("volumes", "v", "v0", True)]
    assert judge_up(there, replaced, wish(), NOTHING).orphans
    dropped = {**wish(), "endpoints": []}
    assert judge_up(cloud(), state(), dropped, NOTHING).orphans


def test_what_belongs_to_others_is_left_alone() -> None:
    """Deleting, changing or taking over somebody else's resource counts as lost; leaving it there as nothing."""
    theirs = {"id": "theirs", "name": "x", "size": 10}
    others = {**NOTHING, "volumes": [theirs]}
    kept = {**cloud(), "volumes": [*cloud()["volumes"], theirs]}
    assert judge_up(kept, state(), wish(), others) == Findings()
    assert judge_up(cloud(), state(), wish(), others).lost
    changed = {**cloud(), "volumes": [*cloud()["volumes"], {**theirs, "size": 20}]}
    assert judge_up(changed, state(), wish(), others).lost
    taken = [*state(), Recorded("volumes", "other", "theirs", False)]
    assert judge_up(kept, taken, wish(), others).lost


@pytest.mark.parametrize("secret", ["Sxplain-secret", 'Sxq"\\ü\nend'])
def test_planted_secret_is_found(secret: str) -> None:
    """As it is, in a JSON document, and in a JSON document inside another."""
    inner = json.dumps({"password": secret})
    texts = [secret, inner, json.dumps({"inner": inner}), json.dumps({"p": secret}, ensure_ascii=False), repr([secret])]
    for text in texts:
        assert readable([("here", b"..." + text.encode() + b"...")], {secret}) == ["here"]
    assert readable([("here", b"nothing of the kind")], {secret}) == []


def test_state_is_read(tmp_path: Path) -> None:
    """RunPod's resources with name, id and mark of deletion; providers and resources of others are none."""
    file = tmp_path / ".pulumi" / "stacks" / "faults" / "dev.json"
    file.parent.mkdir(parents=True)
    urn = "urn:pulumi:dev::faults::" + TYPES["volumes"] + "::"
    resources = [
        {"urn": urn + "a", "type": TYPES["volumes"], "id": "1"},
        {"urn": urn + "a", "type": TYPES["volumes"], "id": "0", "delete": True},
        {"urn": urn + "read", "type": TYPES["volumes"], "id": "2", "external": True},
        {"urn": "urn:pulumi:dev::faults::pulumi:providers:runpod::p", "type": "pulumi:providers:runpod", "id": "3"},
    ]
    file.write_text(json.dumps({"version": 3, "checkpoint": {"latest": {"resources": resources}}}))
    assert recorded(tmp_path) == [Recorded("volumes", "a", "1", False), Recorded("volumes", "a", "0", True)]
    assert recorded(tmp_path / "nowhere") == []


# The stories


def test_a_seed_tells_one_story() -> None:
    """Twice the same from the same seed; different seeds differ."""
    assert story(7) == story(7)
    assert story(7) != story(8)


def test_stories_are_lawful() -> None:
    """Each has a disturbed step, ends with a clean up and a clean destroy, and asks for nothing that is refused."""
    for seed in SEEDS:
        check(seed)


def check(seed: int) -> None:
    """One story."""
    told = story(seed)
    assert [(step.command, step.clean) for step in told.steps[-2:]] == [("up", True), ("destroy", True)]
    assert any(step.faults or step.kill for step in told.steps[:-2])
    for step in told.steps:
        names = {kind: [item["name"] for item in step.wish[kind]] for kind in KINDS}
        assert all(len(set(found)) == len(found) for found in names.values())
        centers = {volume["name"]: volume["data_center"] for volume in step.wish["volumes"]}
        for endpoint in step.wish["endpoints"]:
            places = [centers[name] for name in endpoint["volumes"]]
            assert len(set(places)) == len(places)
            assert endpoint["image"] or endpoint["template"] in names["templates"]
            assert endpoint["type"] == "QUEUE" or not endpoint["queue_delay"]
        holders = [*step.wish["templates"], *step.wish["endpoints"]]
        assert all(item["registry"] is None or item["registry"] in names["credentials"] for item in holders)


def test_stories_meet_everything() -> None:
    """Every kind of fault and of kill, every way of giving the key, and secrets to look for, all come up."""
    told = [story(seed) for seed in SEEDS]
    steps = [step for one in told for step in one.steps]
    assert {fault_name(fault["fault"]) for step in steps for fault in step.faults} == {
        "reset before", "reset after", "429", "500", "502", "503", "latency", "truncate", "edge",
    }  # fmt: skip
    assert {step.kill.kind for step in steps if step.kill} == {
        "engine by time", "engine by call", "engine by write", "plugin by time", "plugin by call",
    }  # fmt: skip
    assert {one.key_from for one in told} == {"environment", "file", "config"}
    assert {one.command_line for one in told} == {True, False}
    assert sum(bool(secrets_of(one.steps[0].wish)) for one in told) > len(told) / 2


# The whole


def test_report_fails_on_each_finding() -> None:
    """Every kind of finding breaks its limit, and so does a deployment that is missing."""
    assert faults.report([Verdict(1), Verdict(2)], 2).missed() == []
    assert faults.report([Verdict(1)], 2).missed() == ["deployments"]
    for name, key in (("orphans", "orphans"), ("lost", "lost"), ("secrets", "plaintext_secrets"), ("failures",) * 2):
        assert faults.report([Verdict(1, **{name: ["x"]})], 1).missed() == [key]  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.skipif(not ENVIRONMENT.exists(), reason="needs the plugin's environment (.local/envs/plugin)")
def test_small_run_comes_out_clean(tmp_path: Path) -> None:
    """Two deployments side by side, kills and a command line among them: no finding, and nothing is left behind."""
    verdicts = list(faults.run(range(250, 252), 2, tmp_path))
    assert sorted(verdict.seed for verdict in verdicts) == [250, 251]
    assert [verdict for verdict in verdicts if not verdict.ok] == []
    assert sum(sum(verdict.kills.values()) for verdict in verdicts) >= 1
    assert sum(sum(verdict.faults.values()) for verdict in verdicts) >= 2
    for verdict in verdicts:
        assert verdict.searched["processes"] >= verdict.runs  # a plugin each, and a program where there is one
        assert verdict.searched["files"] > 3 * verdict.runs
    assert list(tmp_path.iterdir()) == []
    assert processes_below(tmp_path) == []


def processes_below(folder: Path) -> list[str]:
    """Processes that were started for a folder and still live."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in (process / "cmdline").read_bytes():
                found.append(process.name)
    return found
