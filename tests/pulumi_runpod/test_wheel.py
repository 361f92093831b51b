"""The README's own program, word for word: an installed wheel, a folder outside the clone, nothing activated."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pulumi_runpod.cloud import KEY, Cloud

ROOT = Path(__file__).resolve().parents[2]
UV = next(
    (str(found) for found in (ROOT / ".local/bootstrap/bin/uv", shutil.which("uv")) if found and Path(found).is_file()),
    "",
)
ENGINES = [
    "embedded",
    pytest.param(
        "cli",
        marks=[
            pytest.mark.pulumi_cli,
            pytest.mark.skipif(shutil.which("pulumi") is None, reason="the pulumi CLI is not on PATH"),
        ],
    ),
]


def documented(language: str) -> str:
    """The one block of this language in the README's section."""
    section = (ROOT / "README.md").read_text().partition("## Use it in your own program\n")[2].partition("\n## ")[0]
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return str(block)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and its locked dependencies, from caches only."""
    folder = tmp_path_factory.mktemp("wheel")
    python = folder / "venv/bin/python"

    def uv(*arguments: str | Path) -> None:
        done = subprocess.run([UV, *arguments], cwd=folder, capture_output=True, text=True, timeout=100)
        if "found in the cache" in " ".join(done.stderr.split()):
            pytest.skip("the locked packages are not in uv's cache: make setup brings them")
        assert done.returncode == 0, done.stderr

    uv("build", "--offline", "--wheel", "--no-build-isolation", "--python", sys.executable, "-o", folder, ROOT)
    uv("venv", "--offline", "--no-project", "--python", sys.executable, folder / "venv")
    lock = ROOT / "requirements/project.txt"
    uv("pip", "sync", "--offline", "--python", python, "--require-hashes", lock)
    uv("pip", "install", "--offline", "--python", python, "--no-deps", *folder.glob("*.whl"))
    return folder / "venv"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not UV, reason="uv is neither in .local/bootstrap nor on PATH: make setup brings it")
@pytest.mark.parametrize("engine", ENGINES)
async def test_ten_lines_serve_a_model(engine: str, installed: Path, cloud: Cloud, tmp_path: Path) -> None:
    """Preview without a key, up, no change, destroy; the provider is the one in the environment."""
    program, project = documented("python"), documented("yaml")
    assert len([line for line in (program + project).splitlines() if line.strip()]) <= 10
    folder = tmp_path / "chat"
    folder.mkdir()
    (folder / ".venv").symlink_to(installed)
    (folder / "Pulumi.yaml").write_text(project)
    (folder / "__main__.py").write_text(program)
    if engine == "cli":
        # As `python3 -m venv` leaves it: the CLI asks pip what is installed.
        done = subprocess.run([installed / "bin/python", "-m", "ensurepip"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    async def run(*arguments: str, key: str | None = None) -> str:
        command = ["pulumi", "--non-interactive"] if engine == "cli" else [".venv/bin/python", "-m", "pulumi_embedded"]
        env = {
            "PATH": os.environ["PATH"] if engine == "cli" else "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_CONFIG_PASSPHRASE": "a passphrase of the tests",
            "RUNPOD_API_BASE_URL": cloud.url,
            "RUNPOD_ENDPOINT_BASE_URL": f"{cloud.url}/v2",
        } | ({"RUNPOD_API_KEY": key} if key else {})
        process = await asyncio.create_subprocess_exec(
            *command, *arguments, cwd=folder, env=env, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        stdout, stderr = await process.communicate()
        assert process.returncode == 0, stdout.decode() + stderr.decode()
        return stdout.decode()

    await run("stack", "init", "dev")
    shown = await run("preview", "--stack", "dev")
    assert "runpod:index:Endpoint" in shown
    assert cloud.calls == []
    await run("up", "--yes", "--skip-preview", "--stack", "dev", key=KEY)
    outputs = json.loads(await run("stack", "output", "--json", "--stack", "dev"))
    (endpoint,) = (await cloud.call("GET", "/v2/serverless"))["endpoints"]
    assert outputs == {"openaiBaseUrl": f"{cloud.url}/v2/{endpoint['id']}/openai/v1"}
    assert endpoint["env"]["MODEL_NAME"] == "Qwen/Qwen3-4B"
    assert endpoint["env"]["MAX_MODEL_LEN"] == "8192"
    await run("preview", "--expect-no-changes", "--stack", "dev", key=KEY)
    await run("destroy", "--yes", "--skip-preview", "--stack", "dev", key=KEY)
    assert (await cloud.call("GET", "/v2/serverless"))["endpoints"] == []
    assert not any(KEY.encode() in path.read_bytes() for path in folder.glob("state/**/*") if path.is_file())
