"""Requests through the load balancer: real HTTP, real worker processes."""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from runpod_emulator.workers import HttpPorts
from tests.runpod_emulator.balancer.support import ID, QUICK, appears, balanced, balancer
from tests.runpod_emulator.jobs.support import endpoint

MEGABYTE = 1024 * 1024


async def test_a_request_starts_a_worker_and_waits_for_it(tmp_path: Path) -> None:
    """From zero: INITIALIZING while /ping says 204, then the request goes through and the times are told."""
    async with balancer(tmp_path, balanced("slow")) as it:
        request = asyncio.create_task(it.get("/first"))
        async with asyncio.timeout(20):
            while not it.details() or not it.details()[0]["times"]["firstPing"]:
                await asyncio.sleep(0.02)
        assert it.statuses() == ["INITIALIZING"]
        health = await it.live.call("GET", "health")
        assert (health["workers"]["running"], health["workers"]["ready"]) == (1, 0)
        (it.home / "go").touch()
        told = await request
        await it.until("IDLE")
        (details,) = it.details()
        assert told["worker"] == details["id"] == told["environment"]["RUNPOD_POD_ID"]
        assert told["pid"] == details["pid"]
        assert details["jobsDone"] == 1
        times = details["times"]
        assert times["started"] <= times["firstPing"] <= times["firstPoll"] <= times["firstJob"]
        assert details["phases"]["ready"] >= 0
        health = await it.live.call("GET", "health")
        assert (health["workers"]["idle"], health["workers"]["ready"]) == (1, 1)


async def test_what_a_worker_is_told_and_what_it_hears(tmp_path: Path) -> None:
    """Ports of its own, no job routes; path and query as they came; the caller's headers without the account's key."""
    async with balancer(tmp_path) as it:
        async with it.live.http.post(
            URL(f"{it.base}/v1/a%2Fb//c?x=%20&y&x=2", encoded=True), data=b"12345", headers={"X-Mine": "1"}
        ) as answer:
            told = await answer.json()
        env = told["environment"]
        assert env["PORT"] == env["PORT_HEALTH"] == str(it.details()[0]["port"])
        assert env["RUNPOD_ENDPOINT_ID"] == ID
        assert [name for name in env if name.startswith("RUNPOD_WEBHOOK") or name == "RUNPOD_AI_API_KEY"] == []
        assert (told["method"], told["target"], told["size"]) == ("POST", "/v1/a%2Fb//c?x=%20&y&x=2", 5)
        assert told["headers"]["x-mine"] == "1"
        assert "test-key" not in str(told["headers"])
        assert (await it.get("", status=418, params={"status": "418"}))["target"] == "/?status=418"


async def test_who_may_not_pass(tmp_path: Path) -> None:
    """No key, no endpoint, a queue: refused before any worker is asked for."""
    queue = endpoint(id="queue", workers_max=1)
    async with balancer(tmp_path, balanced(), queue) as it:
        async with aiohttp.ClientSession() as nobody, nobody.get(f"{it.base}/x") as answer:
            assert answer.status == 401
        for path, status, said in (("none", 404, "not found"), ("queue", 400, "not allowed for QB API")):
            async with it.live.http.get(f"{it.live.ctx.base_url}/lb/{path}/x") as answer:
                assert answer.status == status
                assert said in (await answer.json())["error"]
        async with it.request("GET", "/x", headers={"Connection": "Upgrade", "Upgrade": "websocket"}) as answer:
            assert (answer.status, "not emulated" in (await answer.json())["error"]) == (501, True)
        assert it.live.host.containers == []


async def test_bodies_stream_both_ways(tmp_path: Path) -> None:
    """Each piece is answered before the next one is sent."""
    async with balancer(tmp_path) as it:
        ready: asyncio.Queue[bytes] = asyncio.Queue()

        async def pieces() -> AsyncIterator[bytes]:
            while piece := await ready.get():
                yield piece

        ready.put_nowait(b"one")
        async with it.request("POST", "/echo", data=pieces()) as answer:
            assert await answer.content.readany() == b"got one"
            ready.put_nowait(b"two")
            assert await answer.content.readany() == b"got two"
            ready.put_nowait(b"")
            assert await answer.content.read() == b""


async def test_two_minutes_without_a_worker(tmp_path: Path) -> None:
    """What was seen live; and at once where no worker may ever come."""
    async with balancer(tmp_path, balanced("never")) as it:
        request = asyncio.create_task(it.get("/x", status=400))
        await it.until("INITIALIZING")
        it.live.ctx.clock.advance(119)
        assert not (await asyncio.wait({request}, timeout=0.2))[0]
        it.live.ctx.clock.advance(1.5)
        assert (await request)["error"] == "timed out waiting for worker"
        it.live.catalogue.change(ID, workers_max=0)
        assert (await it.get("/x", status=400))["error"] == "no workers available"


async def test_an_unhealthy_worker_is_taken_out_and_comes_back_or_is_replaced(tmp_path: Path) -> None:
    """No request reaches it meanwhile; after the time of three missed pings another one takes its place."""
    timing = replace(QUICK, lost_after_s=1.0)
    async with balancer(tmp_path, balanced(workers_min=1), timing=timing) as it:
        await it.until("IDLE")
        (it.home / "ping").write_text("500")
        await it.until("UNHEALTHY")
        assert it.details()[0]["reason"] == "its health check answers 500"
        request = asyncio.create_task(it.get("/x"))
        assert not (await asyncio.wait({request}, timeout=0.2))[0]
        (it.home / "ping").write_text("200")
        first = await request
        (it.home / "ping").write_text("204")
        await it.until("INITIALIZING")
        (it.home / "ping").write_text("500")
        async with asyncio.timeout(20):
            while len(it.live.host.containers) < 2:
                await asyncio.sleep(0.02)
        (it.home / "ping").unlink()
        assert (await it.get("/x"))["pid"] != first["pid"]


@pytest.mark.parametrize("announced", [True, False])
async def test_nothing_larger_than_30_megabytes_passes(tmp_path: Path, announced: bool) -> None:
    """Neither way, with a Content-Length and without."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(31):
            yield b" " * MEGABYTE

    async with balancer(tmp_path) as it:
        body = io.BytesIO(b" " * (31 * MEGABYTE)) if announced else chunks()
        async with it.request("POST", "/tell", data=body) as answer:
            assert (answer.status, "30 MB" in (await answer.json())["error"]) == (413, True)
        async with it.request("POST", "/tell", data=io.BytesIO(b" " * (30 * MEGABYTE))) as answer:
            assert (await answer.json())["size"] == 30 * MEGABYTE
        if announced:
            assert "30 MB" in (await it.get("/big?announced", status=502))["error"]
        else:
            async with it.request("GET", "/big") as answer:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await answer.read()
        assert len(it.live.host.containers) == 1


async def test_a_worker_that_dies_is_never_taken_for_an_end(tmp_path: Path) -> None:
    """Before its answer 502, in the middle of it a broken connection; no request is sent twice."""
    async with balancer(tmp_path) as it:
        answer = await it.get("/die?first", status=502)
        assert answer["worker"] in answer["error"]
        await it.until("UNHEALTHY")
        async with it.request("GET", "/die") as broken:
            assert broken.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await broken.read()
        async with asyncio.timeout(10):
            while "exited with code 3" not in str(it.details()):
                await asyncio.sleep(0.02)
        assert len(it.live.host.containers) == 2


async def test_a_caller_who_leaves_lets_the_worker_go(tmp_path: Path) -> None:
    """The worker sees its connection close, and takes the next request."""
    async with balancer(tmp_path) as it:
        request = asyncio.create_task(it.get("/hang"))
        await appears(it.home / "hanging")
        assert it.statuses() == ["RUNNING"]
        request.cancel()
        await appears(it.home / "let-go")
        await it.until("IDLE")
        assert it.details()[0]["jobsDone"] == 0


async def test_a_request_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    """5.5 minutes of the emulator's clock."""
    async with balancer(tmp_path) as it:
        request = asyncio.create_task(it.get("/hang", status=504))
        await appears(it.home / "hanging")
        it.live.ctx.clock.advance(331)
        assert "330 s" in (await request)["error"]
        await appears(it.home / "let-go")


async def test_as_many_workers_as_requests_ask_for_and_affinity(tmp_path: Path) -> None:
    """REQUEST_COUNT counts waiting and running requests; each worker has its own port; idle ones go."""
    async with balancer(tmp_path, balanced(workers_max=2, idle_timeout_s=5)) as it:
        hanging = [asyncio.create_task(it.get("/hang"))]
        await it.until("RUNNING")
        hanging.append(asyncio.create_task(it.get("/hang")))
        await it.until("RUNNING", "IDLE")
        assert len({worker["port"] for worker in it.details()}) == 2
        busy = next(worker["id"] for worker in it.details() if worker["jobsInProgress"])
        free = next(worker["id"] for worker in it.details() if not worker["jobsInProgress"])

        async def served_by(header: str) -> str:
            return str((await it.get("/x", headers={"X-Runpod-Worker-Id": header}))["worker"])

        assert await served_by("") == free
        assert await served_by(busy) == await served_by(f"strict {busy}") == busy
        assert await served_by("someone") == free
        gone = await it.get("/x", status=404, headers={"X-Runpod-Worker-Id": "strict-resume someone"})
        assert gone["error"] == "affinity_worker_gone"
        for request in hanging:
            request.cancel()
        await it.until("IDLE", "IDLE")
        it.live.ctx.clock.advance(6)
        await it.until()


async def test_a_named_port_belongs_to_one_worker(tmp_path: Path, free_port: int) -> None:
    """The next one waits and says why; with both variables named the worker answers there."""
    named = {"PORT": str(free_port), "PORT_HEALTH": str(free_port)}
    async with balancer(tmp_path, balanced(workers_min=2, workers_max=2, env=named)) as it:
        await it.until("IDLE", "THROTTLED")
        assert (await it.get("/x"))["environment"]["PORT"] == str(free_port)
        (waiting,) = [worker for worker in it.details() if worker["status"] == "THROTTLED"]
        assert f"port {free_port}, which the endpoint's env names as PORT, is in use" in waiting["reason"]


async def test_port_alone_leaves_the_health_check_elsewhere(tmp_path: Path, free_port: int) -> None:
    """The trap that was seen live: RunPod asks on PORT_HEALTH, which nobody set; such a worker is never ready."""
    alone = balanced("deaf", workers_min=1, env={"PORT": str(free_port), "RUNPOD_INIT_TIMEOUT": "1"})
    async with balancer(tmp_path, alone) as it:
        async with asyncio.timeout(20):
            while "not ready 1 s after its start" not in str(it.details()):
                await asyncio.sleep(0.02)
        ports = it.live.scaler.roster.sessions(ID)
        assert all(session.http is None or session.http != HttpPorts(free_port, free_port) for session in ports)
