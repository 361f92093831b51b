"""Dump and load: what was made comes back as it was, or nothing changes at all."""

import asyncio
import copy
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runpod_emulator.model import Json
from tests.runpod_emulator.control.support import IMAGE, endpoint_body
from tests.runpod_emulator.levers.support import Whole, until, whole
from tests.support.levers import LeverRefused

LISTS = {
    "/v2/serverless": "endpoints",
    "/v2/templates": "templates",
    "/v2/network-volumes": "networkVolumes",
    "/v2/registries": "registries",
}


@pytest_asyncio.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[Whole]:
    async with whole(tmp_path / "state") as live:
        yield live


async def everything(emulator: Whole, job_ids: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """Every answer of GET about what was made, whole lists and first pages with their cursors."""
    found: dict[str, Any] = {}
    for path, key in LISTS.items():
        found[path] = await emulator.ok("GET", path)
        found[f"{path}?limit=1"] = await emulator.call("GET", f"{path}?limit=1")
        for item in found[path][key]:
            found[f"{path}/{item['id']}"] = await emulator.ok("GET", f"{path}/{item['id']}")
            if key == "endpoints":
                found[item["id"]] = await emulator.ok("GET", f"{path}/{item['id']}/releases")
                found[f"jobs of {item['id']}"] = (await emulator.ok("GET", f"/v2/{item['id']}/health"))["jobs"]
    for endpoint_id, job_id in job_ids:
        found[job_id] = await emulator.call("GET", f"/v2/{endpoint_id}/status/{job_id}")
    plain: dict[str, Any] = json.loads(json.dumps(found).replace(emulator.ctx.base_url, "http://here"))
    return plain


# --- the law ---------------------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=12).map(lambda t: f"n{t}")
STEPS = st.one_of(
    st.tuples(st.just("volume"), NAMES, st.integers(10, 4000)),
    st.tuples(st.just("registry"), NAMES, st.integers(0, 9)),
    st.tuples(st.just("template"), NAMES, st.integers(1, 100)),
    st.tuples(st.just("endpoint"), NAMES, st.integers(0, 9)),
    st.tuples(st.just("change"), NAMES, st.integers(0, 9)),
    st.tuples(st.just("job"), NAMES, st.integers(0, 9)),
    st.tuples(st.just("cancel"), NAMES, st.integers(0, 9)),
    st.tuples(st.just("delete"), NAMES, st.integers(0, 9)),
)


class Maker:
    """Plays steps against an emulator; what a step needs and is not there makes it do nothing."""

    def __init__(self, emulator: Whole) -> None:
        self.emulator = emulator
        self.jobs: list[tuple[str, str]] = []

    async def ids(self, path: str) -> list[str]:
        return [item["id"] for item in (await self.emulator.ok("GET", path))[LISTS[path]]]

    async def play(self, kind: str, name: str, number: int) -> None:
        call = self.emulator.call
        endpoints = await self.ids("/v2/serverless")
        if kind == "volume":
            await call("POST", "/v2/network-volumes", {"name": name, "size": number, "dataCenter": "US-KS-2"})
        elif kind == "registry":
            await call("POST", "/v2/registries", {"name": name, "username": "u", "password": f"secret of {name}"})
        elif kind == "template":
            body = {"name": name, "image": IMAGE, "disk": number, "env": {name: name}}
            await call("POST", "/v2/templates", body)
        elif kind == "endpoint":
            volumes, credentials = await self.ids("/v2/network-volumes"), await self.ids("/v2/registries")
            body = endpoint_body(
                name=name,
                env={"A": name},
                workers={"min": 0, "max": 0},
                networkVolumes=[volumes[number % len(volumes)]] if volumes else None,
                registry=credentials[number % len(credentials)] if credentials else None,
            )
            await call("POST", "/v2/serverless", body)
        elif kind == "change" and endpoints:
            path = f"/v2/serverless/{endpoints[number % len(endpoints)]}"
            await call("PATCH", path, {"env": {"A": name, "B": str(number)}})
        elif kind == "job" and endpoints:
            endpoint_id = endpoints[number % len(endpoints)]
            _, job = await call("POST", f"/v2/{endpoint_id}/run", {"input": {name: number}})
            self.jobs.append((endpoint_id, job["id"]))
        elif kind == "cancel" and self.jobs:
            endpoint_id, job_id = self.jobs[number % len(self.jobs)]
            await call("POST", f"/v2/{endpoint_id}/cancel/{job_id}")
        elif kind == "delete":
            path = list(LISTS)[number % len(LISTS)]
            for thing in (await self.ids(path))[:1]:
                await call("DELETE", f"{path}/{thing}")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, Whole, Whole]]:
    """Two emulators that live as long as the module, and the loop they live on."""
    folder = tmp_path_factory.mktemp("pair")
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def begin() -> tuple[Whole, Whole]:
            one = await stack.enter_async_context(whole(folder / "one"))
            return one, await stack.enter_async_context(whole(folder / "two"))

        one, two = runner.run(begin())
        yield runner, one, two
        runner.run(stack.aclose())


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, min_size=4, max_size=14), later=st.lists(STEPS, max_size=4))
def test_a_loaded_dump_answers_as_before(
    pair: tuple[asyncio.Runner, Whole, Whole], steps: list[tuple[str, str, int]], later: list[tuple[str, str, int]]
) -> None:
    """Whatever was made, and whatever happened since: after loading, here or elsewhere, every GET is the same."""
    runner, one, two = pair

    async def scenario() -> None:
        await one.levers.reset(force=True)
        maker = Maker(one)
        for step in steps:
            await maker.play(*step)
        before, dump = await everything(one, maker.jobs), await one.levers.dump()
        for step in later:
            await maker.play(*step)
        for emulator in (one, two):
            await emulator.levers.load(dump)
            assert await everything(emulator, maker.jobs) == with_lost_jobs(before, maker.jobs, dump)
            assert (await emulator.levers.dump())["tables"] == dump["tables"]

    runner.run(scenario())


def with_lost_jobs(before: dict[str, Any], jobs: list[tuple[str, str]], dump: Json) -> dict[str, Any]:
    """The answers of before; a job that came after the dump is a 404 again."""
    known = {row["id"] for row in dump["tables"]["jobs"]}
    lost = {
        job_id: [404, {"error": f"job {job_id} not found; it never existed or has expired"}]
        if any(row["id"] == endpoint_id for row in dump["tables"]["control_endpoints"])
        else [404, {"error": f"endpoint {endpoint_id} not found"}]
        for endpoint_id, job_id in jobs
        if job_id not in known
    }
    return {**before, **lost}


# --- workers, jobs, files --------------------------------------------------------------------------------------------


async def test_workers_start_anew_and_their_jobs_are_queued_again(emulator: Whole) -> None:
    """The old worker's key is void and its process gone; a new one gets the job that the old one had."""
    endpoint_id = await emulator.endpoint(workers={"min": 1, "max": 1})
    job_id = await emulator.run(endpoint_id)
    old = await emulator.worker(endpoint_id)
    assert (await emulator.poll(old))[1]["id"] == job_id
    await emulator.levers.load(await emulator.levers.dump())
    assert emulator.scaler.roster.session(old.worker_id) is None
    await until(lambda: emulator.host.alive() not in ([], [old.worker_id]))
    new = await emulator.worker(endpoint_id)
    assert new.worker_id != old.worker_id
    assert (await emulator.poll(old))[0] == 401
    status, job = await emulator.poll(new)
    assert (status, job["id"]) == (200, job_id)


async def test_an_endpoint_that_was_deleted_works_again(emulator: Whole) -> None:
    """Its id comes back with it, and its workers start."""
    endpoint_id = await emulator.endpoint()
    dump = await emulator.levers.dump()
    await emulator.ok("DELETE", f"/v2/serverless/{endpoint_id}")
    await emulator.levers.load(dump)
    await emulator.run(endpoint_id)
    assert await emulator.worker(endpoint_id)


async def test_volumes_come_back_without_their_files(emulator: Whole) -> None:
    """A volume that is still there keeps its files, one that was deleted is empty, one made since is gone."""
    body = {"name": "v", "size": 10, "dataCenter": "US-KS-2"}
    kept, deleted = [(await emulator.ok("POST", "/v2/network-volumes", body))["id"] for _ in range(2)]
    folder = emulator.ctx.config.volume_dir
    for volume_id in (kept, deleted):
        (folder(volume_id) / "file").write_text("x")
    dump = await emulator.levers.dump()
    await emulator.ok("DELETE", f"/v2/network-volumes/{deleted}")
    made = (await emulator.ok("POST", "/v2/network-volumes", body))["id"]
    await emulator.levers.load(dump)
    assert [path.name for path in folder(kept).iterdir()] == ["file"]
    assert list(folder(deleted).iterdir()) == []
    assert sorted(path.name for path in emulator.ctx.config.volumes_dir.iterdir()) == sorted([kept, deleted])
    assert not folder(made).exists()


async def test_a_dump_is_the_owners_alone(emulator: Whole) -> None:
    """It holds passwords in clear, so it needs the key; the emulator's own key is not in it."""
    body = {"name": "r", "username": "u", "password": "a very secret password"}
    made = await emulator.ok("POST", "/v2/registries", body)
    assert (await emulator.call("GET", "/_emulator/dump", key="wrong"))[0] == 401
    dump = await emulator.levers.dump()
    assert "a very secret password" in json.dumps(dump)
    assert emulator.ctx.api_key not in json.dumps(dump)
    await emulator.ok("DELETE", f"/v2/registries/{made['id']}")
    await emulator.levers.load(dump)
    assert emulator.ctx.endpoints.registry_auth(made["id"]) == ("u", "a very secret password")


# --- what is refused -------------------------------------------------------------------------------------------------


def sealed(change: Callable[[dict[str, Any]], object]) -> Callable[[Json], Json]:
    """A change of the rows with a seal that fits: a document of another emulator, not an edited one."""

    def apply(dump: Json) -> Json:
        change(dump["tables"])
        text = json.dumps(dump["tables"], sort_keys=True, separators=(",", ":"))
        return {**dump, "seal": hashlib.sha256(text.encode()).hexdigest()}

    return apply


REFUSED: list[tuple[Callable[[Json], Any], str]] = [
    (lambda dump: [dump], "`format` is not runpod-emulator-dump"),
    (lambda dump: {**dump, "format": "something else"}, "`format` is not runpod-emulator-dump"),
    (lambda dump: {**dump, "version": 99}, "`version` is 99, this emulator reads 1"),
    (lambda dump: {**dump, "tables": {}}, "`tables` does not fit its `seal`"),
    (lambda dump: dump["tables"]["control_volumes"].clear() or dump, "`tables` does not fit its `seal`"),
    (sealed(lambda tables: tables.pop("jobs")), "its tables are control_endpoints,"),
    (sealed(lambda tables: tables.update(spies=[])), "its tables are control_endpoints,"),
    (sealed(lambda tables: tables["control_volumes"][0].pop("size")), "a row of control_volumes has the columns"),
    (sealed(lambda tables: tables["control_volumes"][0].update(size=None)), "NOT NULL constraint failed"),
    (sealed(lambda tables: tables["control_endpoints"].clear()), "belongs to one of control_endpoints that is missing"),
    (sealed(lambda tables: tables["control_endpoints"][0].update(body="{}")), "nothing was loaded"),
    (sealed(lambda tables: tables["control_endpoints"][0].update(body="no json")), "nothing was loaded"),
    (sealed(lambda tables: tables.update(control_volumes=7)), "nothing was loaded"),
    (sealed(lambda tables: tables.update(control_volumes=[7])), "nothing was loaded"),
]


async def test_a_document_that_is_no_dump_changes_nothing(emulator: Whole) -> None:
    """One line says what is wrong with it; things, files and workers stay as they are."""
    endpoint_id = await emulator.endpoint(workers={"min": 1, "max": 1})
    volume = {"name": "v", "size": 10, "dataCenter": "US-KS-2"}
    await emulator.ok("POST", "/v2/network-volumes", volume)
    worker = await emulator.worker(endpoint_id)
    dump = await emulator.levers.dump()
    made = (await emulator.ok("POST", "/v2/network-volumes", volume))["id"]
    (emulator.ctx.config.volume_dir(made) / "file").write_text("x")
    before = await everything(emulator)
    for change, said in REFUSED:
        with pytest.raises(LeverRefused) as refused:
            await emulator.levers.load(change(copy.deepcopy(dump)))
        assert refused.value.status == 400
        detail = json.loads(refused.value.text)["detail"]
        assert said in detail
        assert detail.startswith("nothing was loaded")
        assert "\n" not in detail
    async with emulator.http.post(
        f"{emulator.ctx.base_url}/_emulator/load",
        data=json.dumps(dump)[:-20],
        headers={"Authorization": f"Bearer {emulator.ctx.api_key}"},
    ) as cut:
        assert (cut.status, (await cut.json())["detail"][:43]) == (400, "nothing was loaded: the document is not JSO")
    assert await everything(emulator) == before
    assert (emulator.ctx.config.volume_dir(made) / "file").read_text() == "x"
    assert emulator.host.alive() == [worker.worker_id]
