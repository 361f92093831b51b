"""The component classes under Pulumi's mocks, in a preview and for real."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import components
import pulumi_runpod as runpod
from components import InvalidArguments, ModelVolume, ModelVolumeArgs, VllmEndpoint, VllmEndpointArgs, plan_model_volume
from tests.infra.support import ROOT, run_mocked


@pytest.mark.parametrize("preview", [True, False])
async def test_an_endpoint_is_a_template_and_an_endpoint(preview: bool) -> None:
    """Both bear the component's name; the template's content travels with the endpoint."""
    cloud = await run_mocked(lambda: VllmEndpoint("chat"), preview=preview)
    assert cloud.kinds() == ["runpod:index:Endpoint", "runpod:index:Template", "vllm-runpod:index:VllmEndpoint"]
    template, endpoint = cloud.only("runpod:index:Template"), cloud.only("runpod:index:Endpoint")
    assert template["name"] == endpoint["name"] == "chat"
    assert template["serverless"] is True
    assert endpoint["type"] == "QUEUE"
    assert endpoint["gpu"] == {"pools": ["ADA_24"], "count": 1}
    assert endpoint["workers"] == {"min": 0, "max": 1, "idleTimeout": 60}
    assert endpoint["scaling"] == {"type": "QUEUE_DELAY", "queueDelay": 4}
    assert endpoint["template"]["image"] == template["image"]
    assert endpoint["timeout"] == 600_000


async def test_empty_lists_are_left_out() -> None:
    """No data center means any; nothing is sent for it."""
    endpoint = (await run_mocked(lambda: VllmEndpoint("chat"), preview=False)).only("runpod:index:Endpoint")
    assert "dataCenterIds" not in endpoint
    assert "networkVolumes" not in endpoint


async def test_a_ready_made_template_is_taken() -> None:
    """Then the component makes none of its own, and refuses arguments that belong to one."""

    def program() -> None:
        template = runpod.Template("mine", image="a/b:v1")
        VllmEndpoint("chat", VllmEndpointArgs(template=template, max_model_len=2048))
        with pytest.raises(InvalidArguments, match="model: excludes template"):
            VllmEndpoint("other", VllmEndpointArgs(template=template, model="org/model"))

    cloud = await run_mocked(program, preview=False)
    assert cloud.kinds().count("runpod:index:Template") == 1
    endpoint = cloud.only("runpod:index:Endpoint")
    assert endpoint["template"]["image"] == "a/b:v1"
    assert endpoint["env"] == {"MAX_MODEL_LEN": "2048"}


async def test_nothing_is_registered_for_a_mistake() -> None:
    """The plan comes before the first registration."""

    def program() -> None:
        with pytest.raises(InvalidArguments):
            VllmEndpoint("chat", VllmEndpointArgs(gpu_count=0))

    assert (await run_mocked(program, preview=True)).kinds() == []


@pytest.mark.parametrize("preview", [True, False])
async def test_a_volume_is_one_network_volume(preview: bool) -> None:
    """Its size, its place and its tier."""
    args = ModelVolumeArgs(data_center="EU-RO-1", size_gb=50, type="STANDARD")
    cloud = await run_mocked(lambda: ModelVolume("models", args), preview=preview)
    assert cloud.only("runpod:index:NetworkVolume") == {
        "name": "models",
        "size": 50,
        "dataCenter": "EU-RO-1",
        "type": "STANDARD",
    }


def test_a_volume_is_protected_unless_told_otherwise() -> None:
    """What is on it would be gone."""
    assert plan_model_volume(ModelVolumeArgs(data_center="EU-RO-1")).protect
    assert not plan_model_volume(ModelVolumeArgs(data_center="EU-RO-1", protect=False)).protect


def test_a_volume_that_cannot_be_is_refused() -> None:
    """Both mistakes at once."""
    with pytest.raises(InvalidArguments) as caught:
        plan_model_volume(ModelVolumeArgs(data_center=" ", size_gb=5))
    assert [argument for argument, _ in caught.value.mistakes] == ["size_gb", "data_center"]


def test_the_public_face_is_what_it_says() -> None:
    """Everything in __all__ exists."""
    assert all(hasattr(components, name) for name in components.__all__)


def test_the_wheel_ships_them_under_another_name(tmp_path: Path) -> None:
    """Copied as `vllm_runpod_components` they import without anything of infra/ on the path."""
    shutil.copytree(ROOT / "infra/components", tmp_path / "vllm_runpod_components")
    program = "import vllm_runpod_components as c; print(c.VllmEndpoint.__module__)"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert run.stdout.strip() == "vllm_runpod_components._endpoint"


def test_components_know_nothing_of_this_deployment() -> None:
    """They go into the wheel under another name: relative imports, and no settings."""
    for path in (ROOT / "infra/components").glob("*.py"):
        text = path.read_text()
        assert "from components" not in text, path
        assert "from settings" not in text, path
        assert "import settings" not in text, path
