"""What is left in the cloud that no state knows, what is missing, and which secrets can be read.

Plain functions over data, so that each verdict is tested with a planted fault.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._faults_story import KINDS, Json, Wish

Cloud = Mapping[str, list[Json]]
"""By kind, what the control plane lists."""

TYPES = {
    "volumes": "runpod:index:NetworkVolume",
    "credentials": "runpod:index:RegistryCredential",
    "templates": "runpod:index:Template",
    "endpoints": "runpod:index:Endpoint",
}


@dataclass
class Findings:
    """What is wrong; a line each."""

    orphans: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Recorded:
    """One resource of the state."""

    kind: str
    name: str
    id: str
    to_be_deleted: bool


def recorded(state: Path) -> list[Recorded]:
    """The RunPod resources in the stack's state; none where there is no state."""
    found = []
    for file in state.glob(".pulumi/stacks/*/*.json"):
        latest = json.loads(file.read_bytes())["checkpoint"].get("latest") or {}
        for entry in latest.get("resources") or ():
            kind = next((kind for kind, type_ in TYPES.items() if type_ == entry["type"]), None)
            if kind is not None and not entry.get("external"):
                name = entry["urn"].rsplit("::", 1)[-1]
                found.append(Recorded(kind, name, entry.get("id", ""), bool(entry.get("delete"))))
    return found


def judge_up(cloud: Cloud, state: Iterable[Recorded], wish: Wish, others: Cloud) -> Findings:
    """After a clean `up`: the cloud, the state and the program are the same set. `others` belong to somebody else."""
    findings = _judge_both(cloud, state, others)
    for kind in KINDS:
        there = {item["id"]: item for item in cloud[kind]}
        wanted = {item["name"]: item for item in wish[kind]}
        mine = [entry for entry in state if entry.kind == kind]
        for entry in mine:
            if entry.to_be_deleted:
                findings.orphans.append(f"{kind} {entry.name} {entry.id}: replaced, but not deleted")
            elif entry.name not in wanted:
                findings.orphans.append(f"{kind} {entry.name} {entry.id}: not in the program")
        for name, item in wanted.items():
            ids = [entry.id for entry in mine if entry.name == name and not entry.to_be_deleted]
            if len(ids) != 1:
                findings.lost.append(f"{kind} {name}: {len(ids)} times in the state")
            elif ids[0] in there:
                wrong = _differences(kind, item, there[ids[0]], wish)
                findings.lost += [f"{kind} {name} {ids[0]}: {line}" for line in wrong]
    return findings


def judge_destroy(cloud: Cloud, state: Iterable[Recorded], others: Cloud) -> Findings:
    """After a clean `destroy`: nothing is left on either side."""
    findings = _judge_both(cloud, state, others)
    findings.lost += [f"{entry.kind} {entry.name} {entry.id}: still in the state" for entry in state]
    return findings


def _judge_both(cloud: Cloud, state: Iterable[Recorded], others: Cloud) -> Findings:
    findings = Findings()
    for kind in KINDS:
        theirs = {item["id"]: item for item in others[kind]}
        there = {item["id"]: item for item in cloud[kind]}
        ids = [entry.id for entry in state if entry.kind == kind]
        for gone in theirs.keys() - there.keys():
            findings.lost.append(f"{kind} {gone}: somebody else's, deleted")
        findings.lost += [
            f"{kind} {one}: somebody else's, changed" for one in theirs if there.get(one, theirs[one]) != theirs[one]
        ]
        for one in sorted(there.keys() - theirs.keys() - set(ids)):
            findings.orphans.append(f"{kind} {one} ({there[one].get('name')}): in no state")
        for one in ids:
            if one not in there:
                findings.lost.append(f"{kind} {one}: in the state, not in the cloud")
            elif one in theirs:
                findings.lost.append(f"{kind} {one}: somebody else's, taken into the state")
            elif ids.count(one) > 1:
                findings.lost.append(f"{kind} {one}: twice in the state")
    return findings


def _differences(kind: str, wanted: Json, there: Json, wish: Wish) -> list[str]:
    """How the cloud's resource differs from what the program says of it."""
    expected: dict[str, Any] = {"name": wanted["label"]} if wanted["label"] else {}
    if kind == "volumes":
        expected |= {"size": wanted["size"], "dataCenter": wanted["data_center"]}
    elif kind == "templates":
        expected |= {"image": wanted["image"], "env": wanted["env"] | wanted["secret_env"]}
        expected |= {"cmd": wanted["cmd"]} if wanted["cmd"] else {}
    elif kind == "endpoints":
        template = next((item for item in wish["templates"] if item["name"] == wanted["template"]), None)
        base = {**template["env"], **template["secret_env"]} if template else {}
        expected |= {
            "type": wanted["type"],
            "timeout": wanted["timeout"],
            "image": wanted["image"] or (template or {}).get("image"),
            "env": base | wanted["env"] | wanted["secret_env"],
        }
    # Values may be secret: only the property is named.
    return [f"{key} is not what the program says" for key, value in expected.items() if there.get(key, {}) != value]


# Secrets


def readable(places: Iterable[tuple[str, bytes]], secrets: Iterable[str]) -> list[str]:
    """Where one of the secrets can be read, as it is or escaped for JSON, Python or YAML."""
    forms = sorted({form for secret in secrets for form in _forms(secret)})
    return [where for where, content in places if any(form in content for form in forms)]


def _forms(secret: str) -> set[bytes]:
    texts = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    twice = {json.dumps(text)[1:-1] for text in texts}  # a document inside a document
    return {text.encode() for text in texts | twice}


def files_below(folder: Path) -> Iterable[tuple[str, bytes]]:
    """Every file below a folder, with its content."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()
