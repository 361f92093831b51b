"""The life cycle of every resource through embedded engine, provider plugin and emulator, over real HTTP."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.support import ROOT, environment, free_port
from tests.live.life_cycle import Cloud, run_life_cycle
from tests.runpod_emulator.host.support import shell_image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not (ROOT / ".local/envs/plugin/bin/python").exists(), reason="the plugin's environment is missing: make setup"
    ),
]


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A real emulator process with a state directory of its own."""
    state = tmp_path / "emulator"
    port = free_port()
    shell_image("exit 0").write(tmp_path / "images" / "demo")
    with (tmp_path / "emulator.log").open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "runpod_emulator",
                "--port",
                str(port),
                "--state",
                str(state),
                "--image-root",
                str(tmp_path),
            ],
            env=environment(PYTHONPATH=os.pathsep.join(sys.path)),
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_emulator/status", timeout=2).close()
                break
            except (urllib.error.URLError, ConnectionError):
                assert process.poll() is None, (tmp_path / "emulator.log").read_text()
                assert time.monotonic() < deadline, "the emulator did not start"
                time.sleep(0.05)
        url = f"http://127.0.0.1:{port}"
        yield Cloud(url, f"{url}/v2", (state / "api-key").read_text().strip(), "life-cycle", image="oci:images/demo:1")
    finally:
        process.terminate()
        process.wait(60)


def test_create_update_drift_refresh_repair_destroy(cloud: Cloud, tmp_path: Path) -> None:
    """What a preview says is what `up` does, at every step; nothing is left and no secret shows."""
    project = tmp_path / "project"
    project.mkdir()
    run_life_cycle(project, cloud)
