"""The emulator as a process: kill -9, SIGTERM, the command line and what it says when it cannot start."""

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner

from runpod_emulator.cli import emulator
from runpod_emulator.state import _stored_key
from runpod_emulator.store import SCHEMA_VERSION, Store
from tests.runpod_emulator.control.process_main import WORKER_WITH_A_LOG
from tests.runpod_emulator.control.support import KEY, endpoint_body

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
HEADERS = {"Authorization": f"Bearer {KEY}"}


@asynccontextmanager
async def _process(state: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A running emulator and its URL; ended with SIGKILL if the test has not ended it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.runpod_emulator.control.process_main",
        str(state),
        "0",
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        url = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
        assert url, "the emulator did not start"
        yield process, url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _emulator(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runpod_emulator", *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=30,
    )


async def test_kill_9_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    """Killed in the middle of writes, the next emulator starts at once and knows every acknowledged resource."""
    acknowledged: dict[str, Any] = {}

    async def write(session: aiohttp.ClientSession, url: str, number: int) -> None:
        bodies = {
            "serverless": endpoint_body(name=f"e{number}", workers={"max": 0}),
            "templates": {"name": f"t{number}", "image": "i"},
            "network-volumes": {"name": f"v{number}", "size": 10, "dataCenter": "US-KS-2"},
        }
        for kind, body in bodies.items():
            async with session.post(f"{url}/v2/{kind}", json=body, headers=HEADERS) as answer:
                made = await answer.json()
                assert answer.status == 201, made
                acknowledged[f"/v2/{kind}/{made['id']}"] = made

    async with _process(tmp_path) as (process, url), aiohttp.ClientSession() as session:
        writers = [asyncio.create_task(write(session, url, number)) for number in range(200)]
        while len(acknowledged) < 60:
            await asyncio.sleep(0.001)
        process.kill()
        await asyncio.gather(*writers, return_exceptions=True)
        await process.wait()
    assert 60 <= len(acknowledged) < 600, "the kill came in the middle"

    async with _process(tmp_path) as (_, url), aiohttp.ClientSession() as session:
        for path, made in acknowledged.items():
            async with session.get(url + path, headers=HEADERS) as answer:
                found = await answer.json()
            assert {**found, "requestUrls": 0} == {**made, "requestUrls": 0}
        async with session.get(url + "/v2/network-volumes", headers=HEADERS) as answer:
            volumes = (await answer.json())["networkVolumes"]
        assert all((tmp_path / "volumes" / volume["id"]).is_dir() for volume in volumes)


async def test_sigterm_ends_it_cleanly_although_a_log_is_followed(tmp_path: Path) -> None:
    """Exit code 0, within moments; the state directory is free again."""
    for number in (signal.SIGTERM, signal.SIGINT):
        async with _process(tmp_path) as (process, url), aiohttp.ClientSession() as session:
            async with session.post(f"{url}/v2/serverless", json=endpoint_body(), headers=HEADERS) as answer:
                made = await answer.json()
            log = f"{url}/v2/serverless/{made['id']}/workers/{WORKER_WITH_A_LOG}/logs"
            async with session.get(log, headers=HEADERS) as stream:
                assert (await stream.content.readuntil(b"\n\n")).startswith(b"id: ")
                process.send_signal(number)
                assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_state_directory_has_one_emulator(tmp_path: Path) -> None:
    """The second one names the first one's pid and the way out, and changes nothing."""
    async with _process(tmp_path) as (process, _):
        refused = await asyncio.to_thread(_emulator, "--state", str(tmp_path), "--port", "0")
        assert refused.returncode == 1
        assert refused.stdout == ""
        assert refused.stderr.strip() == (
            f"Error: state directory {tmp_path} is in use by the emulator with pid {process.pid}; "
            "stop it or choose another one with --state"
        )


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    """One line with the port and the option; no database was made."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = _emulator("--state", str(tmp_path), "--port", str(port))
    assert refused.returncode == 1
    assert refused.stderr.strip() == (
        f"Error: port {port} on 127.0.0.1 is in use; stop what listens there or choose another one with --port"
    )
    assert not (tmp_path / "emulator.sqlite3").exists()


def test_a_newer_state_is_refused(tmp_path: Path) -> None:
    """An older emulator does not touch a newer one's database."""
    with sqlite3.connect(tmp_path / "emulator.sqlite3") as connection:
        connection.execute(f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    connection.close()
    refused = _emulator("--state", str(tmp_path), "--port", "0")
    assert refused.returncode == 1
    assert f"newer emulator (schema {SCHEMA_VERSION + 1}, this one knows {SCHEMA_VERSION})" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_broken_database_is_named(tmp_path: Path) -> None:
    """One line with the file and the reason."""
    (tmp_path / "emulator.sqlite3").write_bytes(b"this is no database at all, but long enough to be looked at" * 20)
    refused = _emulator("--state", str(tmp_path), "--port", "0")
    assert refused.returncode == 1
    assert f"cannot use {tmp_path / 'emulator.sqlite3'}: file is not a database" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mount", "nothing"], "SRC=DST"),
        (["--mount", "/nowhere/at/all=/opt/vllm"], "/nowhere/at/all does not exist"),
        (["--image-root", "/nowhere"], "does not exist"),
        (["--port", "99999"], "0<=x<=65535"),
    ],
)
def test_a_wrong_option_is_explained(arguments: list[str], words: str) -> None:
    """Usage errors exit with 2 and name the option."""
    refused = CliRunner().invoke(emulator, arguments)
    assert refused.exit_code == 2
    assert words in refused.output
    assert arguments[0] in refused.output


def test_help_shows_examples() -> None:
    """--help is enough to start it."""
    shown = CliRunner().invoke(emulator, ["--help"])
    assert shown.exit_code == 0
    assert "--image-root . --mount .local/envs/vllm=/opt/vllm" in shown.output


def test_the_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    """0600 even when it was looser before; an empty file is refused by name."""
    path = tmp_path / "api-key"
    key = _stored_key(path)
    assert key.startswith("rpa_")
    assert len(key) == 44
    path.chmod(0o644)
    assert _stored_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("")
    with pytest.raises(Exception, match="api-key: it is empty; delete it"):
        _stored_key(path)


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    """All or nothing, nested blocks included."""
    store = Store.connect(tmp_path / "db")
    store.register_schema("CREATE TABLE IF NOT EXISTS t (x)")

    def fail() -> None:
        with store.transaction():
            store.execute("INSERT INTO t VALUES (1)")
            with store.transaction():
                store.execute("INSERT INTO t VALUES (2)")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert store.query("SELECT * FROM t") == []
    with store.transaction():
        store.execute("INSERT INTO t VALUES (3)")
    assert [row["x"] for row in store.query("SELECT x FROM t")] == [3]
    store.close()
