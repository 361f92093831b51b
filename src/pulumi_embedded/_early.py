"""What may begin before the engine is loaded and the state is read: the processes of the program and the plugins.

Loading the SDK is what takes longest in a small deployment, and it happens in those processes. So they are started
first of all, before the engine's own modules are loaded (this one needs few of them), and left alone until an
`Operation` takes them over. The address that plugins are told is kept free until
the engine listens there.
"""

import contextlib
import socket
from collections.abc import Iterable

from pulumi_embedded._errors import EngineError
from pulumi_embedded._plugin_command import spawn_plugin
from pulumi_embedded._program_command import spawn_program
from pulumi_embedded._project import Project
from pulumi_embedded._spawn import Spawned


class Early:
    """Started processes that nobody has taken over yet. `end` them when the operation is over, whatever came of it.

    What cannot be started is an error for whoever needs it, and raised there: here it is passed over.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._place = socket.socket()
        # The engine's server binds the same port, as gRPC always does with this option, and then alone listens there.
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._place.getsockname()[1]}"
        self._processes: dict[str, Spawned] = {}

    def start_program(self) -> None:
        """Start the program's process, unless that has been done; it loads the SDK and waits to be told what to run."""
        if "" not in self._processes:
            with contextlib.suppress(EngineError, OSError):
                self._processes[""] = spawn_program(self._project)

    def start_plugins(self, packages: Iterable[str]) -> None:
        """Start the plugins of these packages."""
        for package in packages:
            with contextlib.suppress(EngineError, OSError):
                self._processes[package] = spawn_plugin(self._project, package, self.address)

    def program(self) -> Spawned | None:
        """The program's process, for the first who asks."""
        return self._processes.pop("", None)

    def plugin(self, package: str) -> Spawned | None:
        """A plugin's process, for the first who asks."""
        return self._processes.pop(package, None)

    def plugins(self) -> list[str]:
        """The packages whose plugins were started and not yet taken over."""
        return sorted(package for package in self._processes if package)

    def listening(self) -> None:
        """The engine has the port: it need not be kept any longer."""
        self._place.close()

    def end(self) -> None:
        """End what was not taken over."""
        self._place.close()
        while self._processes:
            self._processes.popitem()[1].drop()
