"""Starts child processes that end with the engine. Loads next to nothing: the first of them is started first of all."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LAUNCHER = Path(__file__).with_name("_launch.py")


def without_passphrase(env: Mapping[str, str]) -> dict[str, str]:
    """The environment for a child: the key to all secrets is the engine's alone."""
    return {key: value for key, value in env.items() if not key.startswith("PULUMI_CONFIG_PASSPHRASE")}


@dataclass(frozen=True)
class Spawned:
    """A process that was started and that nobody follows yet: a `Child` takes it over, or it is dropped."""

    name: str
    process: "subprocess.Popen[bytes]"

    def drop(self) -> None:
        """End it, and all it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def spawn(name: str, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: bool = False) -> Spawned:
    """Start `command` in a session of its own (Ctrl-C reaches the engine alone); it dies with this process."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *command],
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        bufsize=0,
    )
    return Spawned(name, process)
