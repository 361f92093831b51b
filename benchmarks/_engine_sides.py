"""The three sides of the engine benchmark: one project, and the commands that run it.

Both engines get a project of their own in folders that differ in nothing: the same program, the same plugin, the same
virtual environment for both of these, a file backend on the same disk, the passphrase secrets provider, the same flags.
Nothing is asked of the network, and no debug flag is set.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HERE = Path(__file__).parent
PARALLEL = 16
STACK = "dev"

Side = Literal["ours", "cli"]
Operation = Literal["preview", "up", "no_change", "refresh"]
OPERATIONS: tuple[Operation, ...] = ("preview", "up", "no_change", "refresh")

PROGRAM = '''"""{size} resources: a few properties each; every tenth has a secret, and follows another one's output."""

import pulumi


class Thing(pulumi.CustomResource):
    """A resource of the benchmark's plugin."""

    url: pulumi.Output[str]

    def __init__(self, name, opts=None, **props):
        super().__init__("bench:index:Thing", name, {{"url": None, **props}}, opts)


last = None
for number in range({size}):
    more = {{}}
    if number % 10 == 0:
        more["password"] = pulumi.Output.secret(f"very-secret-{{number}}")
        if last is not None:
            more["after"] = last.url
    thing = Thing(
        f"thing-{{number}}",
        label=f"thing number {{number}}",
        size=number,
        tags={{"team": "search", "stage": "dev", "cost": "low"}},
        regions=["EU-RO-1", "US-KS-2", "EU-CZ-1"],
        enabled=True,
        **more,
    )
    if number % 10 == 0:
        last = thing
pulumi.export("count", {size})
'''


class BenchFailed(Exception):
    """A command of a side failed, so there is nothing to compare."""


@dataclass(frozen=True)
class Place:
    """One side's project for one size."""

    side: Side
    root: Path

    @property
    def project(self) -> Path:
        """The folder with Pulumi.yaml."""
        return self.root / "project"

    @property
    def program(self) -> Path:
        """The program itself."""
        return self.project / "__main__.py"

    def command(self, *arguments: str) -> list[str]:
        """The command line of this side."""
        flags = ["--non-interactive", "--color", "never"]
        if self.side == "cli":
            return ["pulumi", *arguments, *flags]
        return [sys.executable, "-m", "pulumi_embedded", *arguments, *flags]

    def environment(self) -> dict[str, str]:
        """What the commands of both sides run under."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")}
        return {
            **kept,
            "PULUMI_CONFIG_PASSPHRASE": "correct horse",
            "PULUMI_HOME": str(self.root / "home"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "NO_COLOR": "1",
        }

    def run(self, *arguments: str) -> float:
        """Run one command; returns the seconds from its start to its end."""
        started = time.perf_counter()
        done = subprocess.run(
            self.command(*arguments), cwd=self.project, env=self.environment(), capture_output=True, text=True
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise BenchFailed(f"{self.side}: {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}"
                              f"{done.stderr}")  # fmt: skip
        return seconds

    def fresh_stack(self) -> None:
        """An empty stack, as if nothing had ever run here."""
        shutil.rmtree(self.root / "state", ignore_errors=True)
        (self.root / "state").mkdir()
        (self.project / f"Pulumi.{STACK}.yaml").unlink(missing_ok=True)
        self.run("stack", "init", STACK)

    def recorded(self) -> int:
        """How many resources of the plugin the state holds."""
        state = self.root / "state" / ".pulumi" / "stacks" / "bench" / f"{STACK}.json"
        latest = json.loads(state.read_text())["checkpoint"]["latest"]
        return sum(entry["type"] == "bench:index:Thing" for entry in latest["resources"])

    def timed(self, operation: Operation) -> float:
        """The seconds of one operation."""
        both = ("--stack", STACK, "--parallel", str(PARALLEL))
        if operation == "preview":
            return self.run("preview", *both)
        if operation == "refresh":
            return self.run("refresh", *both, "--yes", "--skip-preview")
        return self.run("up", *both, "--yes", "--skip-preview")


def make_place(root: Path, side: Side, size: int, virtualenv: Path) -> Place:
    """Lay out a project of that size."""
    place = Place(side, root)
    plugin = root / "plugin"
    for folder in (place.project, plugin, root / "state", root / "home"):
        folder.mkdir(parents=True)
    (plugin / "PulumiPlugin.yaml").write_text(_runtime(virtualenv, plugin))
    shutil.copy(HERE / "_engine_plugin.py", plugin / "__main__.py")
    (place.project / "Pulumi.yaml").write_text(
        f"name: bench\n{_runtime(virtualenv, place.project)}"
        f'backend: {{url: "file://{root}/state"}}\n'
        "plugins: {providers: [{name: bench, path: ../plugin}]}\n"
    )
    place.program.write_text(PROGRAM.format(size=size))
    return place


def _runtime(virtualenv: Path, start: Path) -> str:
    place = json.dumps(os.path.relpath(virtualenv, start))
    return f"runtime: {{name: python, options: {{toolchain: pip, virtualenv: {place}}}}}\n"


def bare(program: Path, virtualenv: Path, operation: Operation) -> float:
    """The seconds of the program under the SDK's mocks, in the same virtual environment."""
    command = [str(virtualenv / "bin" / "python"), str(HERE / "_engine_bare.py"), str(program), operation]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise BenchFailed(f"the bare program: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return seconds


def made_virtualenv(folder: Path, pip: bool) -> Path:
    """A virtual environment that sees this one's packages. The CLI runs nothing in one without `pip` inside."""
    without = [] if pip else ["--without-pip"]
    subprocess.run([sys.executable, "-m", "venv", *without, str(folder)], check=True, capture_output=True)
    import pulumi

    packages = Path(pulumi.__file__).parents[1]
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "project.pth").write_text(f"{packages}\n")
    return folder


def cli_missing() -> Sequence[str]:
    """What of the CLI is not on PATH."""
    return [name for name in ("pulumi", "pulumi-language-python") if shutil.which(name) is None]
