"""kill -9 of the emulator, and what the next one finds."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runpod_emulator.host import Isolation
from runpod_emulator.host import _processes as processes
from runpod_emulator.host._record import Record, records
from tests.runpod_emulator.host.support import Bench, below, bench, shell_image

STARTING = """
import asyncio, sys
from pathlib import Path
from tests.runpod_emulator.host.support import bench, shell_image

async def main(folder, way, seconds):
    async with bench(Path(folder), way) as host:
        shell_image(f"setsid sleep {seconds} & exec sleep {seconds}").write(Path(folder, "root/images"))
        print("begun", flush=True)
        while True:
            await host.start("oci:images:1")

asyncio.run(main(*sys.argv[1:]))
"""

EMULATOR = """
import asyncio, json, sys
from pathlib import Path
from tests.runpod_emulator.host.support import bench, shell_image

async def main(folder, way):
    async with bench(Path(folder), way) as host:
        script = "setsid sh -c 'echo up; exec sleep 7777' & echo main; wait"
        container = await host.start(shell_image(script))
        await host.until("w1", "up")
        print(json.dumps([container.pid, container._outer.pid]), flush=True)
        await asyncio.sleep(1000)

asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def python(script: str, *arguments: str) -> "subprocess.Popen[str]":
    here = Path(__file__).parents[3]
    path = os.pathsep.join([str(here / "src"), str(here), *sys.path])
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})


def emulator(folder: Path, way: Isolation) -> tuple["subprocess.Popen[str]", list[int]]:
    """A process with a host and one worker that has a daemon in a session of its own."""
    process = python(EMULATOR, str(folder), way)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def gone(expected: set[processes.Process], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while any(processes.is_alive(process) for process in expected):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_kill_9_of_the_emulator_leaves_no_process(tmp_path: Path, isolation: Isolation) -> None:
    """Neither the worker nor its daemons, without anybody's help."""
    process, pids = emulator(tmp_path, isolation)
    worker = below(pids)
    assert len(worker) >= 3
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    assert gone(worker)


@pytest.mark.slow
def test_kill_9_in_the_middle_of_starts_leaves_no_process(tmp_path: Path, isolation: Isolation) -> None:
    """bubblewrap asks to die with its parent only when its set-up is done; the supervisor is there before."""
    for pause in (0.05, 0.1, 0.15, 0.2):
        seconds = str(time.time_ns())
        process = python(STARTING, str(tmp_path / str(pause)), isolation, seconds)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(pause)
        process.kill()
        process.wait()
        process.stdout.close()
        named = {s.process for s in processes.all_states() if seconds in command_line(s.process.pid)}
        assert gone(named), named


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


async def test_the_next_emulator_tidies_up_after_a_kill(tmp_path: Path, isolation: Isolation) -> None:
    """It counts only workers that are still alive, and removes what a half-done pull left."""
    process, pids = emulator(tmp_path, isolation)
    worker = below(pids)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    assert gone(worker)
    (tmp_path / "state/cache/tmp/rubbish").mkdir(parents=True)
    async with bench(tmp_path) as host:
        assert list(host.config.workers_dir.glob("*/process.json"))
        assert await host.host.reap() == 0
        assert not list(host.config.workers_dir.glob("*/process.json"))
        assert not list((tmp_path / "state/cache").glob("tmp/*"))
        assert "main" in host.said("w1"), "the log of a dead emulator's worker can still be read"


async def orphan(host: Bench, environment: dict[str, str]) -> "asyncio.subprocess.Process":
    """A process that an earlier emulator could have left, with a child that has no marker."""
    script = "env -i sleep 7778 & echo $!; wait"
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", script, env={"PATH": os.environ["PATH"], **environment}, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    return process


async def test_reap_ends_what_a_record_and_a_marker_prove(tmp_path: Path) -> None:
    """With everything below it; the log says so, and the record is gone."""
    async with bench(tmp_path) as host:
        process = await orphan(host, {processes.MARKER_VARIABLE: "m" * 32})
        left = below([process.pid])
        assert len(left) == 2
        folder = host.config.workers_dir / "old"
        folder.mkdir(parents=True)
        Record(folder, "old", processes.boot_id(), "m" * 32).write()
        assert await host.host.reap() == 1
        assert gone(left)
        assert await process.wait() == -signal.SIGKILL
        assert host.said("old", "system") == ["ended: left over from an earlier emulator"]
        assert await host.host.reap() == 0


async def test_reap_spares_a_process_that_only_got_the_same_id(tmp_path: Path) -> None:
    """Another start time, another boot, another marker: each is somebody else's process."""
    async with bench(tmp_path) as host:
        process = await orphan(host, {processes.MARKER_VARIABLE: "x" * 32})
        state = processes.state(process.pid)
        assert state is not None
        other = processes.Process(process.pid, state.process.started + 1)
        for name, boot, known in (("a", processes.boot_id(), other), ("b", "another-boot", state.process)):
            folder = host.config.workers_dir / name
            folder.mkdir(parents=True)
            Record(folder, name, boot, "y" * 32, [known]).write()
        assert await host.host.reap() == 0
        assert processes.is_alive(state.process)
        assert records(host.config.workers_dir) == []
        for left in below([process.pid]):
            processes.kill(left)
        await process.wait()


async def test_reap_leaves_its_own_workers_alone(tmp_path: Path, isolation: Isolation) -> None:
    """It may be called at any time."""
    async with bench(tmp_path, isolation) as host:
        container = await host.start(shell_image("echo up; sleep 100"))
        assert await host.host.reap() == 0
        assert processes.state(container.pid) is not None


async def test_old_logs_and_images_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a start only the newest are kept."""
    monkeypatch.setattr("runpod_emulator.host._host.KEPT_LOGS", 2)
    monkeypatch.setattr("runpod_emulator.host._host.KEPT_IMAGES", 1)
    async with bench(tmp_path) as host:
        for number in range(4):
            assert (await host.run(shell_image(f"echo {number}")))[0] == 0
        await host.host.reap()
        assert {path.name for path in host.config.workers_dir.iterdir()} == {"w3", "w4"}
        assert len(list((host.config.cache_dir / "roots").iterdir())) == 1
