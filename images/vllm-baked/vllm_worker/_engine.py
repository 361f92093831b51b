"""vLLM as a child process: started, listened to, and ended together with everything that it started."""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence

from vllm_worker._errors import EngineError
from vllm_worker._log import write_line
from vllm_worker._remedies import find_remedy

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
TAIL_LINES = 1000
LINE_BYTES = 16 * 1024

_libc = ctypes.CDLL(None, use_errno=True)

# Milestones of a start, in order: the phase that ends there, and the line of vLLM's log that shows it. A line whose
# wording changes only moves its seconds into the next phase.
_MILESTONES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("imports", re.compile(r"non-default args:|API server version")),
    ("configuration", re.compile(r"Resolved architecture")),
    ("engine_process", re.compile(r"Initializing a V\d LLM engine")),
    ("device", re.compile(r"Starting to load model")),
    ("weights", re.compile(r"Loading weights took")),
    ("engine_init", re.compile(r"init engine .* took")),
)

# A finished exception (`RuntimeError: text`), not the line of source that raises it (`raise RuntimeError(`).
_ERROR_LINE = re.compile(
    r"(?:^|[\s\]])(?P<text>"
    r"(?:[A-Za-z_][\w.]*(?:Error|Exception|Interrupt)(?::|$)|[\w.]+: error:|CUDA error:|Killed$).*)"
)
_PREFIX = re.compile(r"^(?:\([^)]*\)\s*)?(?:(?:ERROR|CRITICAL|WARNING|INFO)\s+\S+\s+\S+\s+\[[^\]]*\]\s*)?")


def own_children() -> None:
    """Make sure that nothing outlives this process, and that nothing it ends stays a zombie.

    The kernel ends forked children with their parent (the SDK's heartbeat would go on telling the platform that a
    killed worker lives), and hands over to this process whatever vLLM leaves behind.
    """
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    forking: dict[str, int] = {}

    def before() -> None:
        forking["parent"] = os.getpid()

    def die_with_the_parent() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != forking["parent"]:
            os._exit(1)  # it died before the kernel knew what to do about it

    os.register_at_fork(before=before, after_in_child=die_with_the_parent)


class Engine:
    """One run of vLLM, in a process group of its own.

    The caller owns it: `stop` must be called, and may be called more than once.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.started_at = time.monotonic()
        self._marks: dict[str, float] = {}
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._stopping = threading.Lock()
        parent = os.getpid()

        def die_with_the_worker() -> None:  # runs in the child; the worker has a single thread at this point
            # SIGTERM, so that vLLM ends its own children; a worker that was killed cannot do it.
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

        self._process = subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=die_with_the_worker,
        )
        self._reader = threading.Thread(target=self._read_log, name="vllm-log", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id, which is the id of the process group too."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while vLLM's server process lives."""
        return self._process.poll()

    def _read_log(self) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        with stream:
            for raw in stream:
                line = raw[:LINE_BYTES].decode("utf-8", errors="replace").rstrip("\r\n")
                self._tail.append(line)
                self._mark(line)
                write_line(line)

    def _mark(self, line: str) -> None:
        for phase, pattern in _MILESTONES:
            # Every rank loads weights; the phase ends with the last of them.
            if pattern.search(line) and (phase == "weights" or phase not in self._marks):
                self._marks[phase] = time.monotonic()

    @property
    def phase(self) -> str:
        """The phase that the start is in now."""
        for phase, _ in _MILESTONES:
            if phase not in self._marks:
                return phase
        return "server"

    def phases(self, ready_at: float) -> dict[str, float]:
        """Seconds of each phase that could be seen, up to the moment when vLLM answered."""
        seconds: dict[str, float] = {}
        last = self.started_at
        for phase, _ in _MILESTONES:
            mark = self._marks.get(phase)
            if mark is not None and mark >= last:
                seconds[phase] = round(mark - last, 3)
                last = mark
        seconds["server"] = round(max(0.0, ready_at - last), 3)
        return seconds

    def last_errors(self) -> str:
        """What vLLM last complained about, on one line."""
        self._reader.join(timeout=1)
        lines = list(self._tail)
        found: list[str] = []
        for line in reversed(lines):
            match = _ERROR_LINE.search(_PREFIX.sub("", line))
            if match and (text := match["text"].strip()) not in found:
                found.append(text)
            if len(found) == 3:
                break
        if not found:
            found = [text for line in reversed(lines) if (text := _PREFIX.sub("", line).strip())][:3]
        return " | ".join(text[:500] for text in reversed(found)) or "it wrote nothing"

    def failure(self, how: str) -> EngineError:
        """The error that says how vLLM ended, why if that can be told, and what it said itself."""
        said = self.last_errors()
        remedy = find_remedy("\n".join(_PREFIX.sub("", line) for line in list(self._tail)))
        if remedy is None:
            return EngineError(f"{how}: {said}")
        return EngineError(f"{how}: {remedy} (its last errors: {said})", remedy)

    def stop(self, grace_s: float = 5.0) -> None:
        """End vLLM and everything in its process group: a polite signal, then after `grace_s` a kill."""
        with self._stopping:
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(timeout=grace_s)
            # Engine processes outlive a server that was killed.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            self._reap_group()
            self._reader.join(timeout=2)

    def _reap_group(self) -> None:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                pid, _ = os.waitpid(-self.pid, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                time.sleep(0.02)
