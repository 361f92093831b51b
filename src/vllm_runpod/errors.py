"""What may go wrong in the command line itself. Rooms have their own trees; `main` shows each in one line."""


class CommandError(Exception):
    """Base: one line of cause, optionally a `hint:` line. `exit_code` is what the process ends with."""

    exit_code = 1


class NotAProject(CommandError):
    """The command was started outside a project folder."""

    exit_code = 2


class SetupMissing(CommandError):
    """Something that `make up` sets up is not there."""


class EmulatorFailed(CommandError):
    """The emulator did not start, or is not running where it must."""


class EngineFailed(CommandError):
    """The Pulumi engine ended with an error. It has already told the user why."""

    def __init__(self, command: str, exit_code: int) -> None:
        self.exit_code = exit_code
        super().__init__(f"`{command}` ended with exit code {exit_code}; what went wrong stands above")


class NoAnswer(CommandError):
    """The model did not answer."""
