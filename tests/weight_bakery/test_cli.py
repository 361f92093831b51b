"""The command: what it prints, where, and with which exit code."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner

from tests.weight_bakery.hub import running_hub
from tests.weight_bakery.proxy import fake_registry, serving
from tests.weight_bakery.support import Layout, model_files, write_deps, write_model, write_package
from weight_bakery.cli import bake_command

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / "scripts" / "bake_weights.py")


def environment(tmp_path: Path) -> dict[str, str]:
    """An environment without this machine's logins and caches."""
    return {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200",
        "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONWARNINGS": "error",
    }  # fmt: skip


def run(tmp_path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script in a folder of its own."""
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], cwd=tmp_path, env={**environment(tmp_path), **variables},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_bake_from_the_command_line(tmp_path: Path) -> None:
    """The pinned image on stdout, progress in plain lines on stderr, the lock file in the working folder."""
    write_model(tmp_path / "Tiny")
    write_deps(tmp_path / "deps")
    write_package(tmp_path, "vllm_worker")
    done = run(tmp_path, "--model", "Tiny", "--to", "oci:images:v1", "--worker-deps", "deps",
               "--worker-code", "vllm_worker")  # fmt: skip
    assert done.returncode == 0, done.stderr
    digest = Layout(tmp_path / "images").tags()["v1"]
    assert done.stdout == f"oci:images:v1@{digest}\n"
    assert "model-00001-of-00002.safetensors: " in done.stderr
    assert "entry in weights.lock" in done.stderr
    assert "\x1b" not in done.stderr
    assert list(json.loads((tmp_path / "weights.lock").read_bytes())["images"]) == ["oci:images:v1"]


def test_a_receipt_as_json(tmp_path: Path) -> None:
    """One line on stdout that a script can read."""
    write_model(tmp_path / "Tiny")
    done = run(tmp_path, "--model", "Tiny", "--to", "oci:images:v1", "--json")
    receipt = json.loads(done.stdout.splitlines()[-1])["receipt"]
    assert receipt["digest"] == Layout(tmp_path / "images").tags()["v1"]
    assert receipt["layerRule"] == 1
    assert [layer["outcome"] for layer in receipt["layers"]] == ["sent"] * 3


def test_a_dry_run_moves_nothing(tmp_path: Path) -> None:
    """Every file with its size and fate, every layer; as a table and as JSON."""
    write_model(tmp_path / "Tiny")
    done = run(tmp_path, "--model", "Tiny", "--to", "oci:images:v1", "--dry-run")
    assert done.returncode == 0
    assert "not needed to serve" in done.stdout
    assert re.search(r"3 layers, .* known after reading; nothing was moved", done.stdout)
    as_json = run(tmp_path, "--model", "Tiny", "--to", "oci:images:v1", "--dry-run", "--json")
    plan = json.loads(as_json.stdout)["plan"]
    assert len(plan["layers"]) == 3
    assert plan["undecided"] == plan["size"] == sum(layer["size"] for layer in plan["layers"])
    assert (plan["reused"], plan["to_mount"], plan["to_send"]) == (0, 0, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Tiny"]


def test_a_dry_run_lists_names_as_they_are(tmp_path: Path) -> None:
    """What looks like a style or an emoji in a file's or an image's name is neither."""
    folder = write_model(tmp_path / "Tiny")
    (folder / "a[").mkdir()
    (folder / "a[" / "x].json").write_text("{}")
    (folder / "[red]b.json").write_text("{}")
    done = run(tmp_path, "--model", "Tiny", "--to", "oci:o:v1", "--dry-run")
    assert done.returncode == 0, done.stderr
    for name in ("a[/x].json", "[red]b.json", "oci:o:v1"):
        assert name in done.stdout


@pytest.mark.parametrize("address", ["http://[bad", "http://hub.example:99999", "hub.example", "ftp://hub.example"])
def test_addresses_that_are_none_are_told_at_once(tmp_path: Path, address: str) -> None:
    """Of the Hub and of a volume: as a mistake of whoever wrote them, without asking anybody."""
    write_model(tmp_path / "Tiny")
    hub = run(tmp_path, "--model", "owner/m", "--to", "oci:i:v", HF_ENDPOINT=address)
    seed = run(tmp_path, "seed", "--volume", "volume1", "--model", "Tiny", "--endpoint-url", address)
    for done, name in ((hub, "HF_ENDPOINT"), (seed, "--endpoint-url")):
        assert done.stderr.startswith(f"error: {name} {address!r} is not an address; write https://<host>")
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "./missing", "--to", "oci:i:v"], "error: --model 'missing' is not a folder; check the path\n"),
        (["--model", "Tiny", "--to", "oci:i"], "error: --to 'oci:i' is not an image in a layout; write oci:"),
        (["--model", "Tiny", "--to", "oci:i:v", "--name", "A b"], "error: --name 'A b' is not usable; use lower-case"),
        (["--model", "Tiny", "--to", "oci:i:v", "--include", "*.foo"], "error: --include '*.foo' matches no file"),
        (
            ["--model", "Tiny", "--to", "oci:i:v", "--worker-code", "Tiny"],
            "error: --worker-code 'Tiny' is not a Python",
        ),
        (
            ["--model", "Tiny", "--to", "oci:i:v", "--worker-deps", "nope"],
            "error: --worker-deps 'nope' is not a folder",
        ),
        (["--model", "Tiny", "--to", "127.0.0.1:1/a:b", "--base", "oci:x:y"], "error: x is not an OCI image layout"),
        (["--model", "Tiny", "--to", "oci:/proc/nope:v"], "error: /proc/nope"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    """No traceback, exit code 1, nothing on stdout."""
    write_model(tmp_path / "Tiny")
    done = run(tmp_path, *arguments)
    assert done.stderr.startswith(message), done.stderr
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (["--model", "./missing", "--to", "oci:i:v"], 1, "ModelNotFound"),
        (["--model", "Tiny", "--to", "oci:i", "--dry-run"], 1, "BadRequest"),
        (["--model", "Tiny", "--to", "oci:i:v", "--base", "oci:nowhere:v"], 1, "LayoutError"),
        (["rebase", "oci:nowhere:v", "--base", "oci:x:y"], 1, "LayoutError"),
        (["seed", "--volume", "v", "--model", "./Tiny"], 1, "BadRequest"),
        (["status", "--lock", "none.lock"], 2, "LockError"),
        (["sbom", "oci:i:v", "--lock", "none.lock"], 1, "BadRequest"),
    ],
)
def test_whoever_reads_json_reads_of_a_failure_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, kind: str
) -> None:
    """With --json the last line of stdout says what stderr says, and the exit code is the same as without."""
    write_model(tmp_path / "Tiny")
    monkeypatch.chdir(tmp_path)
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    told = CliRunner().invoke(bake_command, arguments)
    assert (told.exit_code, told.stdout) == (code, "")
    done = CliRunner().invoke(bake_command, [*arguments, "--json"])
    assert done.exit_code == code
    error = json.loads(done.stdout.splitlines()[-1])
    assert (error["event"], error["kind"], error["exit_code"]) == ("error", kind, code)
    assert done.stderr.splitlines()[-1] == f"error: {error['text']}; {error['remedy']}" == told.stderr.splitlines()[-1]


def test_a_reader_that_goes_away_is_no_fault(tmp_path: Path) -> None:
    """`... --json | head -1` ends the bake without a word, as other programs end; the tag is not set."""
    write_model(tmp_path / "Tiny")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, SCRIPT, "--model", "Tiny", "--to", "oci:images:v1", "--json"], cwd=tmp_path,
            env=environment(tmp_path), stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
    assert not (tmp_path / "weights.lock").exists()


def test_wrong_usage_is_told_by_click(tmp_path: Path) -> None:
    """A missing option, and half a login."""
    assert run(tmp_path, "--model", "x").returncode == 2
    write_model(tmp_path / "Tiny")
    done = run(tmp_path, "--model", "Tiny", "--to", "127.0.0.1:1/a:b", VLLM_RUNPOD_REGISTRY_USERNAME="me")
    assert "only one of VLLM_RUNPOD_REGISTRY_USERNAME and VLLM_RUNPOD_REGISTRY_PASSWORD is set" in done.stderr


def test_help_names_what_a_registry_image_needs(tmp_path: Path) -> None:
    """The pinned vLLM image, and beside a registry target the packages for the Python in that image."""
    shown = run(tmp_path, "--help").stdout
    assert "vllm/vllm-openai:v0.32.0" in shown
    assert "--worker-deps .local/worker-layer" in shown


def test_help_shows_examples(tmp_path: Path) -> None:
    """With commands that can be copied."""
    shown = run(tmp_path, "--help").stdout
    assert "Examples:" in shown
    assert "--to oci:images:smollm2" in shown


INTERRUPTED = {"PYTHONWARNINGS": "error,ignore::ResourceWarning"}
"""An interrupt may fall anywhere; a socket that it leaves open is closed by the end of the process."""


async def test_ctrl_c_leaves_the_old_tag(tmp_path: Path) -> None:
    """Interrupted in the middle of a layer: exit code 130, one line, and no manifest is put."""
    started = asyncio.Event()

    async def hook(request: web.Request) -> web.StreamResponse | None:
        if request.method == "PATCH" and int(request.headers["Content-Length"]) > 10_000_000:
            started.set()
            await asyncio.sleep(30)
        return None

    write_model(tmp_path / "Tiny", shards=1, shard_bytes=50_000_000)
    async with fake_registry(hook) as registry:
        process = await asyncio.create_subprocess_exec(
            sys.executable, SCRIPT, "--model", "Tiny", "--to", f"{registry.host}/a:v1", "--json", cwd=tmp_path,
            env=environment(tmp_path) | INTERRUPTED, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        await asyncio.wait_for(started.wait(), 30)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        stdout, stderr = await asyncio.wait_for(process.communicate(), 20)
        assert time.monotonic() - begun < 5
        assert registry.manifests == {}
    assert process.returncode == 130
    error = json.loads(stdout.splitlines()[-1])
    assert (error["event"], error["kind"], error["exit_code"]) == ("error", "Interrupted", 130)
    assert "interrupted: no tag was changed" in stderr.decode().splitlines()[-1]
    assert "Traceback" not in stderr.decode()


@pytest.mark.parametrize("where", ["metadata", "payload"])
async def test_ctrl_c_while_the_hub_is_silent(tmp_path: Path, where: str) -> None:
    """A Hub that accepts the question and never answers does not hold up an interrupted bake."""
    asked = asyncio.Event()

    async with running_hub(model_files(shard_bytes=5000)) as hub:

        async def silent(request: web.Request) -> web.StreamResponse:
            if where == "payload" and not request.path.endswith(".safetensors"):
                return await hub.serve_hub(request)
            asked.set()
            await asyncio.sleep(20)
            return web.Response()

        async with serving(silent) as host:
            process = await asyncio.create_subprocess_exec(
                sys.executable, SCRIPT, "--model", "owner/Tiny", "--to", "oci:images:v1", cwd=tmp_path,
                env=environment(tmp_path) | {"HF_ENDPOINT": f"http://{host}"},
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            await asyncio.wait_for(asked.wait(), 30)
            process.send_signal(signal.SIGINT)
            _, stderr = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 130, stderr.decode()
    assert stderr.decode().count("\n") == 1
    assert "interrupted" in stderr.decode()
