"""The program's process, seen from the engine: started early, told what to run, ended when it is done or must be."""

import json
import signal
from collections.abc import Callable, Mapping

from pulumi_embedded._config import ConfigValue
from pulumi_embedded._process import Child
from pulumi_embedded._program_command import spawn_program
from pulumi_embedded._project import Project
from pulumi_embedded._spawn import Spawned


class Program:
    """One run of the project's program."""

    def __init__(self, project: Project, child: Child, say: "Output") -> None:
        self._project = project
        self._child = child
        self._say = say
        self.ended_by_us = False

    @classmethod
    async def start(
        cls, project: Project, on_output: Callable[[str, bool], None], spawned: Spawned | None = None
    ) -> "Program":
        """Start the process, unless that has been done; it loads the SDK and then waits to be told what to run."""
        say = Output(on_output)
        child = await Child.follow(
            spawned or spawn_program(project),
            on_stdout=lambda line: say.line(line, False),
            on_stderr=lambda line: say.line(line, True),
        )
        return cls(project, child, say)

    async def run(
        self, stack: str, address: str, config: Mapping[str, ConfigValue], parallel: int, preview: bool, debug: bool
    ) -> None:
        """Tell it what to run."""
        program = self._project.program
        task = {
            "monitor": address,
            "engine": address,
            "project": self._project.name,
            "stack": stack,
            "organization": "organization",
            "root": str(self._project.root),
            "folder": str(program if program.is_dir() else program.parent),
            "program": str(program),
            "parallel": parallel,
            "dry_run": preview,
            "debug": debug,
            "config": {key: value.text for key, value in config.items()},
            "secret_keys": [key for key, value in config.items() if value.secret],
        }
        await self._child.write_and_close(json.dumps(task).encode())

    async def wait(self) -> int:
        """The exit code, when it has ended by itself."""
        return await self._child.wait()

    async def end(self) -> None:
        """Kill it, and ignore what it still says: the operation is over, whatever the program thinks of it."""
        self.ended_by_us = True
        self._say.muted = True
        await self._child.stop(signal.SIGKILL)


class Output:
    """Where the program's lines go, until it is muted."""

    def __init__(self, to: Callable[[str, bool], None]) -> None:
        self._to = to
        self.muted = False

    def line(self, text: str, is_error: bool) -> None:
        """One line of output."""
        if not self.muted:
            self._to(text, is_error)
