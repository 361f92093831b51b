"""Baking from a bucket: the real boto3 against a server that answers like one, and against versitygw."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import boto3
import pytest
from boto3.s3.transfer import TransferConfig

from tests.support.tools import built_tool
from tests.weight_bakery.bucket import Bucket, running_bucket
from tests.weight_bakery.seed_gateway import ACCESS, SECRET, VOLUME, running_gateway
from tests.weight_bakery.support import Layout, image_root, model_files, write_files
from weight_bakery import (
    AccessDenied,
    BadRequest,
    BakeRequest,
    BakeryError,
    ModelNotFound,
    SourceChanged,
    SourceUnavailable,
    bake_async,
    plan_bake_async,
    read_lock,
)
from weight_bakery._references import BucketModel
from weight_bakery._source_s3 import BucketSource

SHARD = "model-00002-of-00002.safetensors"


@pytest.fixture
async def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Bucket]:
    """A bucket with the test model; no login of this machine is used, and no pause is long."""
    async with running_bucket(model_files(shard_bytes=3_000_000)) as bucket:
        use_bucket(monkeypatch, tmp_path, bucket.origin)
        yield bucket


def use_bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, endpoint: str) -> None:
    """Point boto3's environment at an endpoint."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    settings = {
        "AWS_ENDPOINT_URL_S3": endpoint, "AWS_ACCESS_KEY_ID": "bakery", "AWS_SECRET_ACCESS_KEY": "bakery-secret",
        "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("weight_bakery._source_s3.random.uniform", lambda *_: 0.0)


def request_for(tmp_path: Path, model: str = "s3://models/org/Tiny") -> BakeRequest:
    """A bake into a layout."""
    return BakeRequest(model=model, to=f"oci:{tmp_path}/layout:v1", lock=tmp_path / "weights.lock")


def assert_sound(files: dict[str, bytes], tmp_path: Path) -> None:
    """Every file in the image is the bucket's, byte for byte."""
    expected = {name: content for name, content in files.items() if name != "README.md"}
    assert Layout(tmp_path / "layout").files("v1") == image_root(expected, "models/tiny")


async def test_a_prefix_becomes_the_image_that_its_folder_would(bucket: Bucket, tmp_path: Path) -> None:
    """Page by page, under the prefix's last name; the lock says where it came from."""
    receipt = await bake_async(request_for(tmp_path))
    assert_sound(bucket.files, tmp_path)
    assert (receipt.kind, receipt.model, receipt.served_name) == ("s3", "Tiny", "Tiny")
    entry = next(iter(read_lock(tmp_path / "weights.lock").images.values()))
    assert entry.source == "s3://models/org/Tiny"
    folder = write_files(tmp_path / "Tiny", bucket.files)
    from_folder = await bake_async(BakeRequest(model=str(folder), to=f"oci:{tmp_path}/layout:v2"))
    assert from_folder.digest == receipt.digest


async def test_a_second_bake_reads_no_weight(bucket: Bucket, tmp_path: Path) -> None:
    """An equal ETag is an equal object: its digest is remembered."""
    await bake_async(request_for(tmp_path))
    bucket.seen.clear()
    receipt = await bake_async(request_for(tmp_path))
    assert receipt.sent_bytes == 0
    assert bucket.seen["GET"] == 3  # the card, config.json and the index


async def test_a_checksum_of_the_bucket_is_a_digest(bucket: Bucket, tmp_path: Path) -> None:
    """With it the lock alone is enough on a machine that remembers nothing."""
    bucket.checksums = True
    await bake_async(request_for(tmp_path))
    (tmp_path / "layout/.bakery/digests.json").unlink()
    plan = await plan_bake_async(request_for(tmp_path))
    assert [layer.present for layer in plan.layers] == [True, True, True]
    assert bucket.seen["HEAD"] == 2 * len(bucket.files)


async def test_breaks_and_slow_downs_are_mended(bucket: Bucket, tmp_path: Path) -> None:
    """Each time by a read of what is missing."""
    bucket.drop_after, bucket.failures = 1_200_000, [503, 500]
    await bake_async(request_for(tmp_path))
    assert_sound(bucket.files, tmp_path)
    assert len(bucket.ranges) >= 4
    assert "bytes=0-" not in bucket.ranges


async def test_breaks_without_progress_come_to_an_end(bucket: Bucket, tmp_path: Path) -> None:
    """A few bytes per connection are given up after some tries."""
    bucket.drop_after = 10_000
    with pytest.raises(SourceUnavailable, match=r"s3://models/org/Tiny/model-.* could not be read to its end"):
        await bake_async(request_for(tmp_path))


async def test_an_object_that_changes_is_noticed(bucket: Bucket, tmp_path: Path) -> None:
    """Of equal length, in the middle of a read: the bucket refuses the rest, and nothing is tagged."""
    bucket.drop_after, bucket.change = 1_500_000, SHARD
    with pytest.raises(SourceChanged, match=f"s3://models/org/Tiny/{SHARD} changed while it was being baked"):
        await bake_async(request_for(tmp_path))
    assert not (tmp_path / "weights.lock").exists()


@pytest.mark.parametrize(
    ("refusal", "error", "message"),
    [
        ((403, "AccessDenied"), AccessDenied, "may not read s3://models/org/Tiny; it needs s3:ListBucket"),
        (
            (403, "RequestTimeTooSkewed"),
            AccessDenied,
            "Tiny refuses this machine's clock .*; set it right",
        ),
        ((403, "InvalidAccessKeyId"), AccessDenied, "not valid .InvalidAccessKeyId.; check AWS_ACCESS_KEY_ID"),
        ((404, "NoSuchBucket"), ModelNotFound, "there is no bucket 'models'"),
    ],
)
async def test_what_a_refusal_means(
    bucket: Bucket, tmp_path: Path, refusal: tuple[int, str], error: type[BakeryError], message: str
) -> None:
    """One line with the way out, and no secret."""
    bucket.refusal = refusal
    with pytest.raises(error, match=message) as caught:
        await bake_async(request_for(tmp_path))
    assert "bakery-secret" not in str(caught.value)


async def test_an_empty_prefix_and_a_missing_login(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both before anything is written."""
    with pytest.raises(ModelNotFound, match="nothing under s3://models/org/Tin/"):
        await bake_async(request_for(tmp_path, "s3://models/org/Tin"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(AccessDenied, match="no usable login for s3://models/org/Tiny"):
        await bake_async(request_for(tmp_path))
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(AccessDenied, match="nobody"):
        await bake_async(request_for(tmp_path))


@pytest.mark.parametrize("text", ["s3://", "s3:///x", "s3://B/x", "s3://bucket/a//b"])
async def test_what_is_no_bucket(tmp_path: Path, text: str) -> None:
    """Refused before anything is asked."""
    with pytest.raises(BadRequest, match="names no bucket and prefix"):
        await plan_bake_async(request_for(tmp_path, text))


@pytest.mark.tools
async def test_a_real_gateway_is_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """versitygw: uploads in parts and in one, ranges and conditions; an overwritten object is noticed."""
    files = model_files(shard_bytes=6_000_000)
    with running_gateway(built_tool("versitygw"), tmp_path / "volumes") as host:
        use_bucket(monkeypatch, tmp_path, f"http://{host}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        client = boto3.client("s3")
        for path, content in files.items():
            parts = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
            client.upload_fileobj(io.BytesIO(content), VOLUME, f"org/Tiny/{path}", Config=parts)
        model = f"s3://{VOLUME}/org/Tiny"
        await bake_async(request_for(tmp_path, model))
        assert_sound(files, tmp_path)
        source = BucketSource(BucketModel(VOLUME, "org/Tiny"))
        source.inventory()
        with source.open(SHARD, 5_000_000) as reader:
            assert b"".join(iter(lambda: reader.read(1 << 20), b"")) == files[SHARD][5_000_000:]
        client.put_object(Bucket=VOLUME, Key=f"org/Tiny/{SHARD}", Body=bytes(len(files[SHARD])))
        with pytest.raises(SourceChanged, match="changed while"), source.open(SHARD, 5_000_000) as reader:
            reader.read(1)
