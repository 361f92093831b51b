"""Finding, refusing and stopping the emulator's process."""

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.e2e.support import free_port
from vllm_runpod import emulator_process
from vllm_runpod.errors import EmulatorFailed, SetupMissing
from vllm_runpod.project import Project


class Listener(BaseHTTPRequestHandler):
    body = b"hello"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def project(folder: Path, port: int) -> Project:
    (folder / "Pulumi.local.yaml").write_text(f"config:\n  runpod:apiUrl: http://127.0.0.1:{port}\n")
    return Project(folder, "demo")


@pytest.fixture
def listener() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Listener) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_nothing_there_is_not_an_error(tmp_path: Path) -> None:
    """No listener means not running."""
    assert emulator_process.status(project(tmp_path, free_port())) is None


def test_a_foreign_program_on_the_port_is_named(tmp_path: Path, listener: HTTPServer) -> None:
    """The message names the port and the file to change."""
    with pytest.raises(
        EmulatorFailed, match=rf"port {listener.server_port} .*another program\n\nhint: .*Pulumi.local.yaml"
    ):
        emulator_process.start(project(tmp_path, listener.server_port))


@pytest.mark.parametrize("greeting", [b"SSH-2.0-OpenSSH_9.6\r\n", b"\xff\xfe\x00", b"x" * 70_000])
def test_a_foreign_program_need_not_speak_http(tmp_path: Path, greeting: bytes) -> None:
    """Whatever it says, the port is named and no traceback is shown."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with server.accept()[0] as connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(greeting)

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(EmulatorFailed, match="another program"):
            emulator_process.status(project(tmp_path, server.getsockname()[1]))
        thread.join()


def test_the_emulator_of_another_folder_is_not_taken_for_ours(
    tmp_path: Path, listener: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two clones with one port do not share an emulator unknowingly."""
    monkeypatch.setattr(Listener, "body", json.dumps({"pid": 1, "state_dir": "/elsewhere"}).encode())
    with pytest.raises(EmulatorFailed, match=r"emulator of another folder \(/elsewhere\)"):
        emulator_process.status(project(tmp_path, listener.server_port))


def test_without_the_vllm_environment_nothing_is_started(tmp_path: Path) -> None:
    """What is missing is named with the command that brings it."""
    with pytest.raises(SetupMissing, match=r"make up"):
        emulator_process.start(project(tmp_path, free_port()))


def test_a_process_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping ends with nothing left, whatever the process does."""
    monkeypatch.setattr(emulator_process, "STOP_TIMEOUT_S", 0.3)
    program = (
        "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        emulator_process.stop_pid(child.pid)
        child.poll()
        assert not Path(f"/proc/{child.pid}").exists()


def test_stop_finds_the_emulator_at_an_address_the_stack_no_longer_names(tmp_path: Path) -> None:
    """Its lock says who it is: after a change of the port nothing may be left running on a state that is removed."""
    changed = project(tmp_path, free_port())
    changed.emulator_state.mkdir(parents=True)
    assert not emulator_process.stop(changed)
    lock = changed.emulator_state / "emulator.lock"
    holder = (
        "import fcntl, os, sys, time\n"
        "lock = open(sys.argv[1], 'w')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "lock.write(str(os.getpid()))\n"
        "lock.flush()\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", holder, str(lock)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        assert emulator_process.stop(changed)
        child.wait(10)
    assert not emulator_process.stop(changed)
