"""A type checker over users' programs: every documented example passes, every wrong one is found where it is wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MORE_THAN_DOCUMENTED = """
import pulumi
import pulumi_runpod as runpod

volume = runpod.NetworkVolume("v", size=20, data_center="EU-RO-1", type=runpod.NetworkVolumeType.STANDARD)
template = runpod.Template("t", image="i", env={"A": pulumi.Output.secret("x")}, category="AMD")
kind: runpod.EndpointType = runpod.EndpointType.QUEUE
endpoint = runpod.Endpoint(
    "e",
    type=kind,
    template=template,
    gpu=runpod.GpuArgs(pools=["ADA_24"]),
    workers=runpod.WorkersArgs(max=1),
    scaling={"type": "QUEUE_DELAY", "queue_delay": 4},
    network_volumes=[volume.id],
    flashboot="FLASHBOOT",
)
again = runpod.Endpoint(
    "f",
    type="LOAD_BALANCER",
    template_id=template.id,
    cpu=[{"id": "cpu3c", "vcpu_count": 4}],
    scaling=runpod.ScalingArgs(type="REQUEST_COUNT", request_count=1),
    flashboot=pulumi.Output.from_input(runpod.FlashbootMode.OFF),
)
url: pulumi.Output[str] = endpoint.openai_base_url
idle: pulumi.Output[int | None] = endpoint.workers.idle_timeout
"""
SCALING = 'scaling={"type": "REQUEST_COUNT", "request_count": 1}'
WRONG = {
    # line: a word of the error there; of a nested dictionary mypy names the argument
    'runpod.NetworkVolume("v", size=20)': "data_center",
    'runpod.NetworkVolume("v", size="20", data_center="d")': "size",
    'runpod.NetworkVolume("v", size=20, data_center="d", type="FAST")': "NetworkVolumeType",
    'runpod.NetworkVolume("v", 20, "d")': "positional",
    'runpod.Template("t", image="i", imge="x")': "imge",
    'runpod.Template("t", image="i", env={"A": 1})': "Dict entry",
    'runpod.Template("t", image="i", env="A=1")': "env",
    'runpod.Template("t", image="i", category="nvidia")': "TemplateCategory",
    'runpod.Template("t", image="i", mounts={"persistent": {"size": 20}})': "mounts",
    'runpod.RegistryCredential("r", username="u")': "password",
    f'runpod.Endpoint("e", type="QUEU", {SCALING})': "EndpointType",
    'runpod.Endpoint("e", type="QUEUE")': "scaling",
    f'runpod.Endpoint("e", type="QUEUE", {SCALING}, gpu={{"pool": ["ADA_24"]}})': "gpu",
    f'runpod.Endpoint("e", type="QUEUE", {SCALING}, gpu={{"pools": "ADA_24", "count": "1"}})': "gpu",
    f'runpod.Endpoint("e", type="QUEUE", {SCALING}, workers={{"min": 0.5}})': "workers",
    f'runpod.Endpoint("e", type="QUEUE", {SCALING}, cpu={{"id": "cpu3c", "vcpu_count": 4}})': "cpu",
    f'runpod.Endpoint("e", type="QUEUE", {SCALING}, timeout="5m")': "timeout",
    f'runpod.Endpoint("e", type="QUEUE", {SCALING}, template="tpl")': "template",
    f'runpod.Endpoint("e", type="QUEUE", {SCALING}, flashboot=True)': "flashboot",
    f'runpod.Endpoint("e", type="QUEUE", {SCALING}).openai_url': "openai_url",
    'runpod.Endpoint("e", type="QUEUE", scaling={"type": "QUEUE_DELAY", "queueDelay": 4})': "scaling",
    'runpod.Endpoint("e", type="QUEUE", scaling={"type": "QUEUE_LENGTH"})': "scaling",
    "runpod.WorkersArgs(idleTimeout=4)": "idleTimeout",
    'runpod.ScalingArgs(type="QUEUE")': "ScalingType",
    "runpod.GpuArgs(count=1)": "pools",
    'runpod.Provider("p", apiKey="x")': "apiKey",
    'runpod.get_gpus(count="1")': "count",
    "runpod.get_gpus().gpus[0].prize": "prize",
    'VllmEndpoint("e", VllmEndpointArgs(gpu_pool=("ADA_24",)))': "gpu_pool",
    'VllmEndpoint("e", VllmEndpointArgs(weights="inside"))': "weights",
}


def examples() -> dict[str, str]:
    """Every Python example of the README and the pages, by where it stands."""
    return {
        f"{page.stem}_{number}": source
        for page in PAGES
        for number, source in enumerate(FENCE.findall(page.read_text()))
        if "runpod" in source
    }


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, list[str]]]:
    """mypy --strict, once over all programs: file -> line -> errors."""
    folder = tmp_path_factory.mktemp("programs")
    (folder / "vllm_runpod_components").symlink_to(ROOT / "infra/components")
    programs = {**examples(), "more": MORE_THAN_DOCUMENTED}
    programs["wrong"] = "\n".join([
        "import pulumi_runpod as runpod",
        "from vllm_runpod_components import VllmEndpoint, VllmEndpointArgs",
        *WRONG,
        "",
    ])  # fmt: skip
    for name, source in programs.items():
        (folder / f"{name}.py").write_text(source)
    done = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--follow-imports", "silent",
            "--hide-error-context", "--no-pretty", "--cache-dir", str(folder / "cache"),
            *(f"{name}.py" for name in programs),
        ],
        env={"MYPYPATH": f"{folder}:{ROOT / 'src'}", "PATH": "/usr/bin:/bin"},
        cwd=folder,
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    found: dict[str, dict[int, list[str]]] = {name: {} for name in programs}
    for name, line, message in re.findall(r"^(\w+)\.py:(\d+): error: (.*)$", done.stdout, re.MULTILINE):
        found[name].setdefault(int(line), []).append(message)
    return found


def test_every_page_has_an_example() -> None:
    """Otherwise the next test would say little."""
    assert {"README_0", "endpoint_0", "template_0", "network_volume_0", "registry_credential_0"} <= set(examples())


@pytest.mark.slow
def test_documented_examples_are_accepted(errors: dict[str, dict[int, list[str]]]) -> None:
    """As they stand on the pages, and the other ways to say the same."""
    assert {name: found for name, found in errors.items() if found and name != "wrong"} == {}


@pytest.mark.slow
def test_wrong_ones_are_rejected(errors: dict[str, dict[int, list[str]]]) -> None:
    """Each on its own line, with the name that is wrong; nothing else is complained about."""
    lines = {number: (source, word) for number, (source, word) in enumerate(WRONG.items(), start=3)}
    accepted = {
        source: errors["wrong"].get(number)
        for number, (source, word) in lines.items()
        if not any(word in message for message in errors["wrong"].get(number, []))
    }
    assert accepted == {}
    assert set(errors["wrong"]) == set(lines)
