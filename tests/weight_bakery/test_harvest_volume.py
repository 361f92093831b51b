"""Caches that a worker left on a network volume, harvested through the volume's S3 API."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.tools import built_tool
from tests.weight_bakery.caches import A100, H100, archive_for, key_for
from tests.weight_bakery.seed_gateway import ACCESS, SECRET, VOLUME, fail, gate_before, running_gateway
from tests.weight_bakery.support import write_model
from weight_bakery import (
    BadRequest,
    BakeRequest,
    BakeryError,
    HarvestError,
    HarvestRequest,
    Note,
    VolumeError,
    bake,
    harvest,
    harvest_async,
    plan_harvest,
    plan_harvest_async,
)


@pytest.fixture
def request_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HarvestRequest:
    """A harvest into a baked image; nothing of this machine's AWS settings is used."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "RUNPOD_S3_ACCESS_KEY_ID": ACCESS, "RUNPOD_S3_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("weight_bakery._seed_s3.random.uniform", lambda *_: 0.01)
    image = f"oci:{tmp_path}/images:v1"
    bake(BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=image, lock=tmp_path / "weights.lock"))
    return HarvestRequest(image, f"s3://{VOLUME}/start-up-caches/", lock=tmp_path / "weights.lock")


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """versitygw's address and the folder of the one volume; two workers have been there, and one still writes."""
    root = tmp_path_factory.mktemp("gateway")
    with running_gateway(built_tool("versitygw"), root / "volumes") as host:
        folder = root / "volumes" / VOLUME / "start-up-caches"
        folder.mkdir()
        for gpu in (A100, H100):
            archive_for(folder, key_for(gpu))
        (folder / ".0123456789abcdef.tar.9f").write_bytes(b"half")
        (folder / "notes.txt").write_text("mine")
        yield host, folder


@pytest.mark.tools
async def test_every_archive_of_the_folder_is_taken_also_past_bad_answers(
    request_for: HarvestRequest, gateway: tuple[str, Path]
) -> None:
    """Two keys become two layers; what is no archive, or not yet, is left alone. 502s cost a line each."""
    notes: list[str] = []
    async with gate_before(gateway[0]) as gate:
        gate.before = fail(1, {"Get", "List", "Head"})
        there = replace(request_for, endpoint_url=gate.url)
        receipt = await harvest_async(
            there, progress=lambda event: notes.append(event.text) if isinstance(event, Note) else None
        )
        one = await plan_harvest_async(
            replace(there, source=f"s3://{VOLUME}/start-up-caches/{receipt.caches[0].id}.tar")
        )
    assert sorted(caches.gpu for caches in receipt.caches) == [A100["name"], H100["name"]]
    assert len([note for note in notes if "trying again" in note]) == 3
    assert [caches.id for caches in one.caches] == [receipt.caches[0].id]
    assert one.digest == receipt.digest
    assert not set(gate.seen) & {"PutObject", "UploadPart", "DeleteObject"}, "the volume is only read"


@pytest.mark.tools
def test_what_is_not_on_the_volume_is_one_line(request_for: HarvestRequest, gateway: tuple[str, Path]) -> None:
    """No such folder, archive or volume."""
    there = replace(request_for, endpoint_url=f"http://{gateway[0]}")
    for source, kind, words in (
        (f"s3://{VOLUME}/elsewhere", HarvestError, "holds no start-up caches"),
        (f"s3://{VOLUME}/start-up-caches/{'0' * 16}.tar", HarvestError, "does not exist"),
        ("s3://no-such-volume/x", VolumeError, "has no volume no-such-volume"),
    ):
        with pytest.raises(kind, match=words):
            harvest(replace(there, source=source))
    with pytest.raises(HarvestError, match="--max-size"):
        harvest(replace(there, max_size=-(10**9)))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("s3://", "names no network volume and folder"),
        ("s3://vol1a2b3c/../x", "names no network volume and folder"),
        ("s3://vol1a2b3c/x", "data centre is not given"),
    ],
)
def test_a_place_that_cannot_be_is_refused_before_anything_is_asked(
    request_for: HarvestRequest, source: str, words: str
) -> None:
    """In one line."""
    with pytest.raises(BadRequest, match=words) as caught:
        plan_harvest(replace(request_for, source=source))
    assert isinstance(caught.value, BakeryError)
