"""One broad session of real requests; every answer is held against the published schema of its operation."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from runpod_emulator.config import RateWindow
from tests.contract.support import Contract
from tests.runpod_emulator.control import support
from tests.runpod_emulator.control.support import IMAGE, KEY, Cloud, endpoint_body, worker

BY_COUNT = {"type": "REQUEST_COUNT", "requestCount": 2}


class Judge:
    """Sends requests, validates each answer, remembers which operations answered with success and with failure."""

    def __init__(self, cloud: Cloud, published: Contract) -> None:
        self._cloud, self._published = cloud, published
        self.served: set[str] = set()
        self.answers: set[tuple[str, int]] = set()

    async def __call__(
        self, status: int, method: str, path: str, body: Any = None, *, key: str | None = KEY, **options: Any
    ) -> Any:
        answer = await self._cloud.call(method, path, body, key=key, **options)
        assert answer.status == status, (method, path, answer.status, answer.text)
        operation = self._published.operation(method, path)
        assert operation is not None, (method, path)
        wrong = self._published.mistakes(method, path, answer.status, answer.headers, answer.text)
        assert wrong == [], (method, path, answer.text)
        self.answers.add((operation["operationId"], status))
        if status < 300:
            self.served.add(operation["operationId"])
        return answer.json if answer.text else None

    async def stream(self, path: str) -> None:
        """A log stream: status, headers and the first event."""
        headers = {"Authorization": f"Bearer {KEY}"}
        async with self._cloud.session.get(self._cloud.ctx.base_url + path, headers=headers) as response:
            event = (await response.content.readuntil(b"\n\n")).decode()
            wrong = self._published.mistakes("GET", path, response.status, response.headers, event)
            assert wrong == []
        assert event.startswith("id: ")
        operation = self._published.operation("GET", path)
        assert operation is not None
        self.served.add(operation["operationId"])


async def _catalogue(judge: Judge) -> None:
    stock = "include=AVAILABILITY&product=POD,SERVERLESS"
    await judge(200, "GET", "/v2/catalog/gpus")
    await judge(200, "GET", f"/v2/catalog/gpus?{stock}&count=2&cloud=COMMUNITY&minCudaVersion=12")
    await judge(200, "GET", f"/v2/catalog/gpus/{quote('NVIDIA GeForce RTX 4090')}?{stock}")
    await judge(200, "GET", "/v2/catalog/gpus/unknown")
    await judge(404, "GET", "/v2/catalog/gpus/none")
    await judge(400, "GET", "/v2/catalog/gpus?include=AVAILABILITY")
    await judge(200, "GET", "/v2/catalog/cpus")
    await judge(200, "GET", f"/v2/catalog/cpus/cpu5c?{stock}&vcpuCount=8")
    await judge(404, "GET", "/v2/catalog/cpus/none")
    await judge(200, "GET", "/v2/catalog/datacenters?include=GPU_AVAILABILITY,CPU_AVAILABILITY")
    await judge(200, "GET", "/v2/catalog/datacenters/EU-RO-1?include=CPU_AVAILABILITY")
    await judge(404, "GET", "/v2/catalog/datacenters/none")
    await judge(200, "GET", "/v2/catalog/templates")
    await judge(200, "GET", "/v2/catalog/templates?source=verified")


async def _storage(judge: Judge) -> tuple[str, str]:
    volume = await judge(
        201,
        "POST",
        "/v2/network-volumes",
        {"name": "v", "size": 10, "dataCenter": "US-KS-2", "type": "HIGH_PERFORMANCE"},
    )
    path = f"/v2/network-volumes/{volume['id']}"
    await judge(200, "GET", "/v2/network-volumes")
    await judge(200, "GET", path)
    await judge(200, "PATCH", path, {"size": 20})
    await judge(400, "PATCH", path, {"size": 10})
    await judge(422, "PATCH", path, {})
    await judge(404, "PATCH", "/v2/network-volumes/none", {"size": 20})
    await judge(404, "DELETE", "/v2/network-volumes/none")
    registry = await judge(201, "POST", "/v2/registries", {"name": "r", "username": "u", "password": "pass-word"})
    await judge(200, "GET", "/v2/registries")
    await judge(200, "GET", f"/v2/registries/{registry['id']}")
    await judge(422, "POST", "/v2/registries", {"name": "r"})
    await judge(404, "GET", "/v2/registries/none")
    return volume["id"], registry["id"]


async def _templates(judge: Judge, registry: str) -> str:
    full = {
        "name": "t",
        "image": IMAGE,
        "args": "--model x",
        "disk": 30,
        "env": {"A": "1"},
        "ports": ["80/http"],
        "registry": registry,
        "serverless": True,
        "category": "NVIDIA",
        "allowedCudaVersions": ["12.8"],
        "startSsh": False,
        "startJupyter": False,
    }
    template = await judge(201, "POST", "/v2/templates", full)
    pod = await judge(
        201,
        "POST",
        "/v2/templates",
        {"name": "p", "image": IMAGE, "mounts": {"persistent": {"size": 20, "path": "/w"}}},
    )
    await judge(200, "GET", "/v2/templates")
    await judge(200, "GET", f"/v2/templates/{pod['id']}")
    await judge(200, "PATCH", f"/v2/templates/{pod['id']}", {"name": "q", "public": True})
    await judge(422, "PATCH", f"/v2/templates/{pod['id']}", {"readme": ""})
    await judge(422, "POST", "/v2/templates", {"name": "t"})
    await judge(404, "GET", "/v2/templates/none")
    await judge(204, "DELETE", f"/v2/templates/{pod['id']}")
    await judge(404, "DELETE", f"/v2/templates/{pod['id']}")
    return str(template["id"])


async def _endpoints(judge: Judge, cloud: Cloud, volume: str, template: str) -> None:
    queue = await judge(
        201,
        "POST",
        "/v2/serverless",
        endpoint_body(templateId=template, image=None, networkVolumes=[volume], scaling=BY_COUNT, timeout=600000),
    )
    balanced = await judge(
        201,
        "POST",
        "/v2/serverless",
        endpoint_body(
            type="LOAD_BALANCER",
            scaling=BY_COUNT,
            gpu={"pools": ["AMPERE_24", "ADA_24"], "excludedTypes": ["NVIDIA L4"], "minCudaVersion": "12.4"},
            env={"PORT": "8000", "HEALTH_CHECK_PATH": "/health"},
            entrypoint=["vllm"],
            cmd=["serve"],
            workers={"min": 1, "max": 2, "idleTimeout": 300},
        ),
    )
    cpu = await judge(
        201,
        "POST",
        "/v2/serverless",
        endpoint_body(gpu=None, cpu=[{"id": "cpu3c", "vcpuCount": 2}], workers={"max": 1}),
    )
    for made in (queue, balanced, cpu):
        await judge(200, "GET", f"/v2/serverless/{made['id']}")
    await judge(200, "GET", "/v2/serverless")
    path = f"/v2/serverless/{queue['id']}"
    await judge(200, "PATCH", path, {"image": "registry.example/llm:2", "env": {"A": "2"}, "gpu": {"count": 2}})
    cloud.fleet.shown[queue["id"]] = [
        worker("w1", "RUNNING", version=2, started_at=cloud.ctx.clock() - 5),
        worker("w2", "INITIALIZING"),
    ]
    cloud.host.logs("w1").append("container", "ready")
    await judge(200, "GET", path + "/workers")
    await judge(200, "GET", path + "/releases")
    await judge.stream(path + "/workers/w1/logs")
    await judge(404, "GET", path + "/workers/none/logs")
    await judge(404, "GET", "/v2/serverless/none/workers")
    await judge(404, "GET", "/v2/serverless/none/releases")
    await judge(400, "PATCH", path, {"cpu": [{"id": "cpu3c", "vcpuCount": 2}]})
    await judge(422, "PATCH", path, {"type": "QUEUE"})
    await judge(422, "PATCH", path, {"workers": {"idleTimeout": 5}})
    await judge(404, "PATCH", path, {"templateId": "none"})
    await judge(404, "PATCH", "/v2/serverless/none", {"name": "n"})
    await judge(400, "DELETE", f"/v2/templates/{template}")
    await judge(204, "DELETE", path)
    await judge(404, "DELETE", path)


async def test_every_operation_answers_as_published(tmp_path: Path, published: Contract) -> None:
    """Every emulated operation is served at least once, and every answer of the session fits its schema."""
    async with support.cloud(tmp_path) as cloud:
        judge = Judge(cloud, published)
        await _catalogue(judge)
        volume, registry = await _storage(judge)
        template = await _templates(judge, registry)
        await _endpoints(judge, cloud, volume, template)
        await judge(204, "DELETE", f"/v2/templates/{template}")
        await judge(204, "DELETE", f"/v2/registries/{registry}")
        await judge(204, "DELETE", f"/v2/network-volumes/{volume}")
        assert judge.served == published.emulated()


async def test_refusals_before_any_handler_fit_too(tmp_path: Path, published: Contract) -> None:
    """401 and 429 carry the declared bodies and headers."""
    windows = (RateWindow("minute", 1, 60),)
    async with support.cloud(tmp_path, enforce_rate_limits=True, rate_windows=windows) as cloud:
        judge = Judge(cloud, published)
        await judge(401, "GET", "/v2/serverless", key=None)
        await judge(401, "POST", "/v2/templates", {}, key="rpa_wrong")
        await judge(200, "GET", "/v2/serverless")
        await judge(429, "GET", "/v2/serverless")


async def test_published_example_requests_are_accepted(tmp_path: Path, published: Contract) -> None:
    """Each example body of the document creates or changes what it says."""
    async with support.cloud(tmp_path) as cloud:
        judge = Judge(cloud, published)
        gpu = await cloud.endpoint(workers={"max": 1})
        paths = {
            "createEndpoint": ("POST", "/v2/serverless"),
            "updateEndpoint": ("PATCH", f"/v2/serverless/{gpu['id']}"),
            "createTemplate": ("POST", "/v2/templates"),
            "updateTemplate": ("PATCH", f"/v2/templates/{(await cloud.template())['id']}"),
            "createNetworkVolume": ("POST", "/v2/network-volumes"),
            "updateNetworkVolume": ("PATCH", f"/v2/network-volumes/{(await cloud.volume())['id']}"),
            "createRegistry": ("POST", "/v2/registries"),
        }
        examples = published.request_examples()
        assert {name for name, _ in examples} == set(paths)
        for name, body in sorted(examples, key=lambda example: example[0] == "updateEndpoint"):
            method, path = paths[name]
            if name == "updateEndpoint":  # its workers.max of 10 is the whole quota
                for other in (await cloud.get("/v2/serverless")).json["endpoints"]:
                    if other["id"] != gpu["id"]:
                        await cloud.delete(f"/v2/serverless/{other['id']}")
            await judge(201 if method == "POST" else 200, method, path, body)
