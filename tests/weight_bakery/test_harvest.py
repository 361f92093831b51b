"""Start-up caches become layers of an image: one for each key, replaced by the same key, kept by rebases and bakes."""

import json
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.tools import Crane, RegistryProcess
from tests.weight_bakery.caches import A100, H100, archive_for, key_for
from tests.weight_bakery.support import Layout, read_tar, write_deps, write_model, write_package
from vllm_worker._caches_archive import read_key_document
from weight_bakery import (
    BadRequest,
    BakeRequest,
    HarvestError,
    HarvestRequest,
    Note,
    RebaseRequest,
    SourceDamaged,
    StatusRequest,
    bake,
    bake_async,
    bake_status,
    harvest,
    harvest_async,
    plan_bake,
    plan_harvest,
    read_lock,
    rebase,
)
from weight_bakery.cli import bake_command

CACHES = "opt/vllm-worker/caches"


class Ground:
    """A folder with a model, a lock file and a layout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = root / "weights.lock"
        self.model = str(write_model(root / "Tiny"))
        self.deps, self.code = write_deps(root / "deps"), write_package(root, "vllm_worker")
        self.layout = Layout(root / "images")
        self.volume = root / "volume"
        self.volume.mkdir()
        self.image = f"oci:{root}/images:v1"
        self.notes: list[str] = []

    def request(self, base: str | None = None, **changes: str) -> BakeRequest:
        """A bake of the model with the worker's layers."""
        return BakeRequest(
            model=self.model, to=changes.get("to", self.image), base=base, lock=self.lock,
            worker_deps=self.deps, worker_code=(self.code,),
        )  # fmt: skip

    def base(self, tag: str) -> str:
        """A small image to build on, called as vLLM's own image is."""
        model = write_model(self.root / f"base-{tag}", shards=1, shard_bytes=100 + len(tag))
        bake(BakeRequest(model=str(model), to=f"oci:{self.root}/vllm-openai:{tag}"))
        return f"oci:{self.root}/vllm-openai:{tag}"

    def harvest(self, source: Path | None = None, image: str | None = None) -> HarvestRequest:
        """A harvest of everything on the volume."""
        return HarvestRequest(image or self.image, str(source or self.volume), lock=self.lock)

    def listen(self, event: object) -> None:
        """Keep notes."""
        if isinstance(event, Note):
            self.notes.append(event.text)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """A model, baked."""
    return Ground(tmp_path)


def test_a_harvest_adds_one_layer_and_nothing_else_changes(ground: Ground) -> None:
    """The layers below stay; the worker's reader understands what the image holds, file by file."""
    before = bake(ground.request())
    archive = archive_for(ground.volume, key_for(max_model_len="4096"))
    plan = plan_harvest(ground.harvest())
    assert ground.layout.tags()["v1"] == before.digest, "a plan writes nothing"
    receipt = harvest(ground.harvest())
    assert (receipt.digest, receipt.previous_digest, receipt.weight_bytes) == (plan.digest, before.digest, 0)
    layers = ground.layout.manifest("v1")["layers"]
    assert [layer["digest"] for layer in layers[:-1]] == [layer.digest for layer in before.layers]
    (caches,) = receipt.caches
    notes = layers[-1]["annotations"]
    assert notes["io.vllm-runpod.role"] == "caches"
    assert (notes["io.vllm-runpod.caches"], notes["io.vllm-runpod.caches.gpu"]) == (archive.stem, A100["name"])
    config = ground.layout.config("v1")
    assert config["rootfs"]["diff_ids"][-1] == caches.digest == layers[-1]["digest"]
    files = read_tar(ground.layout.blob(caches.digest))
    with tarfile.open(archive) as stream:
        archived = {member.name: stream.extractfile(member).read() for member in stream}  # type: ignore[union-attr]
    assert files == {f"{CACHES}/{archive.stem}/{name}": content for name, content in archived.items()}
    key, listed = read_key_document(files[f"{CACHES}/{archive.stem}/key.json"])
    assert key == key_for(max_model_len="4096")
    assert len(listed) == caches.files == 13


def test_several_keys_stand_side_by_side_in_any_order(ground: Ground) -> None:
    """Two GPUs, harvested one after the other, the other way round, or at once: the same image."""
    first, second = (archive_for(ground.volume, key_for(gpu)) for gpu in (A100, H100))
    digests = set()
    for sources in ((first, second), (second, first), (ground.volume,)):
        bake(ground.request(to=ground.image))
        ground.lock.unlink()
        bake(ground.request())
        for source in sources:
            receipt = harvest(ground.harvest(source))
        digests.add(receipt.digest)
    assert len(digests) == 1
    (entry,) = read_lock(ground.lock).images.values()
    assert sorted(item.gpu for item in entry.caches) == [A100["name"], H100["name"]]


def test_the_same_key_replaces_its_layer_and_the_same_caches_move_nothing(ground: Ground) -> None:
    """A second harvest of equal caches is the same image; other contents take the old ones' place."""
    bake(ground.request())
    archive_for(ground.volume, key_for())
    once = harvest(ground.harvest())
    again = harvest(ground.harvest())
    assert (again.digest, again.sent_bytes, again.caches[0].outcome) == (once.digest, 0, "present")
    archive_for(ground.volume, key_for(), seed=7)
    other = harvest(ground.harvest())
    assert other.caches[0].replaces == once.caches[0].digest != other.caches[0].digest
    assert len(ground.layout.manifest("v1")["layers"]) == len(once.caches) + len(
        bake(ground.request(to=f"{ground.image}x")).layers
    )
    assert other.kept == ()


def test_caches_of_another_vllm_go_with_a_word(ground: Ground) -> None:
    """The newest harvest says which vLLM the image has."""
    bake(ground.request())
    harvest(ground.harvest(archive_for(ground.volume, key_for(vllm="0.32.0"))))
    receipt = harvest(ground.harvest(archive_for(ground.volume, key_for(vllm="0.33.0"))), progress=ground.listen)
    assert receipt.kept == ()
    assert [note for note in ground.notes if "left out: the image has vLLM 0.33.0" in note]


def test_a_bake_of_the_same_target_keeps_caches_by_the_lock(ground: Ground) -> None:
    """New code, old caches: the plan knows the digest, and the result is what a harvest of the new image would be."""
    bake(ground.request())
    archive_for(ground.volume, key_for())
    harvested = harvest(ground.harvest())
    time.sleep(0.15)  # younger files are not trusted to be as they were
    assert bake(ground.request()).digest == harvested.digest == plan_bake(ground.request()).digest
    (ground.code / "data/table.json").write_bytes(b'{"new": 1}')
    plan = plan_bake(ground.request())
    baked = bake(ground.request())
    assert [layer.role for layer in plan.layers][-2:] == ["code", "caches"]
    assert baked.layers[-1].outcome == "present"
    assert baked.digest == harvest(ground.harvest()).digest != harvested.digest


def test_a_bake_without_the_harvests_lock_says_what_it_leaves_out(ground: Ground) -> None:
    """Somebody harvested and did not commit the lock: the digest follows from the lock, and the loss is told."""
    before = bake(ground.request())
    old = ground.lock.read_bytes()
    archive = archive_for(ground.volume, key_for())
    harvest(ground.harvest())
    ground.lock.write_bytes(old)
    plan = plan_bake(ground.request())
    assert bake(ground.request(), progress=ground.listen).digest == before.digest
    told = [note for note in ground.notes if archive.stem in note and "weights.lock does not name them" in note]
    assert told
    assert plan.notes == tuple(told), "a plan says it before it happens"
    assert plan_bake(ground.request()).notes == ()


def test_a_bake_without_a_lock_says_that_nothing_names_the_caches(ground: Ground) -> None:
    """The advice is a lock file, not one more harvest."""
    request = replace(ground.request(), lock=None)
    bake(request)
    archive_for(ground.volume, key_for())
    harvest(ground.harvest())
    (note,) = plan_bake(request).notes
    assert note.endswith("are left out: no lock file names them; keep one (--lock) and harvest again")


def test_a_bake_with_another_config_or_name_drops_caches_with_a_word(ground: Ground) -> None:
    """Another config.json or folder of the model: no worker would find them fitting."""
    bake(ground.request())
    archive_for(ground.volume, key_for())
    harvest(ground.harvest())
    config = Path(ground.model) / "config.json"
    config.write_text(config.read_text() + "\n")
    changed = bake(ground.request(), progress=ground.listen)
    assert "caches" not in {layer.role for layer in changed.layers}
    assert [note for note in ground.notes if "config.json is another one" in note]
    assert read_lock(ground.lock).images["oci:images:v1"].caches == ()


def test_a_rebase_keeps_caches_of_the_same_vllm_alone(ground: Ground) -> None:
    """The base's name tells its version; where it tells none they stay, since a worker refuses what does not fit."""
    bases = {tag: ground.base(tag) for tag in ("v0.33.0", "v0.33.0-fixed", "v0.34.0", "nightly")}
    bake(ground.request(bases["v0.33.0"]))
    harvest(ground.harvest(archive_for(ground.volume, key_for(vllm="0.33.0"))))
    for tag, kept in (("v0.33.0-fixed", 1), ("nightly", 1), ("v0.34.0", 0)):
        to = f"oci:{ground.root}/images:{tag}"
        moved = rebase(RebaseRequest(ground.image, bases[tag], to=to, lock=ground.lock), progress=ground.listen)
        assert [layer.role for layer in moved.layers].count("caches") == kept, tag
        assert len(read_lock(ground.lock).images[f"oci:images:{tag}"].caches) == kept
        assert moved.digest == bake(ground.request(bases[tag], to=to)).digest, "as if it had been baked there"
    assert [note for note in ground.notes if note.endswith("are left out: the base has vLLM 0.34.0")]


def test_status_names_the_keys_that_an_image_holds(ground: Ground) -> None:
    """One line for each."""
    bake(ground.request())
    archive = archive_for(ground.volume, key_for())
    harvest(ground.harvest())
    status = bake_status(StatusRequest(ground.lock, parts=("registry",)))
    texts = [finding.text for finding in status.targets[0].findings]
    assert f"start-up caches {archive.stem} (NVIDIA A100-SXM4-80GB, vLLM 0.33.0)" in texts
    assert status.exit_code == 0


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (lambda g: archive_for(g.volume, key_for(model="other")), HarvestError, "the image holds /models/tiny"),
        (
            lambda g: archive_for(g.volume, {**key_for(), "model": {"path": "/models/tiny", "config": "0" * 64}}),
            HarvestError, "another config.json",
        ),
        (
            lambda g: [archive_for(g.volume, key_for(vllm=v)) for v in ("0.32.0", "0.33.0")],
            HarvestError, "vLLM 0.32.0 and 0.33.0",
        ),
        (
            lambda g: archive_for(g.volume, key_for()).rename(g.volume / "copy.tar")
            and archive_for(g.volume, key_for()),
            HarvestError, "are both for the key",
        ),
        (lambda g: None, HarvestError, "holds no start-up caches"),
        (lambda g: g.volume.rmdir(), BadRequest, "does not exist"),
    ],
    ids=["model", "config", "versions", "twice", "empty", "missing"],
)  # fmt: skip
def test_what_does_not_belong_to_the_image_is_one_line(
    ground: Ground, spoil: Callable[[Ground], object], kind: type[Exception], words: str
) -> None:
    """Tag, blobs and lock stay as they are."""
    before = bake(ground.request())
    spoil(ground)
    files = {path: path.read_bytes() for path in (ground.root / "images").rglob("*") if path.is_file()}
    lock = ground.lock.read_bytes()
    with pytest.raises(kind, match=words):
        harvest(ground.harvest())
    assert ground.layout.tags()["v1"] == before.digest
    assert {path: path.read_bytes() for path in files} == files
    assert ground.lock.read_bytes() == lock


def test_a_damaged_content_never_gets_into_an_image(ground: Ground) -> None:
    """One bit of a compiled model, sizes all right: its digest is not the listed one."""
    before = bake(ground.request())
    archive = archive_for(ground.volume, key_for())
    content = bytearray(archive.read_bytes())
    with tarfile.open(archive) as stream:
        place = max(stream, key=lambda member: member.size).offset_data
    content[place + 100] ^= 1
    archive.write_bytes(content)
    with pytest.raises(SourceDamaged, match="has not the digest"):
        harvest(ground.harvest())
    assert ground.layout.tags()["v1"] == before.digest


def test_the_command_tells_and_does(ground: Ground) -> None:
    """A plan as a table, a receipt, JSON lines, an error as one line."""
    bake(ground.request())
    archive = archive_for(ground.volume, key_for())
    words = ["harvest", ground.image, "--from", str(ground.volume), "--lock", str(ground.lock)]
    runner = CliRunner()
    dry = runner.invoke(bake_command, [*words, "--dry-run"])
    assert (dry.exit_code, archive.stem in dry.stdout, "nothing was written" in dry.stdout) == (0, True, True)
    plan = json.loads(runner.invoke(bake_command, [*words, "--dry-run", "--json"]).stdout)["plan"]
    lines = [json.loads(line) for line in runner.invoke(bake_command, [*words, "--json"]).stdout.splitlines()]
    assert lines[-1]["harvest"]["digest"] == plan["digest"]
    assert [line["outcome"] for line in lines if line.get("event") == "layer"][-1] == "sent"
    told = runner.invoke(bake_command, words)
    assert told.stdout == f"{ground.image}@{plan['digest']}\n"
    assert "of which weights 0 B" in told.stderr
    archive.write_bytes(archive.read_bytes()[:3000])
    failed = runner.invoke(bake_command, words)
    assert (failed.exit_code, failed.stderr.count("\n")) == (1, 1)
    assert "is cut off" in failed.stderr


@pytest.mark.tools
async def test_in_a_registry_only_the_caches_move(ground: Ground, registry: RegistryProcess, crane: Crane) -> None:
    """A real registry takes it, a foreign reader sees base, weights and caches, and the weights stay where they are."""
    to = f"{registry.host}/harvest/tiny:v1"
    await bake_async(ground.request(to=to))
    archive = archive_for(ground.volume, key_for())
    receipt = await harvest_async(ground.harvest(image=to))
    assert (receipt.weight_bytes, receipt.sent_bytes) == (0, receipt.caches[0].size)
    crane("validate", "--remote", to, "--fast")
    exported = read_tar(crane("export", to, "-"))
    assert f"{CACHES}/{archive.stem}/key.json" in exported
    assert "models/tiny/config.json" in exported
    elsewhere = await harvest_async(
        HarvestRequest(to, str(ground.volume), to=f"{registry.host}/harvest/other:v1", lock=ground.lock)
    )
    assert (elsewhere.digest, elsewhere.sent_bytes) == (receipt.digest, 0)
    assert crane("digest", elsewhere.image.partition("@")[0]).decode().strip() == receipt.digest
