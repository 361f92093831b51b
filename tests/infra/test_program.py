"""The whole program under Pulumi's mocks: each committed stack, in a preview and for real."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest

import program
from components import VllmEndpointArgs, worker_environment
from images import worker_image
from settings import read_settings
from tests.infra.support import BASIC, DIGEST, Recorder, config, lock_file, run_mocked, stack_file


async def run(
    root: Path, values: dict[str, str], *, stack: str = "dev", preview: bool = False, secrets: tuple[str, ...] = ()
) -> tuple[Recorder, dict[str, Any]]:
    """Run the program; gives what it registered and its outputs (None where unknown)."""
    stack_of_test = program.Stack("vllm-runpod", stack, root, preview, values, frozenset(secrets))
    found: dict[str, Any] = {}
    recorder = await run_mocked(lambda: found.update(program.run(stack_of_test)), stack=stack, preview=preview)
    outputs = {}
    for name, value in found.items():
        output = pulumi.Output.from_input(value)
        outputs[name] = await output.future() if await output.is_known() else None
    return recorder, outputs


async def test_local_is_the_baked_image_on_this_machine(tmp_path: Path) -> None:
    """Baked by the same program, pinned by the digest that the bake gives, one worker, and free."""
    cloud, outputs = await run(tmp_path, stack_file("local"), stack="local")
    baked = cloud.only("runpod:index:BakedImage")
    assert baked["model"] == ".local/models/smollm2-135m-instruct"
    assert baked["servedName"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert (baked["lock"], baked["workerDependencies"]) == (".local/weights.lock", ".local/worker-deps")
    template = cloud.only("runpod:index:Template")
    assert template["image"] == f"oci:.local/images/smollm2-135m-instruct:latest@{DIGEST}"
    assert "env" not in template
    assert cloud.only("runpod:index:Endpoint")["env"] == {"MAX_MODEL_LEN": "2048", "MAX_NUM_SEQS": "4"}
    assert cloud.only("runpod:index:Endpoint")["workers"] == {"min": 1, "max": 1, "idleTimeout": 60}
    assert outputs == {
        "bake": {"at": "", "seconds": 1.5, "bytesSent": 7, "bytesReused": 3},
        "endpointId": "id-vllm-runpod-local",
        "openaiBaseUrl": "http://cloud.example/v2/e1/openai/v1",
        "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "imageDigest": DIGEST,
        "hourlyFloorUsd": "0.00",
        "hourlyCeilingUsd": "0.00",
        "priceBasis": "this machine",
    }


async def test_dev_downloads_and_scales_to_zero(tmp_path: Path) -> None:
    """RunPod's worker image gets the model's name; nothing is spent while nobody asks."""
    cloud, outputs = await run(tmp_path, stack_file("dev"))
    assert cloud.only("runpod:index:Template")["env"] == {"MODEL_NAME": "Qwen/Qwen3-4B"}
    assert cloud.only("runpod:index:Endpoint")["env"] == {"MAX_MODEL_LEN": "8192", "RUNPOD_INIT_TIMEOUT": "1200"}
    endpoint = cloud.only("runpod:index:Endpoint")
    assert endpoint["gpu"]["pools"] == ["ADA_24", "AMPERE_24"]
    assert endpoint["gpu"]["excludedTypes"] == ["NVIDIA RTX A5000", "NVIDIA GeForce RTX 3090"]
    assert (outputs["hourlyFloorUsd"], outputs["hourlyCeilingUsd"]) == ("0.00", "1.12")
    assert outputs["imageDigest"] == "not pinned"


@pytest.mark.parametrize("preview", [True, False])
async def test_prod_is_pinned_warm_and_keeps_its_volume(tmp_path: Path, preview: bool) -> None:
    """Image by digest, one worker always on, workers where the volume is."""
    lock_file(tmp_path / "weights.lock", "ghcr.io/your-organization/qwen3-8b:v1", model="Qwen/Qwen3-8B")
    cloud, outputs = await run(tmp_path, stack_file("prod"), stack="prod", preview=preview)
    assert cloud.only("runpod:index:Template")["image"].endswith(f":v1@{DIGEST}")
    endpoint = cloud.only("runpod:index:Endpoint")
    assert endpoint["workers"]["min"] == 1
    assert endpoint["dataCenterIds"] == ["EU-RO-1"]
    assert cloud.only("runpod:index:NetworkVolume")["dataCenter"] == "EU-RO-1"
    assert (outputs["hourlyFloorUsd"], outputs["hourlyCeilingUsd"]) == ("1.91", "5.73")
    assert outputs["volumeMonthlyUsd"] == "7.00"
    assert outputs["imageDigest"] == DIGEST


async def test_prod_with_a_pinned_base_is_baked_by_the_program(tmp_path: Path) -> None:
    """From the Hub, onto the pinned image, with the packages for that image's Python; nothing else is needed."""
    pins = tmp_path / "images/vllm-baked/pins.json"
    pins.parent.mkdir(parents=True)
    pins.write_text(json.dumps({"base": {"image": "vllm/vllm-openai:v1", "digest": DIGEST}}))
    cloud, outputs = await run(tmp_path, stack_file("prod") | config(revision="main"), stack="prod")
    baked = cloud.only("runpod:index:BakedImage")
    assert (baked["model"], baked["base"]) == ("Qwen/Qwen3-8B@main", f"vllm/vllm-openai:v1@{DIGEST}")
    assert (baked["lock"], baked["workerDependencies"]) == ("weights.lock", ".local/worker-layer")
    assert cloud.only("runpod:index:Template")["image"] == f"ghcr.io/your-organization/qwen3-8b:v1@{DIGEST}"
    assert outputs["imageDigest"] == DIGEST


async def test_damaged_pins_end_the_program(tmp_path: Path) -> None:
    """They are no reason to take another base."""
    pins = tmp_path / "images/vllm-baked/pins.json"
    pins.parent.mkdir(parents=True)
    pins.write_text("{")
    with pytest.raises(pulumi.RunError, match=r"pins\.json cannot be used"):
        await run(tmp_path, stack_file("prod"), stack="prod", preview=True)


async def test_prod_that_is_not_baked_previews_with_an_unknown_image(tmp_path: Path) -> None:
    """The plan is complete but for the image; the command that fills it is in the warning."""
    cloud, outputs = await run(tmp_path, stack_file("prod"), stack="prod", preview=True)
    assert outputs["imageDigest"] is None
    assert "runpod:index:Endpoint" in cloud.kinds()
    assert outputs["hourlyFloorUsd"] == "1.91"


async def test_prod_that_is_not_baked_is_not_deployed(tmp_path: Path) -> None:
    """`up` refuses before anything is registered."""
    with pytest.raises(pulumi.RunError, match=r"is not baked yet: weights\.lock has no entry .* `vllm-runpod bake"):
        await run(tmp_path, stack_file("prod"), stack="prod")


async def test_a_private_image_gets_its_credential(tmp_path: Path) -> None:
    """User name and password make a credential that the template names."""
    values = config(**BASIC, registryUsername="me", registryPassword="pass-word-1")
    cloud, _ = await run(tmp_path, values, secrets=("vllm-runpod:registryPassword",))
    credential = cloud.only("runpod:index:RegistryCredential")
    assert credential["username"] == "me"
    assert cloud.only("runpod:index:Template")["registry"] == "id-vllm-runpod-dev-registry"


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"gpuPools": "ADA_42"}, "vllm-runpod:gpuPools has unknown GPU pool"),
        ({"env": {"MAX_MODEL_LEN": "7"}}, "vllm-runpod:env.MAX_MODEL_LEN belongs to maxModelLen; set that instead"),
        ({"image": "oci:x:y", "env": {"ENFORCE_EAGER": "maybe"}}, "vllm-runpod:env.ENFORCE_EAGER 'maybe' "),
        ({"nonsense": "1"}, "vllm-runpod:nonsense is not a key"),
    ],
)
async def test_mistakes_are_told_in_the_stacks_own_words(tmp_path: Path, changes: dict[str, Any], part: str) -> None:
    """Key, file and way out; nothing is registered, and no argument of a component is named."""
    with pytest.raises(pulumi.RunError) as caught:
        await run(tmp_path, config(**(BASIC | changes)))
    assert part in str(caught.value)
    assert "Pulumi.dev.yaml" in str(caught.value)


async def test_a_damaged_lock_ends_the_program(tmp_path: Path) -> None:
    """Also in a preview: a plan from a damaged file is no plan."""
    (tmp_path / "weights.lock").write_text("{")
    with pytest.raises(pulumi.RunError, match=r"weights\.lock is not valid JSON"):
        await run(tmp_path, stack_file("prod"), stack="prod", preview=True)


async def test_secret_variables_stay_secret(tmp_path: Path) -> None:
    """A map that was set with --secret gives secret values, one by one."""
    values = config(**BASIC, env={"MY_TOKEN": "sesame-open"}, hfToken="hf_abcdefghijkl")
    settings = read_settings(values, ("vllm-runpod:env", "vllm-runpod:hfToken"))

    image = worker_image(settings, tmp_path)
    arguments = program.endpoint_arguments(settings, image, env_is_secret=True)
    environment = worker_environment(VllmEndpointArgs(**arguments))
    secret = {name: isinstance(value, pulumi.Output) and await value.is_secret() for name, value in environment.items()}
    assert secret == {"MODEL_NAME": False, "RUNPOD_INIT_TIMEOUT": False, "HF_TOKEN": True, "MY_TOKEN": True}


@pytest.mark.parametrize(
    ("url", "free"),
    [
        ("http://127.0.0.1:8900", True),
        ("http://localhost", True),
        ("http://[::1]:1/", True),
        ("https://api.runpod.io", False),
        ("https://127.0.0.1.evil.example", False),
        ("http://[", False),
        ("", False),
    ],
)
async def test_only_this_machine_is_free(tmp_path: Path, url: str, free: bool) -> None:
    """The price is zero where the address says so, not where the stack is called local."""
    _, outputs = await run(tmp_path, config(**BASIC) | {"runpod:apiUrl": url}, stack="local")
    assert outputs["hourlyCeilingUsd"] == ("0.00" if free else "1.12")
    assert outputs["priceBasis"].startswith("this machine" if free else "list price of ADA_24")
