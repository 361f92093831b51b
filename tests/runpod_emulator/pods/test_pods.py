"""`/v2/pods` over real HTTP: the API's rules, and pods that are real processes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from runpod_emulator import Config, control, running
from runpod_emulator.context import Context
from runpod_emulator.model import ContainerSpec
from runpod_emulator.pods import PodRunner
from runpod_emulator.scaler import Scaler
from runpod_emulator.store import Store
from tests.runpod_emulator.jobs.support import FAST, ProcessHost
from tests.vllm_worker.support import CODE, make_fake_environment, make_model

SERVER = Path(__file__).parents[1] / "balancer" / "http_worker.py"
KEY = {"Authorization": "Bearer test-key"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pod(port: int, **changes: Any) -> dict[str, Any]:
    env = {"PORT": str(port), "PORT_HEALTH": str(port)}
    gpu = {"id": "NVIDIA L4"}
    return {"name": "p", "image": "plain", "gpu": gpu, "env": env, "ports": [f"{port}/http"], **changes}


class Cloud:
    def __init__(self, ctx: Context, http: aiohttp.ClientSession) -> None:
        self.ctx, self.http = ctx, http

    async def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        async with self.http.request(method, f"{self.ctx.base_url}{path}", json=body, headers=KEY) as answer:
            text = await answer.text()
            assert answer.status == status, f"{answer.status}: {text}"
            return await answer.json(content_type=None) if text else None

    async def until(self, pod_id: str, *wanted: str) -> Any:
        async with asyncio.timeout(30):
            while (found := await self.call("GET", f"/v2/pods/{pod_id}"))["status"] not in wanted:
                await asyncio.sleep(0.02)
        return found

    async def answers(self, port: int, path: str, **arguments: Any) -> int:
        """Status of the pod's own server, as soon as it listens."""
        async with asyncio.timeout(30):
            while True:
                try:
                    async with self.http.get(f"http://127.0.0.1:{port}{path}", **arguments) as answer:
                        return answer.status
                except aiohttp.ClientError:
                    await asyncio.sleep(0.02)


@asynccontextmanager
async def cloud(directory: Path, host: ProcessHost) -> AsyncIterator[Cloud]:
    def assemble(config: Config, store: Store) -> Context:
        ctx = Context(config=config, store=store, endpoints=control.Records(store), host=host, api_key="test-key")
        ctx.fleet = Scaler(ctx)
        return ctx

    config = Config(state_dir=directory / "state", port=0, timing=FAST)
    async with running(config, assemble=assemble) as ctx, aiohttp.ClientSession() as http:
        yield Cloud(ctx, http)


async def test_a_pods_life(tmp_path: Path) -> None:
    """Created, served on its port, stopped, started, restarted, terminated; each step moves a real process."""
    port = free_port()
    async with cloud(tmp_path, ProcessHost(tmp_path, SERVER)) as it:
        made = await it.call("POST", "/v2/pods", pod(port), 201)
        assert (made["status"], made["actions"]) == ("PROVISIONING", ["stop", "terminate"])
        found = await it.until(made["id"], "RUNNING")
        assert found["actions"] == ["stop", "restart", "terminate"]
        assert found["runtime"]["ports"] == [{"private": port, "public": port, "type": "http", "ip": "127.0.0.1"}]
        assert await it.answers(port, "/ping") == 200
        action = f"/v2/pods/{made['id']}/action"
        assert "RUNNING" in (await it.call("POST", action, {"action": "start"}, 409))["detail"]
        stopped = await it.call("POST", action, {"action": "stop"})
        assert (stopped["status"], stopped["cost"], stopped["runtime"]) == ("EXITED", 0.0, None)
        with socket.create_server(("127.0.0.1", port)):
            assert str(port) in (await it.call("POST", action, {"action": "start"}, 400))["detail"]
        await it.call("POST", action, {"action": "start"})
        await it.until(made["id"], "RUNNING")
        assert await it.answers(port, "/ping") == 200
        assert (await it.call("POST", action, {"action": "restart"}))["status"] in ("PROVISIONING", "STARTING")
        await it.until(made["id"], "RUNNING")
        host = it.ctx.host
        assert isinstance(host, ProcessHost)
        assert [container.process.returncode is None for container in host.containers] == [False, False, True]
        await it.call("DELETE", f"/v2/pods/{made['id']}", status=204)
        await it.call("GET", f"/v2/pods/{made['id']}", status=404)
        assert host.containers[-1].process.returncode is not None


async def test_a_pod_whose_program_fails_says_so_and_a_running_one_outlives_the_emulator(tmp_path: Path) -> None:
    """ERROR for an image or a program that does not run; what ran runs again in the next life, what was stopped not."""
    port = free_port()
    async with cloud(tmp_path, ProcessHost(tmp_path, SERVER)) as it:
        broken = await it.call("POST", "/v2/pods", pod(free_port(), env={}), 201)
        missing = await it.call("POST", "/v2/pods", pod(free_port(), image="missing"), 201)
        assert (await it.until(broken["id"], "ERROR"))["actions"] == ["start", "terminate"]
        await it.until(missing["id"], "ERROR")
        lives = await it.call("POST", "/v2/pods", pod(port), 201)
        await it.until(lives["id"], "RUNNING")
    async with cloud(tmp_path, ProcessHost(tmp_path, SERVER)) as it:
        await it.until(lives["id"], "RUNNING")
        assert await it.answers(port, "/ping") == 200
        assert (await it.call("GET", f"/v2/pods/{broken['id']}"))["status"] == "ERROR"
        dump = await it.call("GET", "/_emulator/dump")
        assert "1 pods are running" in (await it.call("POST", "/_emulator/reset", status=409))["detail"]
        await it.call("POST", "/_emulator/reset?force")
        assert (await it.call("GET", "/v2/pods"))["pods"] == []
        await it.call("POST", "/_emulator/load", dump)
        await it.until(lives["id"], "RUNNING")
        assert await it.answers(port, "/ping") == 200


async def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mistake with its status and its name; nothing is made."""
    monkeypatch.setattr(PodRunner, "check_ports", lambda *_: pytest.fail("a refused pod was placed"))
    registry = {"name": "t", "image": "i", "serverless": True}
    async with cloud(tmp_path, ProcessHost(tmp_path, SERVER)) as it:
        template = (await it.call("POST", "/v2/templates", registry, 201))["id"]
        cases: list[tuple[dict[str, Any], int, str]] = [
            ({"bogus": 1}, 422, "additional properties 'bogus' not allowed"),
            ({"image": None}, 422, "$.image"),
            ({"gpu": {"count": 1}}, 422, "missing property 'id'"),
            ({"cpu": {"id": "cpu3c", "vcpuCount": 2}}, 400, "exactly one of gpu or cpu"),
            ({"gpu": {"id": "ADA_24"}}, 400, "unknown GPU type 'ADA_24'"),
            ({"dataCenterIds": ["XX"]}, 400, "unknown data center 'XX'"),
            ({"ports": ["8000"]}, 400, "port '8000' is not of the form"),
            ({"registry": "nobody"}, 400, "'nobody' not found"),
            ({"templateId": template}, 422, "is a serverless template"),
            ({"templateId": "none"}, 404, "template not found"),
            ({"mounts": {"persistent": {"size": 10, "path": "/w"}}}, 501, "not emulated"),
        ]
        for changes, status, said in cases:
            assert said in str(await it.call("POST", "/v2/pods", pod(8000, **changes), status))
        assert (await it.call("GET", "/v2/pods"))["pods"] == []
        await it.call("PUT", "/v2/pods", status=405)


async def test_pods_from_templates_in_pages(tmp_path: Path) -> None:
    """Newest first, with a cursor; a template's env under the body's; a credential in use stays."""
    async with cloud(tmp_path, ProcessHost(tmp_path, SERVER)) as it:
        settings = {"name": "t", "image": "missing", "env": {"A": "1", "B": "1"}, "startJupyter": False}
        template = (await it.call("POST", "/v2/templates", settings, 201))["id"]
        login = {"name": "r", "username": "u", "password": "p"}
        registry = (await it.call("POST", "/v2/registries", login, 201))["id"]
        cpu = {"id": "cpu3c", "vcpuCount": 2}
        made = [
            await it.call(
                "POST",
                "/v2/pods",
                {"name": name, "cpu": cpu, "templateId": template, "registry": registry, "env": {"B": "2"}},
                201,
            )
            for name in ("first", "second")
        ]
        assert (made[0]["env"], made[0]["template"]) == ({"A": "1", "B": "2"}, None)
        assert made[0]["cpu"] == {**cpu, "memory": 4}
        page = await it.call("GET", "/v2/pods?limit=1")
        assert [item["name"] for item in page["pods"]] == ["second"]
        rest = await it.call("GET", f"/v2/pods?limit=1&cursor={page['pagination']['nextCursor']}")
        assert ([item["name"] for item in rest["pods"]], rest["pagination"]["hasNextPage"]) == (["first"], False)
        assert "in use by pod" in (await it.call("DELETE", f"/v2/registries/{registry}", status=400))["detail"]


async def test_the_real_worker_in_a_pod(tmp_path: Path) -> None:
    """It finds out by RUNPOD_POD_ID that it is in a Pod, and lets nobody in without its key."""
    port = free_port()
    env = {
        "MODEL_NAME": str(make_model(tmp_path / "models" / "fake")),
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "fake",
        "PYTHONPATH": ":".join(map(str, CODE)),
        "PORT": str(port),
        "WORKER_API_KEY": "a-key-for-the-pod",
    }
    python = make_fake_environment(tmp_path / "venv")

    class WorkerHost(ProcessHost):
        def command(self, spec: ContainerSpec) -> list[str]:
            return [str(python), "-m", "vllm_worker"]

    host = WorkerHost(tmp_path)
    async with cloud(tmp_path, host) as it:
        made = await it.call("POST", "/v2/pods", pod(port, env=env), 201)
        await it.until(made["id"], "RUNNING")
        async with asyncio.timeout(40):
            while await it.answers(port, "/ping") != 200:
                await asyncio.sleep(0.02)
        assert await it.answers(port, "/v1/models") == 401
        assert await it.answers(port, "/v1/models", headers={"Authorization": "Bearer a-key-for-the-pod"}) == 200
        await it.call("POST", f"/v2/pods/{made['id']}/action", {"action": "terminate"}, 204)
    assert host.containers[0].process.returncode == 0, host.output()
