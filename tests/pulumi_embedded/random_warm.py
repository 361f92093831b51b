"""A Python that is warm: programs and plugins start in milliseconds, because the SDK is loaded already.

Three hundred stories start thousands of interpreters, on both sides, and each would load the SDK for most of a second.
`WarmPython` makes a folder that looks like a virtual environment; its `bin/python` hands what it was asked to run, with
its directory, environment and open files, to a server that has everything imported and forks. What runs is the same
program in a process of its own; only the loading is shared. It ends when the process that stands for it ends.
"""

import contextlib
import functools
import marshal
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

_CLIENT = """#!{python} -IS
import _socket, marshal, posix, signal, sys
asked = (sys.orig_argv[3:] if sys.orig_argv[1:2] == ["-IS"] else sys.orig_argv[2:])
server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
server.connect({address!r})
task = marshal.dumps((asked, posix.getcwd(), dict(posix.environ)))
files = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (0, 1, 2))
server.sendmsg([len(task).to_bytes(4, "little")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
while task:
    task = task[server.send(task):]
pid = int.from_bytes(server.recv(4), "little")
def forward(number, frame):
    try:
        posix.kill(pid, number)
    except ProcessLookupError:
        pass
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, forward)
for number in (0, 1, 2):
    posix.close(number)
code = server.recv(4)
posix._exit(int.from_bytes(code, "little") if code else 137)
"""


class WarmPython:
    """The server, and the folder to name as a virtual environment. Use it as a context."""

    def __init__(self, folder: Path, interpreter: Path) -> None:
        self.environment = folder
        self._interpreter = interpreter
        self._address = str(folder / "warm.socket")
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "WarmPython":
        binaries = self.environment / "bin"
        binaries.mkdir(parents=True)
        (self.environment / "pyvenv.cfg").write_text("")
        python = binaries / "python"
        python.write_text(_CLIENT.format(python=self._interpreter, address=self._address))
        python.chmod(0o755)
        (binaries / "python3").symlink_to("python")
        self._server = subprocess.Popen(
            [str(self._interpreter), str(Path(__file__)), self._address], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == b"ready\n", "the warm Python did not start"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()


def serve(address: str) -> None:
    """Fork for whoever asks, until standard input is closed."""
    _load()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    answers: dict[tuple[str, ...], bytes] = {}  # the CLI asks for the same list of packages each time
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    import select

    while True:
        sources: list[Any] = [listener, 0]
        ready, _, _ = select.select(sources, [], [])
        if 0 in ready:
            return
        connection, _ = listener.accept()
        head, files, _, _ = socket.recv_fds(connection, 4, 3)
        size, data = int.from_bytes(head, "little"), b""
        while len(data) < size:
            data += connection.recv(size - len(data))
        asked, folder, env = marshal.loads(data)
        if _is_about_packages(asked) and tuple(asked) not in answers:
            answers[tuple(asked)] = subprocess.run([sys.executable, *asked], capture_output=True, check=True).stdout
        if os.fork() == 0:
            listener.close()
            _become(connection, files, folder, env, functools.partial(_run, asked, answers))
        connection.close()
        for file in files:
            os.close(file)


def _is_about_packages(asked: list[str]) -> bool:
    return asked[:2] == ["-m", "pip"] or (asked[0] == "-c" and "importlib.metadata" in asked[1])


def _load() -> None:
    import asyncio  # noqa: F401
    import runpy  # noqa: F401
    import uuid  # noqa: F401

    import google.protobuf.any_pb2  # noqa: F401
    import grpc.aio  # noqa: F401
    import pulumi
    import pulumi.runtime  # noqa: F401
    from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2  # noqa: F401


def _become(
    connection: socket.socket, files: list[int], folder: str, env: dict[bytes, bytes], run: Callable[[], None]
) -> None:
    """Be the process that was asked for; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update({os.fsdecode(key): os.fsdecode(value) for key, value in env.items()})
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    connection.sendall(os.getpid().to_bytes(4, "little"))
    threading.Thread(target=_die_with, args=(connection,), daemon=True).start()
    end = os._exit

    def told(status: int) -> NoReturn:
        with contextlib.suppress(OSError):
            connection.sendall((status & 0xFF).to_bytes(4, "little"))
        end(status & 0xFF)

    os._exit = told  # some end themselves this way
    code = 1
    try:
        with _exit_code() as found:
            run()
        code = found[0]
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        told(code)


def _die_with(connection: socket.socket) -> None:
    with contextlib.suppress(ConnectionResetError):
        connection.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def _exit_code() -> Iterator[list[int]]:
    found = [0]
    try:
        yield found
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        found[0] = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - what an interpreter does at its end
        import traceback

        traceback.print_exc()
        found[0] = 1


def _run(asked: list[str], answers: Mapping[tuple[str, ...], bytes]) -> None:
    if tuple(asked) in answers:
        sys.stdout.write(answers[tuple(asked)].decode())
        return
    if asked == ["--version"]:
        sys.stdout.write(f"Python {sys.version.split()[0]}\n")
        return
    while asked and asked[0] in ("-u", "-I", "-S"):
        asked = asked[1:]
    for entry in reversed([part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]):
        sys.path.insert(1, entry)
    if asked[0] == "-c":
        sys.argv = ["-c", *asked[2:]]
        sys.path[0] = ""
        exec(compile(asked[1], "<string>", "exec"), _main_module())
    elif asked[0] == "-m":
        sys.argv = asked[1:]
        sys.path[0] = os.getcwd()  # noqa: PTH109
        runpy.run_module(asked[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = asked
        script = os.path.realpath(asked[0])
        if os.path.isdir(script):  # noqa: PTH112
            sys.path.pop(0)
            runpy.run_path(script, run_name="__main__")
        else:
            sys.path[0] = os.path.dirname(script)  # noqa: PTH120
            runpy.run_path(script, run_name="__main__")


def _main_module() -> dict[str, Any]:
    module = ModuleType("__main__")
    sys.modules["__main__"] = module
    return vars(module)


if __name__ == "__main__":
    serve(sys.argv[1])
