"""BakedImage through the provider: what a preview says, what a bake sends, drift, and what stays behind."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2

from pulumi_runpod.provider.values import UNKNOWN, Properties
from tests.pulumi_runpod.engine_player import CheckFailed, Player, State, engine
from tests.support.tools import built_tool, running_registry
from tests.weight_bakery.caches import archive_for, key_for
from tests.weight_bakery.support import Layout, write_files, write_model, write_package
from weight_bakery import HarvestRequest, harvest

PROGRAM = {"model": "./model", "to": "oci:images:v1", "workerCode": ["worker"], "lock": "weights.lock"}


@pytest.fixture(autouse=True)
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without logins, whose hub is nowhere."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("XDG_CACHE_HOME", "DOCKER_CONFIG", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a model and a worker, both left alone for a moment."""
    folder = tmp_path / "project"
    write_model(folder / "model")
    write_package(folder, "worker")
    time.sleep(0.15)
    return folder


@pytest.fixture
async def player(project: Path) -> AsyncIterator[Player]:
    """A provider without a key: nothing here is RunPod's."""
    async with engine(project_dir=project) as player:
        await player.configure({})
        yield player


async def preview(player: Player, state: State, program: Properties) -> Properties:
    """The outputs that a preview shows."""
    inputs = await player.check(state, program)
    return await (player.update_preview(state, inputs) if state.id else player.create_preview(state, inputs))


async def test_a_preview_says_what_will_be_sent_and_sends_nothing(player: Player, project: Path) -> None:
    """Sizes are known before a byte moves; the digest is not, since nothing was read yet."""
    outputs = await preview(player, State("BakedImage", "weights"), PROGRAM)
    assert outputs["bytesToSend"] == outputs["size"] > 10_000
    assert outputs["bytesReused"] == 0
    assert outputs["image"] is outputs["digest"] is UNKNOWN
    assert any(line.startswith("will send at most 3") and "0 bytes are there already" in line for line in player.logs)
    assert not (project / "images").exists()
    assert not (project / "weights.lock").exists()


async def test_a_life(player: Player, project: Path) -> None:
    """Made, left alone, changed by a file (a new digest in the same preview or unknown), and never removed unasked."""
    state = State("BakedImage", "weights")
    assert await player.up(state, PROGRAM) == "create"
    first = dict(state.outputs)
    layout = Layout(project / "images")
    assert layout.tags() == {"v1": first["digest"]}
    assert first["image"] == f"oci:images:v1@{first['digest']}"
    assert (first["bytesToSend"], first["bytesReused"]) == (first["size"], 0)
    locked = json.loads((project / "weights.lock").read_text())["images"]
    assert locked["oci:images:v1"]["image_digest"] == first["digest"]
    assert any(line.startswith("baked oci:") for line in player.logs)
    assert await player.up(state, PROGRAM) == "same"

    write_files(project / "model", {"chat_template.jinja": b"{{ other }}"})
    time.sleep(0.15)
    await player.configure({})  # the next run
    planned = await preview(player, state, PROGRAM)
    assert 0 < planned["bytesToSend"] < planned["size"]
    assert await player.up(state, PROGRAM) == "update"
    assert state.outputs["digest"] != first["digest"]
    assert 0 < state.outputs["bytesToSend"] < state.outputs["bytesReused"]
    assert state.outputs["revision"] != first["revision"]

    planned = await preview(player, state, PROGRAM | {"servedName": "me/other"})
    assert await player.up(state, PROGRAM | {"servedName": "me/other"}) == "update"
    assert state.outputs["digest"] == planned["digest"]
    assert state.outputs["image"] == planned["image"]
    assert (state.outputs["bytesToSend"], planned["bytesToSend"]) == (0, 0)
    await player.delete(state)
    assert layout.tags() == {"v1": state.outputs["digest"]}


async def test_another_target_replaces_and_the_old_tag_goes_if_asked(player: Player, project: Path) -> None:
    """Also `up --replace`, which makes the same image anew, does not take it away afterwards."""
    state = State("BakedImage", "weights")
    program = PROGRAM | {"deleteImage": True}
    await player.up(state, program)
    await player.configure({})  # another run
    assert await player.up(state, program | {"to": "oci:images:v2"}) == "replace"
    layout = Layout(project / "images")
    assert list(layout.tags()) == ["v2"]
    old = State("BakedImage", "weights", state.id, state.inputs, state.outputs)
    await player.configure({})
    await player.create(state, state.inputs)
    await player.delete(old)
    assert list(layout.tags()) == ["v2"]


async def test_refresh_notices_a_moved_and_a_missing_tag(player: Player, project: Path) -> None:
    """Outputs are what is; the next `up` puts the tag back without sending anything."""
    state = State("BakedImage", "weights")
    await player.up(state, PROGRAM)
    right = state.outputs["digest"]
    other = State("BakedImage", "other")
    await player.up(other, PROGRAM | {"servedName": "me/other", "lock": ""})
    assert await player.refresh(state) is not None
    assert state.outputs["digest"] == other.outputs["digest"]
    assert any(f"({other.outputs['digest']}); `up` puts it right" in line for line in player.logs)
    await preview(player, state, PROGRAM)
    assert any(f"the tag names another image ({other.outputs['digest']})" in line for line in player.logs)
    assert await player.up(state, PROGRAM) == "update"
    assert (state.outputs["digest"], state.outputs["bytesToSend"]) == (right, 0)

    (project / "images/index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    assert await player.read(state) is None
    await player.configure({})  # the next run
    await preview(player, state, PROGRAM)
    assert any("the tag is not there and will be set" in line for line in player.logs)
    # Without a refresh the plan sees it as well.
    assert await player.up(state, PROGRAM) == "update"
    assert Layout(project / "images").tags() == {"v1": right}


async def test_a_harvest_with_the_lock_is_what_the_next_up_takes_over(player: Player, project: Path) -> None:
    """Refresh says so, the plan has the harvest's digest, and nothing is undone."""
    state = State("BakedImage", "weights")
    await player.up(state, PROGRAM)
    volume = project / "volume"
    volume.mkdir()
    archive_for(volume, key_for(model="model"))
    request = HarvestRequest(f"oci:{project}/images:v1", str(volume), lock=project / "weights.lock")
    harvested = (await asyncio.to_thread(harvest, request)).digest
    await player.configure({})  # the next run
    planned = await preview(player, state, PROGRAM)
    assert planned["digest"] == harvested
    assert not [line for line in player.logs if "are left out" in line]
    assert await player.refresh(state) is not None
    assert any(line.endswith(f"({harvested}); as the lock file does") for line in player.logs)
    assert await player.up(state, PROGRAM) == "same"
    assert Layout(project / "images").tags() == {"v1": harvested}


async def test_a_preview_says_that_harvested_caches_would_go(player: Player, project: Path) -> None:
    """Somebody harvested without this program's lock file: `up` would take the caches away, and says so beforehand."""
    state = State("BakedImage", "weights")
    program = {key: value for key, value in PROGRAM.items() if key != "lock"}
    await player.up(state, program)
    volume = project / "volume"
    volume.mkdir()
    archive_for(volume, key_for(model="model"))
    image = f"oci:{project}/images:v1"
    await asyncio.to_thread(harvest, HarvestRequest(image, str(volume), lock=project / "none.lock"))
    await player.configure({})  # the next run
    player.logs.clear()
    await preview(player, state, program)
    (line,) = [line for line in player.logs if "are left out" in line]
    assert line.endswith("no lock file names them; keep one (lock) and harvest again")


async def test_what_stands_somewhere_can_be_looked_up(player: Player) -> None:
    """`BakedImage.get` with the target as the id."""
    made = State("BakedImage", "weights")
    await player.up(made, PROGRAM)
    found = await player.read(State("BakedImage", "there", "oci:images:v1"), by_id_alone=True)
    assert found is not None
    assert found[0]["image"] == made.outputs["image"]
    assert await player.read(State("BakedImage", "there", "oci:images:v7"), by_id_alone=True) is None


@pytest.mark.parametrize(
    ("change", "path", "part"),
    [
        ({"to": "https://x/y"}, "to", "is a URL"),
        ({"to": f"ghcr.io/me/x:v1@sha256:{'0' * 64}"}, "to", "names a digest"),
        ({"model": "a b"}, "model", "neither a folder nor a Hub repository id"),
        ({"name": "UP"}, "name", "name 'UP' is not usable"),
        ({"model": "./worker"}, "model", "config.json"),
        ({"workerCode": ["model"]}, "workerCode", "workerCode"),
        ({"include": [1]}, "include[0]", "must be a string"),
        ({"lock": "model/README.md"}, "lock", "not valid JSON"),
    ],
)
async def test_mistakes_are_told_before_anything_moves(
    player: Player, project: Path, change: dict[str, Any], path: str, part: str
) -> None:
    """At the property, in the words of this resource, and without an option of the command."""
    with pytest.raises(CheckFailed) as caught:
        await player.check(State("BakedImage", "weights"), PROGRAM | change)
    assert part in caught.value.failures[path]
    assert "--" not in caught.value.failures[path]
    assert not (project / "images").exists()


@pytest.mark.parametrize("damage", ["config.json", "model-00002-of-00002.safetensors", "cut off"])
async def test_a_damaged_model_is_one_line_before_anything_moves(player: Player, project: Path, damage: str) -> None:
    """Without its config, without a shard, with a shard that was cut off: the file is named."""
    name = "model-00001-of-00002.safetensors" if damage == "cut off" else damage
    path = project / "model" / name
    if damage == "cut off":
        os.truncate(path, path.stat().st_size - 100)
    else:
        path.unlink()
    with pytest.raises(CheckFailed) as caught:
        await player.check(State("BakedImage", "weights"), PROGRAM)
    assert name in caught.value.failures["model"]
    assert not (project / "images").exists()


async def test_what_cannot_be_asked_is_unknown_with_one_warning(player: Player, project: Path) -> None:
    """No folder yet, no hub, no registry: a preview goes on, and `up` says why it cannot."""
    state = State("BakedImage", "weights")
    outputs = await preview(player, state, PROGRAM | {"model": "./later"})
    assert outputs["image"] is outputs["bytesToSend"] is UNKNOWN
    assert player.warnings == ["the image is unknown: there is no folder ./later"]
    inputs = await player.check(state, PROGRAM | {"model": "./later"})
    with pytest.raises(grpc.aio.AioRpcError, match="later"):
        await player.create(state, inputs)
    assert not (project / "images").exists()


async def test_the_lock_stands_in_for_what_cannot_be_asked(player: Player, project: Path) -> None:
    """A machine without the model deploys what another one baked: known in the preview, taken over by `up`."""
    baker = State("BakedImage", "weights")
    await player.up(baker, PROGRAM)
    (project / "model").rename(project / "elsewhere")
    state = State("BakedImage", "again")
    outputs = await preview(player, state, PROGRAM)
    assert outputs["image"] == baker.outputs["image"]
    assert player.warnings[-1] == "the image is what the lock file says: there is no folder ./model"
    assert await player.up(state, PROGRAM) == "create"
    assert state.outputs["image"] == baker.outputs["image"]
    assert await player.up(state, PROGRAM) == "same"
    # But not where the tag names something else by now, or the lock holds another model.
    (project / "images/index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    inputs = await player.check(state, PROGRAM)
    with pytest.raises(grpc.aio.AioRpcError, match="is not there"):
        await player.create(State("BakedImage", "third"), inputs)
    assert (await preview(player, State("BakedImage", "x"), PROGRAM | {"model": "./other"}))["digest"] is UNKNOWN


async def test_another_image_is_a_source(player: Player, project: Path) -> None:
    """In a layout, whose folder is relative to the project like every other."""
    made = State("BakedImage", "weights")
    await player.up(made, PROGRAM)
    again = State("BakedImage", "again")
    await player.up(again, PROGRAM | {"model": "oci:images:v1", "to": "oci:others:v1"})
    weights = [[layer["digest"] for layer in read["layers"] if layer["size"] > 5000] for read in manifests(project)]
    assert weights[0] == weights[1] != []


def manifests(project: Path) -> list[dict[str, Any]]:
    """The manifests of both layouts."""
    layouts = [Layout(project / name) for name in ("images", "others")]
    return [json.loads(layout.blob(layout.tags()["v1"])) for layout in layouts]


async def test_unknown_inputs_give_unknown_outputs(player: Player) -> None:
    """Nothing is asked about a target that another resource will name."""
    outputs = await preview(player, State("BakedImage", "weights"), PROGRAM | {"base": UNKNOWN})
    assert outputs["digest"] is outputs["bytesToSend"] is UNKNOWN
    assert player.warnings == []


async def test_cancel_leaves_the_tag_as_it_was(player: Player, project: Path) -> None:
    """The bake ends at once; the old image stays under the tag, and nothing temporary is left."""
    state = State("BakedImage", "weights")
    await player.up(state, PROGRAM)
    first = state.outputs["digest"]
    write_model(project / "model", shards=2, shard_bytes=40_000_000)
    inputs = await player.check(state, PROGRAM)
    update = asyncio.create_task(player.update(state, inputs))
    while not any("read to learn" in line or "MB of" in line for line in player.logs):
        await asyncio.sleep(0.005)
        assert not update.done()
    await player.call("Cancel", empty_pb2.Empty())
    with pytest.raises(grpc.aio.AioRpcError, match="cancelled"):
        await update
    assert Layout(project / "images").tags() == {"v1": first}
    assert list((project / "images").glob(".bakery/tmp/*")) == []


@pytest.mark.tools
async def test_a_registry_and_its_login(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The password comes from the environment and stands in no answer; asked for, the tag goes with the resource."""
    monkeypatch.setenv("VLLM_RUNPOD_REGISTRY_USERNAME", "octocat")
    monkeypatch.setenv("VLLM_RUNPOD_REGISTRY_PASSWORD", "pass-word-of-the-registry")
    folder = tmp_path / "registry"
    folder.mkdir()
    with running_registry(built_tool("registry"), folder, storage=", delete: {enabled: true}") as there:
        async with engine(project_dir=project) as player:
            await player.configure({})
            state = State("BakedImage", "weights")
            program = PROGRAM | {"to": f"{there.host}/me/model:v1", "deleteImage": True}
            await player.up(state, program)
            assert await player.up(state, program) == "same"
            await player.configure({})
            await player.delete(state)
            assert await player.read(state) is None
            assert player.leaks("pass-word-of-the-registry") == []


async def test_an_unreachable_registry_does_not_stop_a_preview(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a pull request's check, which has no login; what is known of the source stays unknown too."""

    async def no_pause(*_: object) -> None:
        return None

    monkeypatch.setattr("weight_bakery._registry_http.RetryPolicy.pause", no_pause)
    outputs = await preview(player, State("BakedImage", "weights"), PROGRAM | {"to": "127.0.0.1:9/me/model:v1"})
    assert outputs["image"] is UNKNOWN
    assert len(player.warnings) == 1
    assert "127.0.0.1:9 cannot be reached" in player.warnings[0]


async def test_a_hub_out_of_reach_does_not_stop_a_preview(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network and without a lock the image is unknown."""
    monkeypatch.setattr("weight_bakery._source_hub.random.uniform", lambda *_: 0.0)  # tries again without a pause
    outputs = await preview(player, State("BakedImage", "weights"), PROGRAM | {"model": "org/model@main"})
    assert outputs["digest"] is UNKNOWN
    assert len(player.warnings) == 1
