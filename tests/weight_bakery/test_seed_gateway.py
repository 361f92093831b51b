"""Seeding a volume behind versitygw: what lands, what a second run sends, what faults and kills cost, who finds it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner
from huggingface_hub import snapshot_download

from runpod_emulator.config import Config
from tests.support.tools import built_tool
from tests.weight_bakery.hub import Hub
from tests.weight_bakery.seed_gateway import ACCESS, SECRET, VOLUME, Gate, fail, gate_before, running_gateway
from tests.weight_bakery.support import model_files, write_files
from vllm_options import latest_version, options, read_environment
from weight_bakery import (
    BakeRequest,
    SeedReceipt,
    SeedRequest,
    SourceDamaged,
    VolumeDenied,
    VolumeError,
    bake_async,
    plan_seed,
    seed_volume,
)
from weight_bakery.cli import bake_command

pytestmark = [pytest.mark.tools, pytest.mark.slow]

MIB = 1 << 20
REPOSITORY = "org/Tiny"
FOLDER = "huggingface-cache/hub/models--org--Tiny"


@pytest.fixture(scope="session")
def gateway_program() -> Path:
    """versitygw, built once."""
    return built_tool("versitygw")


@pytest.fixture
def volume(gateway_program: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A running gateway's address, and the folder of the one volume."""
    with running_gateway(gateway_program, tmp_path / "volumes") as host:
        yield host, tmp_path / "volumes" / VOLUME


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The volume's keys in the environment, none of this machine's, and no long pauses."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    settings = {
        "RUNPOD_S3_ACCESS_KEY_ID": ACCESS, "RUNPOD_S3_SECRET_ACCESS_KEY": SECRET, "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("weight_bakery._seed_s3.random.uniform", lambda *_: 0.01)


@pytest.fixture
async def gate(volume: tuple[str, Path], keys: None) -> AsyncIterator[tuple[Gate, Path]]:
    """The way to the volume."""
    del keys
    async with gate_before(volume[0]) as gate:
        yield gate, volume[1]


@pytest.fixture
def files() -> dict[str, bytes]:
    """A model whose weights are sent in three parts."""
    return model_files(shards=1, shard_bytes=11 * MIB)


def request_for(gate: Gate, model: Path | str | None, **changes: Any) -> SeedRequest:
    """Seed the test volume, in the smallest parts."""
    settings = {"endpoint_url": gate.url, "part_size": 5 * MIB, "repository": REPOSITORY, "flows": 2, **changes}
    return SeedRequest(volume=VOLUME, model=None if model is None else str(model), **settings)


async def seeded(request: SeedRequest) -> SeedReceipt:
    """Seed from a thread: the gate runs in this loop."""
    return await asyncio.to_thread(seed_volume, request)


def expected_size(files: dict[str, bytes]) -> int:
    """Bytes of the files that go in."""
    return sum(len(content) for name, content in files.items() if name != "README.md")


def assert_found(folder: Path, files: dict[str, bytes]) -> None:
    """The Hugging Face library, offline, finds every file of the model in the volume's folder."""
    found = Path(snapshot_download(REPOSITORY, cache_dir=folder / "huggingface-cache/hub", local_files_only=True))
    there = {path.relative_to(found).as_posix(): path.read_bytes() for path in found.rglob("*") if path.is_file()}
    assert there == {name: content for name, content in files.items() if name != "README.md"}
    assert not any(path.is_symlink() for path in folder.rglob("*"))


async def test_a_seeded_volume_is_a_cache_that_needs_no_network(
    gate: tuple[Gate, Path], files: dict[str, bytes], tmp_path: Path
) -> None:
    """Byte for byte; the reference is written last; a second run sends nothing and reads nothing back."""
    model = write_files(tmp_path / "Tiny", files)
    first = await seeded(request_for(gate[0], model))
    assert first.sent_bytes == expected_size(files)
    assert first.read_back_bytes == 0  # versitygw makes ETags as S3 does
    assert first.environment == {"MODEL_NAME": REPOSITORY, "BASE_PATH": "/runpod-volume", "HF_HUB_OFFLINE": "1"}
    assert_found(gate[1], files)
    assert gate[0].order[-1] == f"{FOLDER}/refs/main"
    assert gate[0].seen["UploadPart"] == 3
    gate[0].sent = 0
    again = await seeded(request_for(gate[0], model))
    assert (again.sent_bytes, again.read_back_bytes, gate[0].sent) == (0, 0, 0)
    assert gate[0].seen["DeleteObjects"] == 0


@pytest.mark.usefixtures("keys")
def test_a_notebook_may_seed(volume: tuple[str, Path], files: dict[str, bytes], tmp_path: Path) -> None:
    """Called where an event loop runs already, it works as anywhere else."""
    model = write_files(tmp_path / "Tiny", files)

    async def cell() -> SeedReceipt:
        return seed_volume(request_for(Gate(volume[0], f"http://{volume[0]}"), model))

    assert asyncio.run(cell()).sent_bytes == expected_size(files)
    assert_found(volume[1], files)


async def test_the_hubs_commit_names_the_snapshot_and_the_lock_is_enough(
    gate: tuple[Gate, Path], hub: Hub, tmp_path: Path
) -> None:
    """Baked once, seeded by the lock alone: same commit, same digests, straight from the Hub."""
    lock = tmp_path / "weights.lock"
    await bake_async(
        BakeRequest(model="owner/Tiny", to=f"oci:{tmp_path}/layout:v1", lock=lock, hub_endpoint=hub.origin)
    )
    receipt = await seeded(request_for(gate[0], None, lock=lock, hub_endpoint=hub.origin))
    assert receipt.revision == hub.commit
    assert receipt.snapshot == f"{FOLDER}/snapshots/{hub.commit}"
    assert (gate[1] / FOLDER / "refs/main").read_text() == hub.commit
    assert_found(gate[1], dict(hub.files))


async def test_bad_gateways_and_silence_cost_tries_and_nothing_else(
    gate: tuple[Gate, Path], files: dict[str, bytes], tmp_path: Path
) -> None:
    """Every kind of call fails twice with 502, and one part is never answered."""
    calls = {"PutObject", "UploadPart", "Create", "CompleteMultipartUpload", "Head", "ListUploads", "Get"}
    failing = fail(2, calls)
    silent = asyncio.Event()

    async def before(call: str, request: web.Request) -> web.StreamResponse | None:
        if call == "UploadPart" and not silent.is_set():
            silent.set()
            await asyncio.sleep(3)
        return await failing(call, request)

    gate[0].before = before
    receipt = await seeded(request_for(gate[0], write_files(tmp_path / "Tiny", files), read_timeout_s=1.0))
    assert silent.is_set()
    assert receipt.sent_bytes == expected_size(files)
    assert_found(gate[1], files)


async def test_a_finished_upload_whose_answer_was_lost_is_not_sent_again(
    gate: tuple[Gate, Path], files: dict[str, bytes], tmp_path: Path
) -> None:
    """The gateway joined the parts and then answered 502; asking again says there is no such upload."""
    gate[0].after = fail(1, {"CompleteMultipartUpload"})
    await seeded(request_for(gate[0], write_files(tmp_path / "Tiny", files)))
    assert gate[0].seen["UploadPart"] == 3
    assert gate[0].seen["Create"] == 1
    assert_found(gate[1], files)


async def test_a_killed_run_goes_on_with_the_parts_that_arrived(
    gate: tuple[Gate, Path], files: dict[str, bytes], tmp_path: Path
) -> None:
    """The command is killed at the third part; the next run sends only what is missing, and says so beforehand."""
    model = write_files(tmp_path / "Tiny", files)
    reached = asyncio.Event()

    async def hold(call: str, request: web.Request) -> web.StreamResponse | None:
        del request
        if call == "UploadPart" and gate[0].seen["UploadPart"] >= 3:
            reached.set()
            await asyncio.sleep(60)
        return None

    gate[0].before = hold
    script = "import sys; from weight_bakery.cli import bake_command; bake_command(sys.argv[1:])"
    command = [sys.executable, "-c", script, "seed", "--model", str(model), "--volume", VOLUME, "--endpoint-url",
               gate[0].url, "--repository", REPOSITORY, "--part-size", "5MiB", "--flows", "1", "--json"]  # fmt: skip
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL, env=dict(os.environ))
    await asyncio.wait_for(reached.wait(), 60)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    gate[0].before = None
    assert not (gate[1] / FOLDER / "refs/main").exists()
    arrived = gate[0].sent
    assert arrived == 10 * MIB
    plan = await asyncio.to_thread(plan_seed, request_for(gate[0], model))
    assert plan.to_send == expected_size(files) - arrived
    receipt = await seeded(request_for(gate[0], model))
    assert receipt.sent_bytes == plan.to_send
    assert_found(gate[1], files)


async def test_a_file_that_was_changed_or_cut_on_the_volume_is_sent_again(
    gate: tuple[Gate, Path], files: dict[str, bytes], tmp_path: Path
) -> None:
    """Another length shows at once, other bytes of the same length when everything is read back; the rest stays."""
    model = write_files(tmp_path / "Tiny", files)
    snapshot = gate[1] / (await seeded(request_for(gate[0], model))).snapshot
    (snapshot / "tokenizer.json").write_bytes(b"{}")
    assert (await seeded(request_for(gate[0], model))).sent_bytes == len(files["tokenizer.json"])
    shard = snapshot / "model.safetensors"
    with shard.open("r+b") as stream:
        stream.seek(MIB)
        stream.write(b"x")
    receipt = await seeded(request_for(gate[0], model, verify="read-back"))
    assert receipt.sent_bytes == shard.stat().st_size
    assert_found(gate[1], files)


async def test_bytes_that_are_not_what_the_source_promised_never_show(gate: tuple[Gate, Path], hub: Hub) -> None:
    """A damaged shard is fetched again, then refused; no file of that name, no reference, no upload is left."""
    name = "model-00002-of-00002.safetensors"
    hub.files = model_files(shard_bytes=5 * MIB)
    hub.corrupt = name
    with pytest.raises(SourceDamaged):
        await seeded(request_for(gate[0], "owner/Tiny", hub_endpoint=hub.origin))
    assert not list(gate[1].rglob(name))
    assert not (gate[1] / FOLDER / "refs/main").exists()
    assert gate[0].seen["Abort"] == 3


async def test_a_new_revision_moves_the_reference_and_prune_deletes_one_by_one(
    gate: tuple[Gate, Path], files: dict[str, bytes], tmp_path: Path
) -> None:
    """The old snapshot stays until it is asked to go, and then goes without the call that the gateway lacks."""
    old = await seeded(request_for(gate[0], write_files(tmp_path / "Tiny", files)))
    files["config.json"] += b"\n"
    new = await seeded(request_for(gate[0], write_files(tmp_path / "Tiny", files), prune=True))
    assert new.snapshot != old.snapshot
    assert new.pruned == old.files + 1  # and what was written down about it
    assert gate[0].seen["DeleteObjects"] == 0
    assert not [path for path in (gate[1] / old.snapshot).rglob("*") if path.is_file()]
    assert_found(gate[1], files)


async def test_a_worker_of_the_emulator_looks_where_it_was_seeded(
    gate: tuple[Gate, Path], tmp_path: Path, files: dict[str, bytes]
) -> None:
    """The folder is the emulator's for this volume; with the printed environment the worker's child finds the model."""
    receipt = await seeded(request_for(gate[0], write_files(tmp_path / "Tiny", files)))
    folder = Config(state_dir=tmp_path).volume_dir(VOLUME)
    plan = read_environment(receipt.environment, options(latest_version()))
    assert plan.problems == ()
    assert plan.model == REPOSITORY
    # The emulator shows the folder at /runpod-volume; here the path is rewritten instead.
    child = {name: value.replace("/runpod-volume", str(folder), 1) for name, value in plan.environment.items()}
    script = "import sys; from huggingface_hub import snapshot_download as find; print(find(sys.argv[1]))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, plan.model, stdout=subprocess.PIPE, env={"PATH": os.environ["PATH"], **child}
    )
    found, _ = await process.communicate()
    assert Path(found.decode().strip()) == folder / receipt.snapshot


def _wrong_key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("RUNPOD_S3_SECRET_ACCESS_KEY", "rps_wrong_secret")
    return VOLUME


def _no_key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("RUNPOD_S3_ACCESS_KEY_ID")
    monkeypatch.delenv("RUNPOD_S3_SECRET_ACCESS_KEY")
    return VOLUME


@pytest.mark.parametrize(
    ("prepare", "error", "said"),
    [
        (_wrong_key, VolumeDenied, "login"),
        (_no_key, VolumeDenied, "there is no login"),
        (lambda _: "nosuchvolume", VolumeError, "nosuchvolume"),
    ],
)
async def test_refusals_are_one_line_without_secrets(
    gate: tuple[Gate, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[pytest.MonkeyPatch], str],
    error: type[Exception],
    said: str,
) -> None:
    """Wrong key, no key, no such volume."""
    model = write_files(tmp_path / "Tiny", model_files())
    name = prepare(monkeypatch)
    request = request_for(gate[0], model)
    with pytest.raises(error, match=said) as caught:
        await seeded(SeedRequest(**{**vars(request), "volume": name}))
    text = str(caught.value)
    assert "\n" not in text
    assert "rps_" not in text


async def test_the_command_prints_what_the_endpoint_needs(gate: tuple[Gate, Path], tmp_path: Path) -> None:
    """The last JSON line is the receipt; a dry run says that nothing is left to send."""
    model = write_files(tmp_path / "Tiny", model_files())
    command = ["seed", "--model", str(model), "--volume", VOLUME, "--json", "--endpoint-url", gate[0].url,
               "--repository", REPOSITORY]  # fmt: skip
    found = []
    for extra in ((), ("--dry-run",)):
        result = await asyncio.to_thread(CliRunner().invoke, bake_command, [*command, *extra])
        assert result.exit_code == 0, result.output
        assert SECRET not in result.output
        found.append(json.loads(result.stdout.splitlines()[-1]))
    assert found[0]["receipt"]["environment"]["MODEL_NAME"] == REPOSITORY
    assert found[1]["plan"]["to_send"] == 0
