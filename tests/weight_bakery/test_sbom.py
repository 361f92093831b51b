"""Bill of materials and provenance: what they say, and that a lock entry alone decides it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from weight_bakery import LockedFile, LockedLayer, LockEntry
from weight_bakery._lock import LockedSplit
from weight_bakery._sbom import _SPDX, provenance, sbom

VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)
COMMIT = "0123456789abcdef0123456789abcdef01234567"
IMAGE, BASE, LAYER = (f"sha256:{digit * 64}" for digit in "123")
HUB = LockEntry(
    kind="hub",
    model="Qwen/Qwen3-8B",
    revision=COMMIT,
    name="qwen3-8b",
    served_name="Qwen/Qwen3-8B",
    layer_rule=1,
    files=(LockedFile("config.json", 2, "a" * 64), LockedFile("model.safetensors", 9, "b" * 64)),
    layers=(LockedLayer("weights", LAYER, 4096, "c" * 64),),
    image_digest=IMAGE,
    base_digest=BASE,
    source="Qwen/Qwen3-8B@main",
    base=f"vllm/vllm-openai:v1@{BASE}",
    exclude=("*.bin",),
    licence="apache-2.0",
)
FOLDER = replace(
    HUB, kind="folder", model="Tiny", revision=IMAGE, source="./models/Tiny", base=None, base_digest=None, licence=None
)


def bill(entry: LockEntry) -> Any:
    return json.loads(sbom(entry).content)


def statement(entry: LockEntry) -> Any:
    return json.loads(provenance(entry).content)


def test_the_bill_names_image_model_files_and_base() -> None:
    """Every file with its hash, the model with commit and licence, the base by digest."""
    content = bill(HUB)
    assert (content["bomFormat"], content["specVersion"], content["version"]) == ("CycloneDX", "1.6", 1)
    image = content["metadata"]["component"]
    assert (image["type"], image["version"]) == ("container", IMAGE)
    assert {"name": "vllm-runpod:layer", "value": f"weights {LAYER} 4096"} in image["properties"]
    model, *files, base = content["components"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "Qwen/Qwen3-8B", COMMIT)
    assert model["purl"] == f"pkg:huggingface/Qwen/Qwen3-8B@{COMMIT}"
    assert model["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert {item["name"]: item["hashes"][0]["content"] for item in files} == {
        "/models/qwen3-8b/config.json": "a" * 64,
        "/models/qwen3-8b/model.safetensors": "b" * 64,
    }
    assert (base["name"], base["version"]) == ("vllm/vllm-openai:v1", BASE)


@pytest.mark.parametrize("entry", [HUB, FOLDER])
def test_the_bill_refers_only_to_what_it_has(entry: LockEntry) -> None:
    """References are unique, and every dependency leads to one of them."""
    content = bill(entry)
    references = [content["metadata"]["component"]["bom-ref"], *(item["bom-ref"] for item in content["components"])]
    assert len(set(references)) == len(references)
    named = {name for item in content["dependencies"] for name in (item["ref"], *item["dependsOn"])}
    assert named == set(references)


@pytest.mark.parametrize(
    ("licence", "said"),
    [
        ("mit", [{"license": {"id": "MIT"}}]),
        ("cc-by-nc-4.0", [{"license": {"id": "CC-BY-NC-4.0"}}]),
        ("llama3.1", [{"license": {"name": "llama3.1"}}]),
        (None, None),
    ],
)
def test_a_licence_that_spdx_does_not_know_goes_by_its_name(licence: str | None, said: object) -> None:
    """An invented identifier would make the document invalid; an unknown licence is left out."""
    assert bill(replace(HUB, licence=licence))["components"][0].get("licenses") == said


def test_a_folder_has_its_content_as_version() -> None:
    """No commit, no base: the content revision stands for both."""
    content = bill(FOLDER)
    assert content["components"][0]["purl"] == f"pkg:generic/Tiny@sha256%3A{'1' * 64}"
    assert [item["type"] for item in content["components"]] == ["machine-learning-model", "file", "file"]


def test_the_statement_says_what_was_made_from_what() -> None:
    """in-toto v1 with SLSA provenance: subject, what was asked for, and every material by digest."""
    content = statement(HUB)
    assert (content["_type"], content["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    assert content["subject"] == [{"name": "qwen3-8b", "digest": {"sha256": "1" * 64}}]
    definition = content["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {
        "model": "Qwen/Qwen3-8B@main",
        "name": "qwen3-8b",
        "servedName": "Qwen/Qwen3-8B",
        "base": HUB.base,
        "exclude": ["*.bin"],
    }
    source, config, weights, base = definition["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": COMMIT}
    assert (config["digest"], weights["digest"]) == ({"sha256": "a" * 64}, {"sha256": "b" * 64})
    assert base["digest"] == {"sha256": "2" * 64}
    assert content["predicate"]["runDetails"]["byproducts"] == [{"name": "weights", "digest": {"sha256": "3" * 64}}]


def test_a_file_that_was_split_is_a_material_as_a_whole() -> None:
    """Where its source names its digest; what the image holds are the parts."""
    split = LockedSplit("model.safetensors", 9, "d" * 64, 5, ("model-00001-of-00002.safetensors",), 1)
    part = LockedFile("model-00001-of-00002.safetensors", 5, "e" * 64)
    entry = replace(HUB, files=(HUB.files[0], part), resharded=(split,))
    materials = statement(entry)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert [item["name"] for item in materials[1:3]] == ["config.json", "model.safetensors"]
    assert materials[2]["digest"] == {"sha256": "d" * 64}
    assert "/models/qwen3-8b/model-00001-of-00002.safetensors" in [item["name"] for item in bill(entry)["components"]]


def test_the_same_entry_gives_the_same_bytes() -> None:
    """And where a folder stands on this machine does not matter."""
    assert sbom(HUB).digest == "sha256:09bae4b2656000ee190c40a0ae158f9b17de1c1388664c337d96cd97cc9247df"
    assert provenance(HUB).digest == "sha256:0066cca0f744c10835574d31d96e314711200794b0971b6838cd308d18399b23"
    elsewhere = replace(FOLDER, source=None)
    assert (sbom(elsewhere), provenance(elsewhere)) == (sbom(FOLDER), provenance(FOLDER))


ODD = replace(
    HUB,
    kind="s3",
    model="s3://bucket/a model/ü+1",
    revision=f"sha256:{'9' * 64}",
    source="s3://bucket/a model/ü+1",
    files=(LockedFile("sub dir/ü#1?.safetensors", 0, "d" * 64),),
    licence="llama3.1",
    gated="manual",
    resharded=(LockedSplit("model.safetensors", 9, "e" * 64, 1 << 20, ("sub dir/ü#1?.safetensors",), 1),),
)


@pytest.mark.parametrize(
    "entry",
    [HUB, FOLDER, ODD, *(replace(HUB, licence=name) for name in sorted(_SPDX))],
    ids=lambda entry: f"{entry.kind} {entry.licence}",
)
def test_the_bill_is_what_cyclonedx_says_it_is(entry: LockEntry) -> None:
    """The published schema of version 1.6, strictly, with SPDX's list of licences."""
    content = sbom(entry).content.decode()
    assert VALIDATOR.validate_str(content) is None
    broken = content.replace('"type":"file"', '"type":"weights"')
    assert "'weights' is not one of" in str(VALIDATOR.validate_str(broken))


@pytest.mark.parametrize("entry", [HUB, FOLDER, ODD])
def test_a_foreign_reader_finds_the_files(entry: LockEntry) -> None:
    """CycloneDX's own library reads the document: names, digests and the model's licence."""
    read = Bom.from_json(bill(entry))  # type: ignore[attr-defined]
    hashes = {item.name: next(iter(item.hashes)).content for item in read.components if item.type.value == "file"}
    assert hashes == {f"/models/{entry.name}/{file.path}": file.sha256 for file in entry.files}
    (model,) = [item for item in read.components if item.type.value == "machine-learning-model"]
    assert (model.name, model.version, model.purl.version) == (entry.model, entry.revision, entry.revision)
    assert len(model.licenses) == (entry.licence is not None)
