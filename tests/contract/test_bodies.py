"""The emulator's validators against the published request schemas: they must accept and refuse the same bodies."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runpod_emulator.control import bodies
from tests.contract.support import MISSING, Contract, contract

FULL_ENDPOINT: dict[str, Any] = {
    "name": "llm",
    "type": "QUEUE",
    "image": "i",
    "args": "",
    "entrypoint": ["a"],
    "cmd": [],
    "disk": 20,
    "env": {"A": "1"},
    "ports": ["80/http"],
    "registry": None,
    "gpu": {
        "pools": ["ADA_24"],
        "excludedTypes": ["NVIDIA L4"],
        "count": 1,
        "allowedCudaVersions": ["12.8"],
        "minCudaVersion": "12.8",
    },
    "cpu": [{"id": "cpu3c", "vcpuCount": 2}],
    "workers": {"min": 0, "max": 3, "idleTimeout": 10},
    "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
    "dataCenterIds": ["US-KS-2"],
    "networkVolumes": ["v"],
    "timeout": 300000,
    "flashboot": "OFF",
    "templateId": "t",
}
FULL_TEMPLATE: dict[str, Any] = {
    **{key: FULL_ENDPOINT[key] for key in bodies.CONTAINER},
    "name": "t",
    "mounts": {"persistent": {"size": 10, "path": "/w"}},
    "serverless": True,
    "public": False,
    "category": "AMD",
    "startSsh": True,
    "startJupyter": False,
    "allowedCudaVersions": ["12.8"],
}
FULL_POD: dict[str, Any] = {
    **{key: FULL_ENDPOINT[key] for key in bodies.CONTAINER},
    "name": "p",
    "cloud": "SECURE",
    "gpu": {"id": "NVIDIA L4", "count": 1, "allowedCudaVersions": ["12.8"], "minCudaVersion": "12.8"},
    "cpu": {"id": "cpu3c", "vcpuCount": 2},
    "dataCenterIds": ["US-KS-2"],
    "globalNetworking": False,
    "mounts": {"persistent": {"size": 10, "path": "/w"}, "network": [{"volumeId": "v", "path": "/w"}]},
    "startSsh": True,
    "startJupyter": False,
    "templateId": "t",
}
FULL_VOLUME = {"name": "v", "size": 10, "dataCenter": "US-KS-2", "type": "STANDARD"}
FULL_REGISTRY = {"name": "r", "username": "u", "password": "p"}

CASES = {
    "CreateEndpointRequest": (bodies.create_endpoint, FULL_ENDPOINT),
    "UpdateEndpointRequest": (
        bodies.update_endpoint,
        {key: value for key, value in FULL_ENDPOINT.items() if key != "type"},
    ),
    "CreateTemplateRequest": (bodies.create_template, FULL_TEMPLATE),
    "UpdateTemplateRequest": (bodies.update_template, FULL_TEMPLATE),
    "CreatePodRequest": (bodies.create_pod, FULL_POD),
    "PodActionRequest": (bodies.pod_action, {"action": "stop"}),
    "CreateNetworkVolumeRequest": (bodies.create_volume, FULL_VOLUME),
    "UpdateNetworkVolumeRequest": (bodies.update_volume, {"name": "v", "size": 20}),
    "CreateRegistryRequest": (bodies.create_registry, FULL_REGISTRY),
}

VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    2,
    2.0,
    0.5,
    0.4,
    9,
    10,
    -1,
    3600,
    3601,
    4096,
    4097,
    "",
    "x",
    "12.8",
    "12",
    "-x",
    " ",
    "QUEUE",
    "LOAD_BALANCER",
    "QUEUE_DELAY",
    "REQUEST_COUNT",
    "OFF",
    "AMD",
    "STANDARD",
    [],
    ["12.8"],
    ["x", "x"],
    [1],
    {},
    {"A": "1"},
    {"A": 1},
    {"type": "REQUEST_COUNT", "requestCount": 1},
    {"type": "QUEUE_DELAY", "queueDelay": 0.5},
    {"pools": ["x"]},
    {"persistent": {"size": 10, "path": "/"}},
    {"network": []},
    [{"id": "c", "vcpuCount": 2}, {"id": "c", "vcpuCount": 2.0}],
]


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a body: (), ("gpu",), ("gpu", "pools"), ("cpu", 0), …"""
    found = [path]
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found += _places(value[key], (*path, key))
    return found


@st.composite
def mutated(draw: st.DrawFn, body: dict[str, Any]) -> Any:
    """The full body with a few fields dropped, replaced or added, at any depth."""
    changed: Any = copy.deepcopy(body)
    for key in draw(st.sets(st.sampled_from(sorted(body)))):
        del changed[key]
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.sampled_from(_places(changed)))
        value = copy.deepcopy(draw(st.sampled_from(VALUES)))
        if not place:
            if draw(st.integers(0, 9)) == 0:
                return value
            changed[draw(st.sampled_from([*sorted(body), "bogus", "type", "image", "templateId"]))] = value
            continue
        holder = changed
        for key in place[:-1]:
            holder = holder[key]
        if draw(st.booleans()) or isinstance(holder, list):
            holder[place[-1]] = value
        elif isinstance(holder[place[-1]], dict):
            holder[place[-1]][draw(st.sampled_from(["bogus", "count", "idleTimeout", "type"]))] = value
        else:
            del holder[place[-1]]
    return changed


@pytest.mark.parametrize("schema", CASES)
def test_validators_agree_with_the_published_schema(schema: str) -> None:
    """On thousands of wrong and right bodies both say the same."""
    published = contract()
    if published is None:
        pytest.skip(MISSING)
    validator = published.schema(schema)
    check, body = CASES[schema]

    @settings(max_examples=400, deadline=None, derandomize=True)
    @given(mutated(body))
    def agree(candidate: Any) -> None:
        ours = list(check(candidate, "$"))
        theirs = list(validator.iter_errors(candidate))
        assert bool(ours) == bool(theirs), (candidate, ours, [error.message for error in theirs][:3])

    agree()


@pytest.mark.parametrize("schema", CASES)
def test_the_full_body_is_accepted_by_both(schema: str, published: Contract) -> None:
    """The starting points of the comparison are valid themselves."""
    check, body = CASES[schema]
    assert list(check(body, "$")) == []
    assert published.schema(schema).is_valid(body)


def test_no_field_of_the_contract_is_forgotten(published: Contract) -> None:
    """The full bodies name every property that the request schemas declare."""
    for schema, (_, body) in CASES.items():
        declared = set(_properties(published, {"$ref": f"#/components/schemas/{schema}"}))
        assert declared == set(body), schema


def _properties(published: Contract, schema: dict[str, Any]) -> list[str]:
    if "$ref" in schema:
        return _properties(published, published.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    found = list(schema.get("properties", {}))
    for part in schema.get("allOf", []):
        found += _properties(published, part)
    return found
