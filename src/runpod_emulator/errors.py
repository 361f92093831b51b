"""Everything that can stop the emulator before it answers. Each is one cause, then one remedy.

EmulatorError
├── PortInUse
├── StateInUse
├── StateUnusable
└── NewerState
"""

from pathlib import Path


class EmulatorError(Exception):
    """Base of the emulator's own errors; `str()` is safe to show to a user."""


class PortInUse(EmulatorError):
    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        super().__init__(f"port {port} on {host} is in use; stop what listens there or choose another one with --port")


class StateInUse(EmulatorError):
    def __init__(self, state_dir: Path, pid: int | None) -> None:
        self.state_dir, self.pid = state_dir, pid
        who = f"the emulator with pid {pid}" if pid else "another emulator"
        super().__init__(f"state directory {state_dir} is in use by {who}; stop it or choose another one with --state")


class StateUnusable(EmulatorError):
    def __init__(self, path: Path, why: str) -> None:
        self.path, self.why = path, why
        super().__init__(f"cannot use {path}: {why}; repair it or choose another directory with --state")


class NewerState(EmulatorError):
    def __init__(self, path: Path, found: int, known: int) -> None:
        self.path, self.found, self.known = path, found, known
        super().__init__(
            f"{path} was written by a newer emulator (schema {found}, this one knows {known}); "
            "upgrade vllm-runpod or choose another directory with --state"
        )
