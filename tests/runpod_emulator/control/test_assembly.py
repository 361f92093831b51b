"""All planes on one port: who gets which path, and what a resource's end means for the other planes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from runpod_emulator import Config, control, running
from runpod_emulator.context import Context
from runpod_emulator.control import endpoint_rules
from runpod_emulator.model import Endpoint
from runpod_emulator.scaler import Scaler
from runpod_emulator.store import Store
from tests.runpod_emulator.control.support import KEY, FakeHost, endpoint_body


def _assemble(config: Config, store: Store) -> Context:
    ctx = Context(config=config, store=store, endpoints=control.Records(store), host=FakeHost(), api_key=KEY)
    ctx.fleet = Scaler(ctx)
    return ctx


def _idle_endpoint() -> Endpoint:
    body = endpoint_body(workers={"max": 0})
    return endpoint_rules.created("emulatorendpt1", body, None, _Nothing(), now=0.0, quota=10)


class _Nothing:
    """Implements endpoint_rules.Known for an empty cloud."""

    def workers_max_elsewhere(self, endpoint_id: str) -> int:
        return 0

    def volume(self, volume_id: str) -> None:
        return None

    def registry(self, registry_id: str) -> None:
        return None


class _Caller:
    def __init__(self, ctx: Context, session: aiohttp.ClientSession) -> None:
        self._ctx, self._session = ctx, session

    async def __call__(self, method: str, path: str, body: Any = None, key: str = f"Bearer {KEY}") -> tuple[int, Any]:
        url = self._ctx.base_url + path
        async with self._session.request(method, url, json=body, headers={"Authorization": key}) as answer:
            return answer.status, await answer.json(content_type=None)


@asynccontextmanager
async def _emulator(state: Path) -> AsyncIterator[_Caller]:
    config = Config(state_dir=state, port=0, api_key=KEY)
    async with running(config, assemble=_assemble) as ctx, aiohttp.ClientSession() as session:
        yield _Caller(ctx, session)


async def test_the_real_assembly_serves_and_streams_a_real_log(tmp_path: Path) -> None:
    """With the real host and scaler: status, a refused image in prose, and a worker's log with resume."""
    config = Config(state_dir=tmp_path, port=0, api_key=KEY, image_root=tmp_path)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with running(config) as ctx, aiohttp.ClientSession(headers=headers) as session:
        async with session.get(ctx.base_url + "/_emulator/status") as answer:
            assert (await answer.json())["ready"] is True
        body = endpoint_body(image="oci:nowhere:latest")
        async with session.post(ctx.base_url + "/v2/serverless", json=body) as answer:
            assert answer.status == 422
            assert "oci:nowhere:latest not found" in (await answer.json())["detail"]
        ctx.fleet.endpoint_changed("nosuch")  # an endpoint that went away meanwhile is no fault
        control.Records(ctx.store).save_endpoint(_idle_endpoint())
        log = ctx.host.logs("w1")
        log.append("container", "first")
        log.append("system", "second ✓")
        url = f"{ctx.base_url}/v2/serverless/emulatorendpt1/workers/w1/logs"
        async with session.get(url) as stream:
            first = await stream.content.readuntil(b"\n\n")
            assert b'"line": "first"' in first
        identity = first.split(b"\n")[0].removeprefix(b"id: ").decode()
        async with session.get(url, headers={"Last-Event-ID": identity}) as stream:
            assert '"line": "second ✓"' in (await stream.content.readuntil(b"\n\n")).decode()
            ctx.host.logs("w1").append("container", "third")
            assert b'"line": "third"' in await stream.content.readuntil(b"\n\n")


async def test_jobs_live_and_die_with_their_endpoint(tmp_path: Path) -> None:
    """The URLs that the control plane hands out are those that the job plane answers, across a restart."""
    async with _emulator(tmp_path) as call:
        status, made = await call("POST", "/v2/serverless", endpoint_body(workers={"max": 0}))
        assert status == 201
        run = "/v2/" + made["requestUrls"]["run"].split("/v2/")[1]
        status, job = await call("POST", run, {"input": {"x": 1}})
        assert (status, job["status"]) == (200, "IN_QUEUE")
    async with _emulator(tmp_path) as call:
        job_path = f"/v2/{made['id']}/status/{job['id']}"
        assert (await call("GET", job_path))[1]["status"] == "IN_QUEUE"
        assert (await call("DELETE", f"/v2/serverless/{made['id']}"))[0] == 204
        assert (await call("GET", job_path))[0] == 404
        assert (await call("POST", run, {"input": {}}))[0] == 404


@pytest.mark.parametrize("word", ["serverless", "templates", "network-volumes", "registries", "catalog"])
async def test_a_reserved_word_is_never_an_endpoint(tmp_path: Path, word: str) -> None:
    """No path below a reserved word reaches the job or the worker plane."""
    async with _emulator(tmp_path) as call:
        for path in (f"/v2/{word}/run", f"/v2/{word}/health", f"/v2/{word}/ping/w", f"/v2/{word}/openai/v1/models"):
            for method in ("GET", "POST"):
                status, answer = await call(method, path)
                assert status in (404, 405), (method, path)
                assert {"title", "status", "detail"} <= set(answer)


async def test_each_plane_has_its_own_key_rules(tmp_path: Path) -> None:
    """The job plane takes the bare key, the control plane does not; neither key opens a worker's routes."""
    async with _emulator(tmp_path) as call:
        made = (await call("POST", "/v2/serverless", endpoint_body(workers={"max": 0})))[1]
        assert (await call("GET", f"/v2/{made['id']}/health", key=KEY))[0] == 200
        assert (await call("GET", f"/v2/{made['id']}/health", key="rpa_wrong"))[0] == 401
        assert (await call("GET", "/v2/serverless", key=KEY))[0] == 401
        assert (await call("GET", f"/v2/{made['id']}/job-take/w1?a=b"))[0] == 401
