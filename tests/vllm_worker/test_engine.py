"""vLLM as a child process: what is read from its log, and how it ends."""

import asyncio
import os
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.vllm_worker.support import alive, gone
from vllm_worker._engine import Engine

ENVIRONMENT = {"PATH": os.defpath}


def engine(code: str) -> Engine:
    return Engine([sys.executable, "-u", "-c", textwrap.dedent(code)], ENVIRONMENT)


def ended(child: Engine, within: float = 5) -> int:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if (code := child.returncode) is not None:
            return code
        time.sleep(0.01)
    raise AssertionError("still alive")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["INFO fine", "ValueError: too long"], "ValueError: too long"),
        (
            ["(EngineCore pid=12) ERROR 11-21 09:41:45 [core.py:9] torch.OutOfMemoryError: CUDA out of memory.",
             '  File "core.py", line 9, in run', "    raise RuntimeError(",
             "RuntimeError: Engine core initialization failed.", "bye"],
            "torch.OutOfMemoryError: CUDA out of memory. | RuntimeError: Engine core initialization failed.",
        ),
        (["api_server.py: error: unrecognized arguments: --x"], "api_server.py: error: unrecognized arguments: --x"),
        (["INFO 11-21 09:41:45 [a.py:1] one", "two"], "one | two"),
        (["KeyError: 'a'", "KeyError: 'a'", "TypeError: b"], "KeyError: 'a' | TypeError: b"),
        ([], "it wrote nothing"),
    ],
)  # fmt: skip
def test_the_last_errors_are_found_in_the_log(lines: list[str], told: str) -> None:
    """Exceptions first, without the log's own prefixes and without repetition; else the last lines."""
    child = engine(f"print({chr(10).join(lines)!r}, end='') ; raise SystemExit(3)")
    assert ended(child) == 3
    assert child.last_errors() == told
    child.stop()


def test_phases_come_from_vllms_own_lines() -> None:
    """What is not seen counts to the next phase; the sum is the whole start."""
    child = engine(
        """
        import time
        print("INFO non-default args: {}"); time.sleep(0.1)
        print("Starting to load model x"); time.sleep(0.2)
        print("Loading weights took 0.2 seconds"); time.sleep(60)
        """
    )
    deadline = time.monotonic() + 5
    while child.phase != "configuration" or "weights" not in child.phases(time.monotonic()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    now = time.monotonic()
    phases = child.phases(now)
    assert list(phases) == ["imports", "device", "weights", "server"]
    assert 0.15 < phases["weights"] < 2
    assert sum(phases.values()) == pytest.approx(now - child.started_at, abs=0.01)
    child.stop()


async def test_stop_ends_the_whole_group_even_if_it_will_not(tmp_path: Path) -> None:
    """Processes that ignore SIGTERM, and those that the server left behind, are killed."""
    pids = tmp_path / "pids"
    child = engine(
        f"""
        import os, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        open({str(pids)!r}, "w").write(str(other.pid))
        time.sleep(60)
        """
    )
    async with asyncio.timeout(5):
        while not (pids.exists() and pids.read_text()):
            await asyncio.sleep(0.01)
    child.stop(grace_s=0.1)
    assert child.returncode == -9
    assert not alive(child.pid)
    assert await gone(int(pids.read_text()))
    child.stop()


def test_no_byte_of_the_log_stops_it() -> None:
    """Broken UTF-8, carriage returns and very long lines pass."""
    child = engine(r"import os; os.write(1, b'\xff\xfe bad\r\n' + b'x' * 3_000_000 + b'\nOSError: end')")
    assert ended(child) == 0
    assert child.last_errors() == "OSError: end"
    child.stop()
