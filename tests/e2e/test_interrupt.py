"""Ctrl-C in the middle of the first `up`: nothing runs on, and the next `up` goes on from there."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.stand_in import MISSING, ended, make_stand_in, wait
from tests.e2e.support import ROOT, environment, is_alive, processes_under, tree

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.skipif(bool(MISSING), reason=MISSING)]


def _heed_ctrl_c() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_while_the_worker_starts(tmp_path: Path) -> None:
    """As a terminal sends it, to the whole group: emulator, worker, engine and plugin end; exit code 130."""
    stand_in = make_stand_in(tmp_path)
    with ended(stand_in.clone):
        process = subprocess.Popen(
            [str(ROOT / ".venv/bin/python"), "-m", "vllm_runpod", "--cwd", str(tmp_path), "up", "--no-ask"],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=_heed_ctrl_c,
        )

        def worker_runs() -> bool:
            return any(found.command[1:] == ("-m", "vllm_worker") for found in tree(process.pid))

        wait(lambda: worker_runs() or process.poll() is not None, "the worker's start", 60)
        processes = tree(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        printed, _ = process.communicate(timeout=90)
        assert process.returncode == 130, printed
        assert "Traceback" not in printed
        assert not any(map(is_alive, processes))
        assert processes_under(tmp_path) == []
        stand_in.clone.run("up", "--no-ask")
        assert stand_in.ask("weights") == f"You said: {stand_in.weights}"
