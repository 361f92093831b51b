"""The plugin as a process: it prints its port, serves, ignores what it does not know, and goes when told."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from pulumi_runpod.provider.main import main, project_root

FOLDER = Path(__file__).resolve().parents[2] / "src" / "pulumi_runpod" / "provider"


async def test_the_folder_runs_as_a_plugin(tmp_path: Path) -> None:
    """`python <folder> <engine address> <unknown flags>`: one line with the port, and an answer on it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(FOLDER), "127.0.0.1:1", "--logflow", "-v", "3", "--tracing", "x",
        cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        port = int(await asyncio.wait_for(process.stdout.readline(), 20))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub: provider_pb2_grpc.ResourceProviderAsyncStub = provider_pb2_grpc.ResourceProviderStub(channel)  # type: ignore[assignment]
            assert (await stub.GetPluginInfo(empty_pb2.Empty())).version
            schema = await stub.GetSchema(provider_pb2.GetSchemaRequest())
            assert '"runpod:index:Endpoint"' in schema.schema
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 10) == 0
    assert process.stdout is not None
    assert await process.stdout.read() == b""


def test_the_plugin_leaves_the_sdk_alone(tmp_path: Path) -> None:
    """A plugin starts with every run of an engine, and loading the SDK would double the time that takes."""
    command = [sys.executable, "-X", "importtime", str(FOLDER), "--version"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in answer.stderr.splitlines()}
    assert "pulumi_runpod.provider.servicer" in loaded
    assert not {"pulumi.resource", "pulumi.automation", "pulumi_runpod._endpoint"} & loaded
    assert answer.stdout.strip()


LAZY = """
import asyncio, sys
from pulumi_runpod.provider.config import Settings
from pulumi_runpod.provider.engine import GrpcEngine
from pulumi_runpod.provider.resources import Call, controllers
from pulumi_runpod.provider.session import Session

async def check(kind, inputs):
    nowhere = "http://127.0.0.1:9"
    session = Session(Settings(nowhere, nowhere, None, "", "", loopback_only=True), GrpcEngine())
    urn = f"urn:pulumi:s::p::runpod:index:{kind}::x"
    await controllers(session)[f"runpod:index:{kind}"].check(Call(urn, "x"), {}, inputs, b"")

asyncio.run(check("NetworkVolume", {"size": 10, "dataCenter": "EU-RO-1"}))
assert "weight_bakery" not in sys.modules
asyncio.run(check("BakedImage", {"model": "./nowhere", "to": "oci:images:v1"}))
assert "weight_bakery" in sys.modules
assert not {"huggingface_hub", "boto3"} & set(sys.modules)
"""


def test_the_bakery_is_loaded_by_the_first_baked_image(tmp_path: Path) -> None:
    """Most programs have none, and what reads models takes longer to load than the whole plugin."""
    command = [sys.executable, "-X", "importtime", str(FOLDER), "--version"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert not re.search(r"\b(weight_bakery|huggingface_hub|boto3)\b", answer.stderr)
    subprocess.run([sys.executable, "-c", LAZY], cwd=tmp_path, timeout=60, check=True)


def test_the_version_can_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """`pulumi-resource-runpod --version`."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()


def test_the_project_is_found_from_the_program_s_folder(tmp_path: Path) -> None:
    """The engine starts plugins where the program lives, which `main:` may move."""
    (tmp_path / "Pulumi.yaml").write_text("name: x\n")
    (tmp_path / "infra").mkdir()
    assert project_root(tmp_path / "infra") == tmp_path
    assert project_root(tmp_path) == tmp_path
