"""kill -9 of worker, emulator, engine and plugin in the middle of their work: no process is left, no state is lost."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.stand_in import StandIn, wait
from tests.e2e.support import ROOT, Process, environment, is_alive, tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_kill_9_of_the_worker(stand_in: StandIn) -> None:
    """Everything that it had started goes with it; the job in its hands is done by the next worker."""
    endpoint = stand_in.endpoint["id"]
    job = stand_in.submit("wait 1.5")
    wait(lambda: stand_in.status(job) == "IN_PROGRESS", "the job's start")
    assert len(stand_in.worker_processes()) >= 3, "sandbox, worker, server"
    stand_in.kill_worker()
    wait(lambda: stand_in.status(job) == "COMPLETED", "the job's second try", 60)
    assert stand_in.endpoint["id"] == endpoint


def test_kill_9_of_the_emulator(stand_in: StandIn) -> None:
    """No worker outlives it; after the next `up` the same endpoint answers, and the job in hand is done."""
    before = stand_in.endpoint
    job = stand_in.submit("wait 1.5")
    wait(lambda: stand_in.status(job) == "IN_PROGRESS", "the job's start")
    processes = tree(stand_in.emulator())
    assert len(processes) >= 4
    os.kill(stand_in.emulator(), signal.SIGKILL)
    wait(lambda: not any(map(is_alive, processes)), "the end of everything below the emulator", 15)
    stand_in.clone.run("up", "--no-ask")
    assert stand_in.endpoint["id"] == before["id"]
    assert {key: stand_in.endpoint[key] for key in ("image", "env")} == {key: before[key] for key in ("image", "env")}
    wait(lambda: stand_in.status(job) == "COMPLETED", "the job's second try", 60)


@contextmanager
def update_under_way(stand_in: StandIn, length: int) -> Iterator[tuple["subprocess.Popen[str]", set[Process]]]:
    """An `up` that has changed the endpoint and now waits until the new release serves; with all its processes."""
    path = stand_in.clone.root / "Pulumi.local.yaml"
    text = path.read_text()
    now = next(line for line in text.splitlines() if "maxModelLen" in line)
    path.write_text(text.replace(now, f'  vllm-runpod:maxModelLen: "{length}"'))
    process = subprocess.Popen(
        [str(ROOT / ".venv/bin/python"), "-m", "vllm_runpod", "--cwd", str(stand_in.clone.root), "up", "--no-ask"],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait(lambda: stand_in.endpoint["env"].get("MAX_MODEL_LEN") == str(length), "the update's PATCH")
        yield process, tree(process.pid)
    finally:
        process.kill()
        process.communicate()


def goes_on(stand_in: StandIn, length: int) -> None:
    """The next `up` needs no help, and what it leaves is what the program says."""
    done = stand_in.clone.run("up", "--no-ask")
    assert "error" not in done.stderr.lower(), done.stderr
    assert set(json.loads(stand_in.clone.run("preview", "--json").stdout)["changeSummary"]) == {"same"}
    assert stand_in.endpoint["env"]["MAX_MODEL_LEN"] == str(length)
    assert stand_in.ask("weights") == f"You said: {stand_in.weights}"


def test_kill_9_of_the_engine_in_the_middle_of_an_update(stand_in: StandIn) -> None:
    """Program and plugin die with it, `up` ends with an error, and the next one goes on from the state."""
    endpoint = stand_in.endpoint["id"]
    with update_under_way(stand_in, 1024) as (process, processes):
        (engine,) = [found for found in processes if found.runs("-m", "pulumi_embedded")]
        assert any("pulumi_runpod/provider" in " ".join(found.command) for found in processes)
        os.kill(engine.pid, signal.SIGKILL)
        printed, _ = process.communicate(timeout=30)
        assert process.returncode not in (0, None), printed
        assert "Traceback" not in printed
        wait(lambda: not any(map(is_alive, processes)), "the end of engine, program and plugin", 10)
    goes_on(stand_in, 1024)
    assert stand_in.endpoint["id"] == endpoint


def test_kill_9_of_the_plugin_in_the_middle_of_an_update(stand_in: StandIn) -> None:
    """The engine says which plugin ended, keeps the endpoint in its state, and the next `up` goes on."""
    endpoint = stand_in.endpoint["id"]
    with update_under_way(stand_in, 512) as (process, processes):
        plugins = [found for found in processes if "pulumi_runpod/provider" in " ".join(found.command)]
        for plugin in plugins:
            os.kill(plugin.pid, signal.SIGKILL)
        printed, _ = process.communicate(timeout=30)
        assert process.returncode not in (0, None), printed
        assert "the plugin 'runpod' ended" in printed
        assert "Traceback" not in printed
        wait(lambda: not any(map(is_alive, processes)), "the end of engine and program", 10)
    goes_on(stand_in, 512)
    assert stand_in.endpoint["id"] == endpoint
