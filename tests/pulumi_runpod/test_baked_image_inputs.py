"""BakedImage's inputs that say how to bake: what they change, what they do not, and where a mistake in them is told."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pulumi_runpod.provider.values import UNKNOWN, Properties
from tests.pulumi_runpod.engine_player import CheckFailed, Player, State, engine
from tests.pulumi_runpod.test_baked_image import preview
from tests.weight_bakery.proxy import fake_registry
from tests.weight_bakery.support import CONFIG, Layout, payload, safetensors, write_files
from weight_bakery import BakeRequest

PROGRAM = {"model": "./model", "to": "oci:images:v1", "lock": "weights.lock"}
MODEL = {
    "config.json": json.dumps(CONFIG).encode(),
    "model.safetensors": safetensors({f"layer.{number}": payload(400_000, number) for number in range(6)}),
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without logins and without a hub, whose Hugging Face cache holds one repository."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("XDG_CACHE_HOME", "DOCKER_CONFIG", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a model in one file, left alone for a moment."""
    folder = tmp_path / "project"
    write_files(folder / "model", MODEL)
    time.sleep(0.15)
    return folder


@pytest.fixture
async def player(project: Path) -> AsyncIterator[Player]:
    """A provider without a key: nothing here is RunPod's."""
    async with engine(project_dir=project) as player:
        await player.configure({})
        yield player


def weights(project: Path) -> list[str]:
    """Names of the image's weight files."""
    return sorted(name for name in Layout(project / "images").files("v1") if name.endswith(".safetensors"))


async def test_a_largest_layer_splits_and_going_without_it_joins_again(player: Player, project: Path) -> None:
    """Both are updates that the preview shows; the split image is another one."""
    state = State("BakedImage", "weights")
    await player.up(state, PROGRAM | {"maxLayerSize": "1MiB"})
    assert len(weights(project)) == 3
    split = state.outputs["digest"]
    diff = await player.diff(state, await player.check(state, PROGRAM))
    assert (diff.changes, diff.replaces) == ("DIFF_SOME", [])
    assert "maxLayerSize" in diff.paths
    assert await player.up(state, PROGRAM) == "update"
    assert len(weights(project)) == 1
    assert state.outputs["digest"] != split
    assert await player.up(state, PROGRAM) == "same"


async def test_flows_and_source_say_nothing_about_the_image(player: Player, project: Path) -> None:
    """Changing them alone is no change; the image is the same one."""
    state = State("BakedImage", "weights")
    await player.up(state, PROGRAM)
    for change in ({"flows": 1}, {"flows": 16}, {"source": "auto"}):
        assert await player.up(state, PROGRAM | change) == "same"


async def test_the_cache_is_a_source_without_a_network(
    player: Player, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository id is looked up in the machine's own cache, also beside a folder of that name."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))  # it is read at import
    snapshot = tmp_path / "hub/models--owner--tiny"
    write_files(snapshot / "snapshots" / COMMIT, MODEL)
    write_files(snapshot / "refs", {"main": COMMIT.encode()})
    write_files(project / "owner/tiny", {"config.json": b"{}"})
    time.sleep(0.15)
    state = State("BakedImage", "weights")
    program: Properties = PROGRAM | {"model": "owner/tiny", "source": "hf-cache"}
    outputs = await preview(player, state, program | {"model": "owner/other"})
    assert outputs["image"] is UNKNOWN
    assert "get it with `hf download owner/other`, or leave source out" in player.warnings[0]
    assert await player.up(state, program) == "create"
    assert state.outputs["revision"] == COMMIT
    assert await player.up(state, program) == "same"


async def test_documents_are_attached_unless_told_otherwise(player: Player) -> None:
    """Asking for them later sends no layer."""
    async with fake_registry() as registry:
        state = State("BakedImage", "weights")
        program: Properties = PROGRAM | {"to": f"{registry.host}/me/model:v1", "attest": False}
        await player.up(state, program)
        assert list(registry.manifests) == ["v1"]
        digest = state.outputs["digest"]
        assert await player.up(state, {key: value for key, value in program.items() if key != "attest"}) == "update"
        assert state.outputs["bytesToSend"] == 0
        assert state.outputs["digest"] == digest
        kinds = {json.loads(content).get("artifactType") for content in registry.manifests.values()}
        assert {"application/vnd.cyclonedx+json", "application/vnd.in-toto+json"} <= kinds


@pytest.mark.parametrize(
    ("change", "path", "part"),
    [
        ({"maxLayerSize": "big"}, "maxLayerSize", "'big' is not a size; write 5GB, 4GiB or a number of bytes"),
        ({"maxLayerSize": "10"}, "maxLayerSize", "below 1 MiB"),
        ({"maxLayerSize": 5}, "maxLayerSize", "must be a string"),
        ({"flows": 0}, "flows", "1"),
        ({"flows": 17}, "flows", "16"),
        ({"source": "s3"}, "source", "hf-cache"),
        ({"attest": "no"}, "attest", "true or false"),
    ],
)
async def test_mistakes_are_told_at_their_property(
    player: Player, project: Path, change: dict[str, Any], path: str, part: str
) -> None:
    """Before anything moves, and without an option of the command."""
    with pytest.raises(CheckFailed) as caught:
        await player.check(State("BakedImage", "weights"), PROGRAM | change)
    assert part in caught.value.failures[path]
    assert "--" not in caught.value.failures[path]
    assert not (project / "images").exists()


def test_every_choice_of_the_command_is_an_input() -> None:
    """What `bake` can be told, a program can declare; the rest is the machine's: logins, caches, addresses."""
    from pulumi_runpod.declarations import BAKED_IMAGE

    ours = {field.name for field in BAKED_IMAGE.inputs}
    machine = {"cache", "credentials", "docker_config", "hub_endpoint", "hub_token", "hf_cache"}
    theirs = set(BakeRequest.__dataclass_fields__) - machine
    renamed = {"worker_deps": "worker_dependencies"}
    assert ours - {"delete_image"} == {renamed.get(name, name) for name in theirs}
