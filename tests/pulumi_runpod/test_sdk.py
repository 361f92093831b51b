"""The Python SDK as a program sees it: names on the wire, secrets, templates, functions, types, a light import."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pulumi
import pytest
from pulumi.runtime.stack import wait_for_rpcs

import pulumi_runpod as runpod
from pulumi_runpod.declarations import FUNCTIONS, RESOURCES
from pulumi_runpod.provider.codec import SECRET, SIGNATURE_KEY
from pulumi_runpod.provider.generate.schema import enumerations

REGISTERED: list[pulumi.runtime.MockResourceArgs] = []


class Mocks(pulumi.runtime.Mocks):
    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        REGISTERED.append(args)
        return f"{args.name}-id", dict(args.inputs)

    def call(self, args: pulumi.runtime.MockCallArgs) -> Any:
        return {"gpus": [{"id": "NVIDIA L4", "name": "L4", "pool": "AMPERE_24", "price": {"serverless": 0.7}}]}


@pytest.fixture
async def registered() -> AsyncIterator[list[pulumi.runtime.MockResourceArgs]]:
    """Pulumi's mocks. They make an event loop in each worker thread and leave it open; these get closed."""
    loops: list[asyncio.AbstractEventLoop] = []

    def loop_of_thread() -> None:
        loops.append(asyncio.new_event_loop())
        asyncio.set_event_loop(loops[-1])

    REGISTERED.clear()
    executor = ThreadPoolExecutor(8, initializer=loop_of_thread)
    asyncio.get_running_loop().set_default_executor(executor)
    pulumi.runtime.set_mocks(Mocks(), preview=False)
    yield REGISTERED
    await wait_for_rpcs()
    executor.shutdown()
    for loop in loops:
        loop.close()


async def known(output: pulumi.Output[Any]) -> Any:
    return await output.future()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"env": ["A=1"]}, "env: must be a map, not a list"),
        ({"entrypoint": {"a": "b"}}, "entrypoint: must be a list, not a map"),
        ({"gpu": ["ADA_24"]}, "gpu: must be a map, not a list"),
        ({"gpu": {"pools": {"ADA_24": 1}}}, "gpu.pools: must be a list, not a map"),
    ],
)
async def test_a_list_for_a_map_is_one_line(registered: list[Any], wrong: dict[str, Any], told: str) -> None:
    """The SDK would fail with its own traceback before the provider is asked; right shapes pass."""
    right: dict[str, Any] = {"type": "QUEUE", "image": "i", "scaling": {"type": "QUEUE_DELAY", "queue_delay": 4}}
    with pytest.raises(pulumi.RunError, match=f"^Endpoint 'llm': {told}$"):
        runpod.Endpoint("llm", **right, **wrong)
    runpod.Endpoint("llm", **right, env={"A": "1"}, gpu={"pools": ["ADA_24"]}, entrypoint=["a"])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"env": {8000: "x"}}, "env: the key 8000 must be text"),
        ({"env": {"A": object()}}, "env.A: a value of type object cannot be sent"),
        ({"image": b"i"}, "image: a value of type bytes cannot be sent"),
        ({"ports": ["80/http", b"x"]}, r"ports\[1\]: a value of type bytes cannot be sent"),
        ({"gpu": {"pools": {"ADA_24"}}}, "gpu.pools: a value of type set cannot be sent"),
        ({"ready_probe": {"body": [{1: 2}]}}, r"ready_probe.body\[0\]: the key 1 must be text"),
        ({"template": "abc"}, "template: must be a Template, not a str; an id goes to template_id"),
    ],
)
async def test_what_the_sdk_cannot_send_is_one_line(registered: list[Any], wrong: dict[str, Any], told: str) -> None:
    """The SDK's own words name neither resource nor property, or hide them in a traceback."""
    right: dict[str, Any] = {"type": "QUEUE", "image": "i", "scaling": {"type": "QUEUE_DELAY", "queue_delay": 4}}
    with pytest.raises(pulumi.RunError, match=f"^Endpoint 'llm': {told}$"):
        runpod.Endpoint("llm", **right | wrong)


async def test_what_the_sdk_can_send_passes(registered: list[Any]) -> None:
    """Outputs, awaitables, tuples, enums, nothing."""

    async def later() -> str:
        return "i"

    endpoint = runpod.Endpoint(
        "llm",
        type=runpod.EndpointType.QUEUE,
        image=later(),
        ports=("80/http", pulumi.Output.from_input("81/http")),
        env={"A": pulumi.Output.secret("1"), "B": None},  # type: ignore[dict-item]
        scaling=pulumi.Output.from_input({"type": "QUEUE_DELAY", "queue_delay": 4}),
    )
    assert await known(endpoint.id) == "llm-id"


async def test_names_are_translated_and_env_is_not(registered: list[Any]) -> None:
    """snake_case becomes camelCase in properties, nested dictionaries and classes; keys of maps stay."""
    endpoint = runpod.Endpoint(
        "llm",
        type="QUEUE",
        image="i",
        env={"my_key": "1"},
        gpu={"pools": ["ADA_24"], "min_cuda_version": "12.8"},
        workers=runpod.WorkersArgs(min=0, idle_timeout=5),
        scaling={"type": "QUEUE_DELAY", "queue_delay": 4},
        data_center_ids=["EU-RO-1"],
        ready_probe={"openai_route": "/v1/models"},
    )
    workers = await known(endpoint.workers)
    assert registered[0].typ == "runpod:index:Endpoint"
    assert registered[0].inputs == {
        "type": "QUEUE",
        "image": "i",
        "env": {"my_key": "1"},
        "gpu": {"pools": ["ADA_24"], "minCudaVersion": "12.8"},
        "workers": {"min": 0, "idleTimeout": 5},
        "scaling": {"type": "QUEUE_DELAY", "queueDelay": 4},
        "dataCenterIds": ["EU-RO-1"],
        "readyProbe": {"openai_route": "/v1/models"},
    }
    assert (workers.idle_timeout, workers["idle_timeout"]) == (5, 5)
    assert await known(endpoint.id) == "llm-id"


async def test_a_member_of_an_enum_is_its_word(registered: list[Any]) -> None:
    """On the wire and nested; an output is text, also for a word that this SDK does not know yet."""
    endpoint = runpod.Endpoint(
        "llm",
        type=runpod.EndpointType.QUEUE,
        scaling=runpod.ScalingArgs(type=runpod.ScalingType.REQUEST_COUNT, request_count=1),
        flashboot=pulumi.Output.from_input(runpod.FlashbootMode.FLASHBOOT),
    )
    scaling = await known(endpoint.scaling)
    assert registered[0].inputs == {
        "type": "QUEUE",
        "scaling": {"type": "REQUEST_COUNT", "requestCount": 1},
        "flashboot": "FLASHBOOT",
    }
    assert (type(scaling.type), scaling.type) == (str, "REQUEST_COUNT")
    younger = runpod.NetworkVolume("v", size=20, data_center="d", type="ARCHIVE")  # type: ignore[arg-type,unused-ignore]
    assert await known(younger.type) == "ARCHIVE"


@pytest.mark.parametrize("by", ["template", "template_id"])
async def test_a_template_s_content_travels(registered: list[Any], by: str) -> None:
    """As the resource or as its id: the endpoint gets the outputs, never a bare id."""
    template = runpod.Template("t", image="i", env={"A": "1"}, start_ssh=False)
    given: dict[str, Any] = {"template": template} if by == "template" else {"template_id": template.id}
    endpoint = runpod.Endpoint("e", type="QUEUE", scaling={"type": "REQUEST_COUNT", "request_count": 1}, **given)
    await known(endpoint.urn)
    inputs = next(args.inputs for args in registered if args.name == "e")
    assert "templateId" not in inputs
    assert inputs["template"]["id"] == "t-id"
    assert inputs["template"]["image"] == "i"
    assert inputs["template"]["env"] == {"A": "1"}


async def test_another_id_is_just_an_id(registered: list[Any]) -> None:
    """Text, and outputs that are not a Template's own id."""
    endpoint = runpod.Endpoint("e", type="QUEUE", template_id="tpl", scaling={"type": "REQUEST_COUNT"})  # type: ignore[typeddict-item,unused-ignore]
    await known(endpoint.urn)
    assert registered[0].inputs["templateId"] == "tpl"
    assert "template" not in registered[0].inputs


async def test_a_password_is_secret_even_if_given_in_clear(registered: list[Any]) -> None:
    """The class marks it."""
    credential = runpod.RegistryCredential("r", username="u", password="p")
    assert await credential.password.is_secret()


async def test_functions_answer_with_types(registered: list[Any]) -> None:
    """Nested results have Python names."""
    gpus = await known(runpod.get_gpus_output(count=1))
    assert gpus.gpus[0].price.serverless == 0.7
    assert runpod.get_gpus().gpus[0].pool == "AMPERE_24"


async def test_a_resource_can_be_looked_up(registered: list[Any]) -> None:
    """`get` reads by id and registers nothing."""
    volume = runpod.NetworkVolume.get("v", "vol1")
    await known(volume.urn)
    assert registered[0].resource_id == "vol1"
    assert isinstance(volume, runpod.NetworkVolume)


async def test_an_explicit_provider_hides_its_key(registered: list[Any]) -> None:
    """api_key is a secret input."""
    provider = runpod.Provider("p", api_key="rpa_x", api_url="http://127.0.0.1:1")
    await known(provider.urn)
    assert registered[0].inputs["apiUrl"] == "http://127.0.0.1:1"
    assert registered[0].inputs["apiKey"] == {SIGNATURE_KEY: SECRET, "value": "rpa_x"}


def test_the_public_names_are_these() -> None:
    """One class per declaration, one pair per function; what is not here may change any day."""
    expected = {resource.name for resource in RESOURCES} | {"Provider", "outputs"}
    expected |= {kind.enum_name for kind in enumerations()}
    expected |= {name for function in FUNCTIONS for name in (function.name, f"{function.name}_output")}
    nested = {name for name in runpod.__all__ if name.endswith(("Args", "ArgsDict"))}
    assert set(runpod.__all__) == expected | nested
    assert all(hasattr(runpod, name) for name in runpod.__all__)


def test_the_import_is_light() -> None:
    """The SDK half loads pulumi and nothing of the provider or of other rooms."""
    code = (
        "import sys, pulumi; before = set(sys.modules); import pulumi_runpod;"
        "print('\\n'.join(m for m in set(sys.modules) - before if not m.startswith('pulumi_runpod._')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"pulumi_runpod"}
