"""Check finds every mistake at once, each with its property and the remedy."""

from typing import Any

import pytest

from pulumi_runpod.provider.values import UNKNOWN, Secret
from tests.pulumi_runpod.engine_player import CheckFailed, Player, State, engine
from tests.pulumi_runpod.test_life_cycles import BY_DELAY, ENDPOINT, TEMPLATE, VOLUME


@pytest.fixture
async def offline() -> Any:
    async with engine() as player:
        await player.configure({"apiUrl": "http://127.0.0.1:9"})
        yield player


def endpoint(**changes: Any) -> dict[str, Any]:
    return {**ENDPOINT, **changes}


MISTAKES: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("NetworkVolume", {}, {"size": "is required: size", "dataCenter": "is required: where the volume lives"}),
    ("NetworkVolume", {**VOLUME, "size": 5}, {"size": "must be between 10 and 4096, not 5"}),
    ("NetworkVolume", {**VOLUME, "size": 20.5}, {"size": "must be a whole number, not 20.5"}),
    ("NetworkVolume", {**VOLUME, "size": "20"}, {"size": "must be a whole number, not a string"}),
    (
        "NetworkVolume",
        {**VOLUME, "type": "standard"},
        {"type": "must be one of STANDARD, HIGH_PERFORMANCE, not 'standard'; did you mean STANDARD?"},
    ),
    ("NetworkVolume", {**VOLUME, "datacenter": "x"}, {"datacenter": "is no such property; did you mean dataCenter?"}),
    ("NetworkVolume", {**VOLUME, "name": ""}, {"name": "must not be empty"}),
    ("Template", {**TEMPLATE, "env": {"A": 1}}, {"env.A": "must be a string, not a number"}),
    (
        "Template",
        {**TEMPLATE, "ports": ["8000"]},
        {"ports[0]": "must be a port and its protocol, such as \"8000/http\", not '8000'"},
    ),
    ("Template", {**TEMPLATE, "args": "a b", "cmd": ["c"]}, {"args": "says another command than cmd"}),
    (
        "Template",
        {**TEMPLATE, "env": {"U": "x Calling __str__ on an Output[T] is not supported."}},
        {"env.U": "holds an Output that was put into a string"},
    ),
    ("Endpoint", endpoint(image=None), {"image": "is required unless a template supplies it"}),
    (
        "Endpoint",
        endpoint(cpu=[{"id": "cpu3c", "vcpuCount": 6}]),
        {"cpu": "excludes gpu", "cpu[0].vcpuCount": "must be a power of two, not 6; use 4 or 8"},
    ),
    ("Endpoint", endpoint(gpu=None), {"gpu": "is required unless cpu is given"}),
    ("Endpoint", endpoint(gpu={"pools": []}), {"gpu.pools": "needs at least 1 entry"}),
    ("Endpoint", endpoint(gpu={"pools": ["ADA_24", "ADA_24"]}), {"gpu.pools[1]": "is in the list twice"}),
    (
        "Endpoint",
        endpoint(gpu={"pools": ["ADA_24"], "excluded_types": ["x"]}),
        {"gpu.excluded_types": "is spelled excludedTypes here"},
    ),
    (
        "Endpoint",
        endpoint(gpu={"pools": ["ADA_24"], "allowedCudaVersions": ["13"], "minCudaVersion": "12.8"}),
        {
            "gpu.allowedCudaVersions[0]": "must be a CUDA version",
            "gpu.minCudaVersion": "excludes gpu.allowedCudaVersions",
        },
    ),
    (
        "Endpoint",
        {**BY_DELAY, "workers": {"min": 3, "max": 1, "idleTimeout": 4000}},
        {
            "workers.min": "is 3, above workers.max (1); lower it or raise workers.max",
            "workers.idleTimeout": "must be between 1 and 3600, not 4000",
        },
    ),
    (
        "Endpoint",
        endpoint(scaling={"type": "REQUEST_COUNT", "queueDelay": 4}),
        {
            "scaling.requestCount": "is required with scaling.type REQUEST_COUNT",
            "scaling.queueDelay": "does not go with scaling.type REQUEST_COUNT",
        },
    ),
    (
        "Endpoint",
        endpoint(scaling={"type": "REQUEST_COUNT", "requestCount": 4}, workers={"idleTimeout": 5}),
        {"workers.idleTimeout": "does not apply to a QUEUE that scales by REQUEST_COUNT"},
    ),
    ("Endpoint", {**BY_DELAY, "type": "LOAD_BALANCER"}, {"scaling.type": "must be REQUEST_COUNT for a LOAD_BALANCER"}),
    (
        "Endpoint",
        endpoint(template={"id": "a", "serverless": False}, templateId="b"),
        {"templateId": "excludes template", "template": "is a template for pods"},
    ),
    (
        "Endpoint",
        endpoint(template={"id": "a", "env": "A=1"}, env=["A=1"]),
        {"template.env": "must be a map, not a string", "env": "must be a map, not a list"},
    ),
    (
        "Endpoint",
        endpoint(templateId=UNKNOWN, env={"A": 1, "B=": "x"}),
        {"env.A": "must be a string, not a number", 'env["B="]': "is no name for an environment variable"},
    ),
    ("Endpoint", endpoint(readyProbe="ping"), {"readyProbe": "must be an object"}),
    (
        "RegistryCredential",
        {"username": "", "password": Secret("")},
        {"username": "must not be empty", "password": "must not be empty"},
    ),
]


@pytest.mark.parametrize(("kind", "inputs", "expected"), MISTAKES)
async def test_mistakes(offline: Player, kind: str, inputs: dict[str, Any], expected: dict[str, str]) -> None:
    """Exactly these properties fail, with these words."""
    with pytest.raises(CheckFailed) as caught:
        await offline.check(State(kind, "x"), {key: value for key, value in inputs.items() if value is not None})
    assert caught.value.failures.keys() == expected.keys()
    for path, words in expected.items():
        assert words in caught.value.failures[path]


async def test_defaults_are_filled_in(offline: Player) -> None:
    """The inputs say what will be sent."""
    inputs = await offline.check(State("Endpoint", "llm"), BY_DELAY)
    assert inputs["workers"] == {"min": 0, "max": 1, "idleTimeout": 10}
    assert inputs["gpu"] == {"pools": ["ADA_24"], "count": 1}
    assert (inputs["timeout"], inputs["flashboot"]) == (300000, "OFF")


async def test_a_queue_by_request_count_gets_no_idle_timeout(offline: Player) -> None:
    """RunPod refuses it there."""
    inputs = await offline.check(State("Endpoint", "llm"), ENDPOINT)
    assert inputs["waitForReady"] is True
    assert "idleTimeout" not in inputs["workers"]


@pytest.mark.parametrize("key", [key for key in ENDPOINT if key != "name"])
async def test_unknown_values_pass(offline: Player, key: str) -> None:
    """In a preview any property may be unknown; it is checked when it is known."""
    inputs = await offline.check(State("Endpoint", "llm"), endpoint(**{key: UNKNOWN}))
    assert inputs[key] is UNKNOWN
    await offline.create_preview(State("Endpoint", "llm"), inputs)


async def test_what_looks_like_a_credential_becomes_secret(offline: Player) -> None:
    """Forgotten marks are added; settings that only sound like it stay readable."""
    env = {"HF_TOKEN": "abcd1234", "MAX_TOKENS": "8192", "A": "hf_abcdefgh12345678", "B": "{{ RUNPOD_SECRET_x }}"}
    inputs = await offline.check(State("Template", "t"), {**TEMPLATE, "env": env})
    assert {key for key, value in inputs["env"].items() if isinstance(value, Secret)} == {"HF_TOKEN", "A"}


async def test_many_pools_are_warned_about(offline: Player) -> None:
    """RunPod accepts them and never places a worker."""
    pools = ["ADA_24", "AMPERE_24", "ADA_48_PRO", "AMPERE_80"]
    await offline.check(State("Endpoint", "llm"), endpoint(gpu={"pools": pools}))
    assert any("names 4 pools" in warning for warning in offline.warnings)
