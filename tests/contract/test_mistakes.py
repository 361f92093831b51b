"""Each mistake that the documents name gets the status they name, declared for its operation (§1.1 to §1.5)."""

from typing import Any

import pytest

from tests.contract.support import Contract
from tests.runpod_emulator.control.support import IMAGE, Cloud, cloud, endpoint_body

BY_COUNT = {"type": "REQUEST_COUNT", "requestCount": 1}
BY_DELAY = {"type": "QUEUE_DELAY", "queueDelay": 4}
POOL = {"pools": ["AMPERE_24"]}
CPU = [{"id": "cpu5c", "vcpuCount": 4}]
VOLUME = {"name": "v", "size": 50, "dataCenter": "US-KS-2"}
TEMPLATE = {"name": "t", "image": IMAGE}


def _without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


WRONG_ENDPOINTS: list[dict[str, Any]] = [
    {"bogus": 1},
    {"model": "x"},
    {"modelReferences": []},
    {"mounts": {}},
    {"type": "LOAD_BALANCER"},
    {"scaling": {"type": "QUEUE_DELAY", "queueDelay": 0.4}},
    {"scaling": {"type": "REQUEST_COUNT", "requestCount": 0}},
    {"scaling": {"type": "QUEUE_DELAY"}},
    {"workers": {"idleTimeout": 0}},
    {"workers": {"idleTimeout": 3601}},
    {"disk": 0},
    {"env": {"A": 1}},
    {"flashboot": "ON"},
    {"gpu": {**POOL, "minCudaVersion": "13"}},
    {"gpu": {**POOL, "allowedCudaVersions": ["12"]}},
    {"gpu": {**POOL, "excludedTypes": ["-NVIDIA L4"]}},
    {"gpu": {"pools": []}},
    {"scaling": BY_COUNT, "workers": {"idleTimeout": 5}},
    {"templateId": "$pod"},
]
# What the published schemas refuse: 422.
OUTSIDE_THE_SCHEMA: list[tuple[str, str, Any]] = [
    *[("POST", "/v2/serverless", _without(endpoint_body(), name)) for name in ("name", "type", "scaling", "image")],
    *[("POST", "/v2/serverless", endpoint_body(**change)) for change in WRONG_ENDPOINTS],
    ("PATCH", "/v2/serverless/$gpu", {"type": "QUEUE"}),
    ("PATCH", "/v2/serverless/$gpu", {"gpu": {"excludedTypes": ["NVIDIA L4"]}}),
    ("PATCH", "/v2/serverless/$gpu", {"image": None}),
    ("PATCH", "/v2/serverless/$gpu", {"flashboot": None}),
    ("PATCH", "/v2/serverless/$gpu", {"scaling": BY_COUNT, "workers": {"idleTimeout": 5}}),
    ("PATCH", "/v2/serverless/$gpu", {"templateId": "$pod"}),
    ("POST", "/v2/templates", {"name": "t"}),
    ("POST", "/v2/templates", {**TEMPLATE, "mounts": {"network": []}}),
    ("POST", "/v2/templates", {**TEMPLATE, "dockerEntrypoint": []}),
    ("POST", "/v2/network-volumes", {**VOLUME, "size": 9}),
    ("POST", "/v2/network-volumes", {**VOLUME, "size": 4097}),
    ("POST", "/v2/network-volumes", {**_without(VOLUME, "dataCenter"), "dataCenterId": "US-KS-2"}),
    ("PATCH", "/v2/network-volumes/$volume", {}),
    ("PATCH", "/v2/network-volumes/$volume", {"dataCenter": "EU-RO-1"}),
    ("POST", "/v2/registries", {"name": "r", "username": "u"}),
    ("POST", "/v2/registries", {"name": "r", "username": "u", "password": ""}),
]
# What only a handler can refuse: 400.
AGAINST_A_RULE: list[tuple[str, str, Any]] = [
    ("POST", "/v2/serverless", endpoint_body(cpu=CPU)),
    ("POST", "/v2/serverless", endpoint_body(gpu=None)),
    ("POST", "/v2/serverless", endpoint_body(gpu={**POOL, "allowedCudaVersions": ["12.8"], "minCudaVersion": "12.4"})),
    ("POST", "/v2/serverless", endpoint_body(gpu={**POOL, "excludedTypes": ["NVIDIA L40"]})),
    ("POST", "/v2/serverless", endpoint_body(gpu=None, cpu=[{"id": "cpu5c", "vcpuCount": 6}])),
    ("POST", "/v2/serverless", endpoint_body(workers={"max": 11})),
    ("PATCH", "/v2/serverless/$gpu", {"cpu": CPU}),
    ("PATCH", "/v2/serverless/$cpu", {"gpu": POOL}),
    ("PATCH", "/v2/serverless/$gpu", {"workers": {"max": 11}}),
    ("PATCH", "/v2/serverless/$cuda", {"gpu": {"minCudaVersion": "12.4"}}),
    ("PATCH", "/v2/network-volumes/$volume", {"size": 49}),
    ("POST", "/v2/network-volumes", {**VOLUME, "dataCenter": "AP-JP-1"}),
    ("DELETE", "/v2/templates/$used", None),
    ("GET", "/v2/catalog/gpus?include=AVAILABILITY", None),
    ("GET", "/v2/catalog/gpus?product=POD", None),
]
UNKNOWN: list[tuple[str, str, Any]] = [
    ("POST", "/v2/serverless", endpoint_body(templateId="nosuch")),
    ("PATCH", "/v2/serverless/$gpu", {"templateId": "nosuch"}),
    *[
        (method, f"/v2/{kind}/nosuch", {"name": "n"} if method == "PATCH" else None)
        for kind in ("serverless", "templates", "network-volumes")
        for method in ("GET", "PATCH", "DELETE")
    ],
    ("PATCH", "/v2/templates/$public", {"name": "n"}),
    ("DELETE", "/v2/templates/$public", None),
]


async def _prepared(live: Cloud) -> dict[str, str]:
    """The resources that `$name` stands for in the tables."""
    serverless = await live.template(serverless=True)
    cuda = {**POOL, "allowedCudaVersions": ["12.8"]}
    made = {
        "pod": await live.template(),
        "used": serverless,
        "gpu": await live.endpoint(workers={"max": 1}, templateId=serverless["id"]),
        "cpu": await live.endpoint(workers={"max": 1}, gpu=None, cpu=CPU),
        "cuda": await live.endpoint(workers={"max": 1}, gpu=cuda),
        "volume": await live.volume(),
        "public": (await live.get("/v2/catalog/templates")).json["templates"][0],
    }
    return {f"${name}": item["id"] for name, item in made.items()}


def _filled(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(element, names) for key, element in value.items()}
    if isinstance(value, str):
        for name, identity in names.items():
            value = value.replace(name, identity)
    return value


@pytest.mark.parametrize(
    ("status", "requests"),
    [(422, OUTSIDE_THE_SCHEMA), (400, AGAINST_A_RULE), (404, UNKNOWN)],
    ids=["422", "400", "404"],
)
async def test_a_documented_mistake_gets_its_declared_status(
    published: Contract, tmp_path: Any, status: int, requests: list[tuple[str, str, Any]]
) -> None:
    """The answer is the declared problem, and nothing in the cloud has changed."""
    lists = ("/v2/serverless", "/v2/templates", "/v2/network-volumes", "/v2/registries")
    async with cloud(tmp_path) as live:
        names = await _prepared(live)
        before = [(await live.get(path)).text for path in lists]
        for method, path, body in _filled_all(requests, names):
            answer = await live.call(method, path, body)
            assert answer.status == status, (method, path, body, answer.text)
            wrong = published.mistakes(method, path, answer.status, answer.headers, answer.text)
            assert wrong == [], (method, path, body, answer.text)
        assert [(await live.get(path)).text for path in lists] == before


def _filled_all(requests: list[tuple[str, str, Any]], names: dict[str, str]) -> list[tuple[str, str, Any]]:
    return [(method, _filled(path, names), _filled(body, names)) for method, path, body in requests]
