"""Everything this room raises on purpose, in one tree.

Each error is one line of cause and, where there is one, a line of remedy. `exit_code` is what the command ends with;
the numbers are the pulumi CLI's.
"""

from collections.abc import Sequence

EXIT_GENERAL = 1
EXIT_USAGE = 2
EXIT_NO_STACK = 6
EXIT_CHANGES = 7
EXIT_CANCELLED = 8


class EngineError(Exception):
    """Base of every error of this room; its text is fit to be shown."""

    exit_code = EXIT_GENERAL


class ProjectError(EngineError):
    """Pulumi.yaml, or what it points to, cannot be used."""


class ConfigError(EngineError):
    """A stack's configuration file or key cannot be used."""


class UsageError(EngineError):
    """The command line asks for something that does not go together."""

    exit_code = EXIT_USAGE


class NotSupported(EngineError):
    """The pulumi CLI does this and pulumi_embedded does not: said by name, never ignored."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"pulumi_embedded does not support {what}; use the pulumi CLI for it (the state is the same)")


class PassphraseError(EngineError):
    """No passphrase, or the wrong one."""


class DamagedSecret(PassphraseError):
    """The passphrase is right, and yet one value cannot be decrypted."""


class StackNotFound(EngineError):
    """There is no stack of that name in the backend."""

    exit_code = EXIT_NO_STACK

    def __init__(self, stack: str) -> None:
        self.stack = stack
        super().__init__(f"no stack named '{stack}' found; create it with `stack init {stack}`")


class BackendError(EngineError):
    """The state folder cannot be read or written."""


class StateError(BackendError):
    """A checkpoint exists, and is not one this engine can use."""


class IntegrityError(StateError):
    """A checkpoint's resources contradict each other."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"snapshot integrity error: {reason}")


class LockedError(BackendError):
    """Somebody else holds the stack."""

    def __init__(self, lines: Sequence[str], hint: str) -> None:
        self.locks = tuple(lines)
        listing = "".join(f"\n  {line}" for line in lines)
        super().__init__(f"the stack is currently locked by {len(lines)} lock(s){listing}\n{hint}")


class PluginError(EngineError):
    """A provider plugin is missing, does not start, or has gone."""


class WireError(EngineError):
    """A value came over the wire that this engine cannot carry."""


class ExpectedNoChanges(EngineError):
    """`--expect-no-changes` was given and there were changes."""

    exit_code = EXIT_CHANGES

    def __init__(self, operation: str = "preview") -> None:
        self.operation = operation
        super().__init__(f"no changes were expected for {operation} but changes were proposed")


class OperationFailed(EngineError):
    """The operation did not do all it should; the diagnostics have already said why."""


class OperationCancelled(EngineError):
    """Somebody pressed Ctrl-C or answered no."""

    exit_code = EXIT_CANCELLED


class Bail(Exception):
    """Stop what is being done; the reason has been reported. Never reaches a user."""


def unreadable(file: object, error: Exception) -> str:
    """Why a file cannot be read, in one line. YAML parsers say it in several, with the place in the middle."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is not None and problem:
        return f"{file} cannot be read: line {mark.line + 1}, column {mark.column + 1}: {problem}"
    said = getattr(error, "strerror", None) or str(error)
    return f"{file} cannot be read: {' '.join(said.split())}"
