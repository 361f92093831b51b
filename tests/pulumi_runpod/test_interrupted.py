"""A provider that is killed between RunPod's answer and the engine's state: the next run finds what it made.

A kill is played by a second provider on the same project that starts while the first was never closed.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from pulumi_runpod.provider.journal import FOLDER
from pulumi_runpod.provider.values import Properties, Secret
from tests.pulumi_runpod.cloud import KEY, Cloud
from tests.pulumi_runpod.engine_player import Player, State, engine
from tests.pulumi_runpod.test_faults import KINDS, QUIET
from tests.pulumi_runpod.test_life_cycles import CREDENTIAL, TEMPLATE, VOLUME

VOLUMES = "/v2/network-volumes"
ENDPOINT_BODY = {
    "name": "theirs",
    "type": "QUEUE",
    "image": "good:1",
    "gpu": {"pools": ["ADA_24"]},
    "workers": {"max": 0},
    "scaling": {"type": "QUEUE_DELAY", "queueDelay": 1},
}


class Runs:
    """Runs of one project, each with a provider of its own; none is closed before the test is over."""

    def __init__(self, cloud: Cloud, folder: Path, stack: AsyncExitStack) -> None:
        self.cloud, self.folder, self._stack = cloud, folder, stack

    async def next(self, state: str = "one-state") -> Player:
        player = await self._stack.enter_async_context(engine(environ={"RUNPOD_API_KEY": KEY}, project_dir=self.folder))
        await player.configure({"apiUrl": self.cloud.url, "jobsUrl": f"{self.cloud.url}/v2"}, state=state)
        return player

    @asynccontextmanager
    async def whole(self, *, applies: bool = False, unrecorded: Sequence[str] = ()) -> AsyncIterator[Player]:
        """A run that the engine ends in good order; `applies`: and says of that it is no preview."""
        given = {"RUNPOD_API_KEY": KEY}
        async with engine(environ=given, project_dir=self.folder, applies=applies, unrecorded=unrecorded) as player:
            await player.configure({"apiUrl": self.cloud.url, "jobsUrl": f"{self.cloud.url}/v2"}, state="one-state")
            yield player

    async def in_doubt(self, kind: str, name: str, inputs: Properties, path: str, *, acted: bool) -> Player:
        """A run whose create lost its answer, and that ended before it could look."""
        player = await self.next()
        self.cloud.lose.append(("POST", path, acted))
        assert await player.check(State(kind, name), inputs)
        creating = asyncio.create_task(player.up(State(kind, name), inputs))
        while not self.cloud.sent("POST", path):
            await asyncio.sleep(0.005)
        # From here on it hears nothing, as if it were dead: each look fails.
        refusal = ("GET", path, 403, {"title": "Forbidden", "status": 403, "detail": "no"})
        self.cloud.refuse.append(refusal)
        with pytest.raises(grpc.aio.AioRpcError, match="run again: what was made is found then"):
            await creating
        return player

    def notes(self) -> list[Path]:
        return sorted((self.folder / FOLDER / "creates").glob("*.json"))


@pytest.fixture
async def runs(cloud: Cloud, tmp_path: Path) -> AsyncIterator[Runs]:
    folder = tmp_path / "project"
    folder.mkdir()
    async with AsyncExitStack() as stack:
        yield Runs(cloud, folder, stack)


async def listed(cloud: Cloud, path: str, key: str) -> list[str]:
    return [item["id"] for item in (await cloud.call("GET", path))[key]]


@pytest.mark.parametrize(("kind", "inputs", "path", "key"), KINDS)
async def test_killed_after_the_answer(runs: Runs, kind: str, inputs: dict[str, Any], path: str, key: str) -> None:
    """The engine never wrote it down; the next `up` has exactly one, in its state, and needs no more changes."""
    await (await runs.next()).up(State(kind, "x"), inputs)
    second, state = await runs.next(), State(kind, "x")
    assert await second.up(state, inputs) == "create"
    assert await listed(runs.cloud, path, key) == [state.id]
    assert await second.up(state, inputs) == "same"
    # What cannot be read back cannot be trusted to be what the program says.
    assert len(runs.cloud.sent("POST", path)) == (2 if kind == "RegistryCredential" else 1)


@pytest.mark.parametrize("acted", [True, False])
@pytest.mark.parametrize(("kind", "inputs", "path", "key"), KINDS)
async def test_killed_before_the_answer(
    runs: Runs, kind: str, inputs: dict[str, Any], path: str, key: str, acted: bool
) -> None:
    """Nobody knows the id: it is found by name and content, or made if there is nothing."""
    await runs.in_doubt(kind, "x", inputs, path, acted=acted)
    second, state = await runs.next(), State(kind, "x")
    await second.up(state, inputs)
    assert await listed(runs.cloud, path, key) == [state.id]
    assert any("an earlier run was interrupted while it made the" in line for line in second.logs)


async def test_an_automatic_name_is_found_again(runs: Runs) -> None:
    """Each run would give it another name; what is there is renamed, not doubled."""
    nameless = {key: value for key, value in VOLUME.items() if key != "name"}
    first = await runs.next()
    await first.up(State("NetworkVolume", "x"), nameless)
    second, state = await runs.next(), State("NetworkVolume", "x")
    second.seed = b"another seed"
    await second.up(state, nameless)
    assert await listed(runs.cloud, VOLUMES, "networkVolumes") == [state.id]
    assert (await runs.cloud.call("GET", f"{VOLUMES}/{state.id}"))["name"] == state.inputs["name"]


async def test_the_program_may_have_changed_meanwhile(runs: Runs) -> None:
    """What was left behind is brought in line with a PATCH."""
    await (await runs.next()).up(State("NetworkVolume", "x"), VOLUME)
    second, state = await runs.next(), State("NetworkVolume", "x")
    await second.up(state, {**VOLUME, "size": 90})
    assert await listed(runs.cloud, VOLUMES, "networkVolumes") == [state.id]
    assert (await runs.cloud.call("GET", f"{VOLUMES}/{state.id}"))["size"] == 90
    assert len(runs.cloud.sent("POST", VOLUMES)) == 1


async def test_what_cannot_be_brought_in_line_is_removed(runs: Runs) -> None:
    """As a replacement would have done, had the engine known of it."""
    await (await runs.next()).up(State("Endpoint", "x"), QUIET)
    second, state = await runs.next(), State("Endpoint", "x")
    other = {**QUIET, "type": "LOAD_BALANCER", "scaling": {"type": "REQUEST_COUNT", "requestCount": 5}}
    await second.up(state, other)
    assert await listed(runs.cloud, "/v2/serverless", "endpoints") == [state.id]
    assert len(runs.cloud.sent("DELETE", "/v2/serverless")) == 1


async def test_a_volume_is_never_removed_like_that(runs: Runs) -> None:
    """It may hold data by now: the error names it and the way out."""
    await (await runs.next()).up(State("NetworkVolume", "x"), VOLUME)
    second = await runs.next()
    with pytest.raises(grpc.aio.AioRpcError, match="cannot become what the program says now; delete it at RunPod"):
        await second.up(State("NetworkVolume", "x"), {**VOLUME, "dataCenter": "EU-CZ-1"})
    assert len(await listed(runs.cloud, VOLUMES, "networkVolumes")) == 1


async def test_a_volume_that_nobody_can_have_used_is_removed(runs: Runs) -> None:
    """RunPod's answer never reached the engine, so it is empty: the one that the program wants now takes its place."""
    await runs.in_doubt("NetworkVolume", "x", VOLUME, VOLUMES, acted=True)
    second, state = await runs.next(), State("NetworkVolume", "x")
    await second.up(state, {**VOLUME, "dataCenter": "EU-CZ-1"})
    assert await listed(runs.cloud, VOLUMES, "networkVolumes") == [state.id]


@pytest.mark.parametrize(("kind", "inputs", "path", "key"), KINDS)
async def test_what_the_program_dropped_meanwhile_is_removed(
    runs: Runs, kind: str, inputs: dict[str, Any], path: str, key: str
) -> None:
    """No create comes for it: it goes at the end of the next run that changes anything, and its note with it."""
    await runs.in_doubt(kind, "dropped", inputs, path, acted=True)
    state = State("Template", "other")
    async with runs.whole() as player:
        await player.up(state, {**TEMPLATE, "name": "other"})
        assert len(await listed(runs.cloud, path, key)) == (2 if kind == "Template" else 1)
    assert await listed(runs.cloud, path, key) == ([state.id] if kind == "Template" else [])
    assert runs.notes() == []
    assert any("left behind by an interrupted run and not in the program" in line for line in player.logs)


async def test_a_run_without_changes_removes_only_where_the_engine_says_that_it_is_no_preview(runs: Runs) -> None:
    """It may be a preview, which changes nothing; the embedded engine tells."""
    await runs.in_doubt("NetworkVolume", "dropped", VOLUME, VOLUMES, acted=True)
    async with runs.whole():
        pass
    assert len(await listed(runs.cloud, VOLUMES, "networkVolumes")) == 1
    assert len(runs.notes()) == 1
    async with runs.whole(applies=True):
        pass
    assert await listed(runs.cloud, VOLUMES, "networkVolumes") == []
    assert runs.notes() == []


async def test_an_answer_that_no_state_has_is_as_good_as_none(runs: Runs) -> None:
    """Killed between our answer and the engine's write, and then dropped: removed only where the engine tells that."""
    state = State("NetworkVolume", "dropped")
    await (await runs.next()).up(state, VOLUME)
    async with runs.whole(applies=True):
        pass
    assert await listed(runs.cloud, VOLUMES, "networkVolumes") == [state.id]
    async with runs.whole(applies=True, unrecorded=[state.urn()]):
        pass
    assert await listed(runs.cloud, VOLUMES, "networkVolumes") == []
    assert runs.notes() == []


async def test_a_volume_that_is_mounted_is_not_removed(runs: Runs) -> None:
    """Somebody found it and uses it."""
    await runs.in_doubt("NetworkVolume", "dropped", VOLUME, VOLUMES, acted=True)
    [made] = await listed(runs.cloud, VOLUMES, "networkVolumes")
    await runs.cloud.call("POST", "/v2/serverless", {**ENDPOINT_BODY, "networkVolumes": [made]})
    async with runs.whole(applies=True):
        pass
    assert await listed(runs.cloud, VOLUMES, "networkVolumes") == [made]
    assert len(runs.notes()) == 1


async def test_a_run_that_fails_early_forgets_no_answer_of_an_earlier_one(runs: Runs) -> None:
    """Killed after the answer; the next run ends in good order without coming to it; the one after takes it over."""
    await (await runs.next()).up(State("NetworkVolume", "x"), VOLUME)
    async with runs.whole():
        pass
    state = State("NetworkVolume", "x")
    await (await runs.next()).up(state, VOLUME)
    assert await listed(runs.cloud, VOLUMES, "networkVolumes") == [state.id]


async def test_another_state_takes_nothing_over(runs: Runs) -> None:
    """The same project, stack and URN, but another state (a colleague's, a new one): it makes its own."""
    mine = State("NetworkVolume", "x")
    await (await runs.next()).up(mine, VOLUME)
    theirs = State("NetworkVolume", "x")
    await (await runs.next("another-state")).up(theirs, VOLUME)
    assert theirs.id != mine.id


async def test_another_resource_takes_nothing_over(runs: Runs) -> None:
    """The same name and content under another URN is another volume, in doubt or not."""
    await runs.in_doubt("NetworkVolume", "a", VOLUME, VOLUMES, acted=False)
    second, a, b = await runs.next(), State("NetworkVolume", "a"), State("NetworkVolume", "b")
    await second.up(b, VOLUME)
    third = await runs.next()
    await third.up(a, VOLUME)
    assert len({a.id, b.id}) == 2
    assert set(await listed(runs.cloud, VOLUMES, "networkVolumes")) == {a.id, b.id}


async def test_what_was_there_before_is_not_taken_over(runs: Runs) -> None:
    """Made by hand with the same name and content before the interrupted create: it stays alone."""
    theirs = await runs.cloud.call("POST", VOLUMES, VOLUME)
    await runs.in_doubt("NetworkVolume", "x", VOLUME, VOLUMES, acted=False)
    state = State("NetworkVolume", "x")
    await (await runs.next()).up(state, VOLUME)
    assert state.id != theirs["id"]


async def test_two_that_it_could_be_are_an_error(runs: Runs) -> None:
    """Somebody made one by hand meanwhile: the user decides, nothing is taken or made."""
    await runs.in_doubt("NetworkVolume", "x", VOLUME, VOLUMES, acted=True)
    await runs.cloud.call("POST", VOLUMES, VOLUME)
    with pytest.raises(grpc.aio.AioRpcError, match="RunPod has several new network volumes named"):
        await (await runs.next()).up(State("NetworkVolume", "x"), VOLUME)
    assert len(await listed(runs.cloud, VOLUMES, "networkVolumes")) == 2


async def test_a_run_that_ended_well_leaves_no_notes(runs: Runs) -> None:
    """The engine ended the provider, so it had written down all answers; a new one of the URN is a new one."""
    first = State("NetworkVolume", "x")
    async with engine(environ={"RUNPOD_API_KEY": KEY}, project_dir=runs.folder) as player:
        await player.configure({"apiUrl": runs.cloud.url, "jobsUrl": f"{runs.cloud.url}/v2"})
        await player.up(first, VOLUME)
        assert len(runs.notes()) == 1
    assert not (runs.folder / FOLDER).exists()
    second = State("NetworkVolume", "x")
    await (await runs.next()).up(second, VOLUME)
    assert second.id != first.id


@pytest.mark.parametrize("how", ["diff", "read", "delete", "check"])
async def test_an_engine_that_names_it_knows_it(runs: Runs, how: str) -> None:
    """Killed after the state was written: the next call about it ends the note."""
    state = State("NetworkVolume", "x")
    await (await runs.next()).up(state, VOLUME)
    second = await runs.next()
    assert len(runs.notes()) == 1
    if how == "diff":
        await second.diff(state, state.inputs)
    elif how == "read":
        await second.read(state)
    elif how == "delete":
        await second.delete(state)
    else:
        await second.check(state, VOLUME)
    assert runs.notes() == []


async def test_a_replacement_that_took_itself_over_is_kept(runs: Runs) -> None:
    """`up --replace` right after a kill that came after the state was written asks nothing before it creates."""
    state = State("NetworkVolume", "x")
    await (await runs.next()).up(state, VOLUME)
    second, replacement = await runs.next(), State("NetworkVolume", "x")
    await second.create(replacement, await second.check(replacement, VOLUME))
    await second.delete(state)
    assert await listed(runs.cloud, VOLUMES, "networkVolumes") == [replacement.id]
    assert any("took it over as the replacement of itself" in line for line in second.warnings)


async def test_an_interrupted_replacement_is_finished(runs: Runs) -> None:
    """The new one was made, the kill came, the old one is still the one in the state."""
    old = State("NetworkVolume", "x")
    first = await runs.next()
    await first.up(old, VOLUME)
    new = {**VOLUME, "dataCenter": "EU-CZ-1"}
    assert (await first.diff(old, await first.check(old, new))).replaces
    fresh = await first.check(old, new, fresh=True)
    await first.create(State("NetworkVolume", "x"), fresh)
    second = await runs.next()
    assert await second.up(old, new) == "replace"
    assert await listed(runs.cloud, VOLUMES, "networkVolumes") == [old.id]
    assert len(runs.cloud.sent("POST", VOLUMES)) == 2


async def test_no_note_holds_a_secret(runs: Runs) -> None:
    """Not in a template's environment, not a credential's password; and nobody but the user may read the file."""
    player = await runs.next()
    await player.up(State("Template", "t"), {**TEMPLATE, "env": {"A": Secret("s3cret-value"), "B": "open"}})
    await player.up(State("Template", "u"), {**TEMPLATE, "name": "other", "cmd": Secret(["--key", "s3cret-word"])})
    await player.up(State("RegistryCredential", "r"), CREDENTIAL)
    texts = "".join(path.read_text() for path in runs.notes())
    assert len(runs.notes()) == 3
    for secret in ("s3cret-value", "s3cret-word", str(CREDENTIAL["password"]), KEY):
        assert secret not in texts
    assert {path.stat().st_mode & 0o777 for path in runs.notes()} == {0o600}


async def test_a_secret_does_not_hinder_the_search(runs: Runs) -> None:
    """What stands in no note cannot be compared; name and the rest must do."""
    inputs = {**TEMPLATE, "env": {"A": Secret("s3cret-value")}}
    await runs.in_doubt("Template", "t", inputs, "/v2/templates", acted=True)
    second, state = await runs.next(), State("Template", "t")
    await second.up(state, inputs)
    assert await listed(runs.cloud, "/v2/templates", "templates") == [state.id]
    assert second.leaks("s3cret-value") == []


async def test_a_refused_create_leaves_no_note(runs: Runs) -> None:
    """RunPod said no, so there is nothing to look for."""
    runs.cloud.refuse.append(("POST", VOLUMES, 400, {"title": "Bad Request", "status": 400, "detail": "no"}))
    with pytest.raises(grpc.aio.AioRpcError):
        await (await runs.next()).up(State("NetworkVolume", "x"), VOLUME)
    assert runs.notes() == []


async def test_a_folder_that_cannot_be_written_is_said_once(runs: Runs) -> None:
    """Creates go on; the user knows what is missing."""
    (runs.folder / FOLDER).write_text("a file where the folder should be")
    player = await runs.next()
    await player.up(State("NetworkVolume", "x"), VOLUME)
    assert [line for line in player.warnings if "creates cannot be noted down" in line]


async def test_a_foreign_file_among_the_notes_claims_nothing(runs: Runs) -> None:
    """Cut off, of another version, or not ours at all."""
    folder = runs.folder / FOLDER / "creates"
    folder.mkdir(parents=True)
    for name, text in (("a", '{"version": 1'), ("b", '{"version": 99}'), ("c", "[]"), ("d", '{"version": 1, "x": 2}')):
        (folder / f"{name}.json").write_text(text)
    state = State("NetworkVolume", "x")
    await (await runs.next()).up(state, VOLUME)
    assert await listed(runs.cloud, VOLUMES, "networkVolumes") == [state.id]


async def test_a_create_goes_on_when_the_engine_is_gone(runs: Runs) -> None:
    """The call is cancelled with its connection, but what RunPod answers is noted all the same."""
    player = await runs.next()
    inputs = await player.check(State("NetworkVolume", "x"), VOLUME)
    creating = asyncio.create_task(player.create(State("NetworkVolume", "x"), inputs))
    while not runs.notes():
        await asyncio.sleep(0.001)
    creating.cancel()
    while '"id": ""' in runs.notes()[0].read_text():
        await asyncio.sleep(0.005)
    state = State("NetworkVolume", "x")
    await (await runs.next()).up(state, VOLUME)
    assert await listed(runs.cloud, VOLUMES, "networkVolumes") == [state.id]
