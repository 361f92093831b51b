"""Runs a Pulumi program without the pulumi CLI, on the CLI's own state.

What is true here:

- The state file, its encryption, its locks and its place are the CLI's. A stack handed from one to the other needs no
  change and shows none.
- A preview writes nothing, anywhere. An update has every step on disk before it begins and before its result is used:
  a kill at any moment loses nothing, and leaves no process behind.
- What the CLI does and this engine does not (targets, plans, policy packs, remote components, transforms, hooks,
  assets, parameterized packages, other backends and secrets providers) is refused by name, never ignored.
- The program runs in a process of its own, in the project's environment; configuration reaches it through a pipe.

May import: the leaf `redaction`, the generated protocol modules of the `pulumi` SDK, and libraries. No other room.
Use it as `python -m pulumi_embedded <command>` (the CLI's flags and exit codes), or through what `__all__` lists.
"""

import logging
from typing import TYPE_CHECKING, Any

from pulumi_embedded._errors import (
    BackendError,
    ConfigError,
    EngineError,
    ExpectedNoChanges,
    IntegrityError,
    LockedError,
    NotSupported,
    OperationCancelled,
    OperationFailed,
    PassphraseError,
    PluginError,
    ProjectError,
    StackNotFound,
    StateError,
    UsageError,
    WireError,
)

if TYPE_CHECKING:
    from pulumi_embedded._operation import Options, Result
    from pulumi_embedded._project import Project, load_project
    from pulumi_embedded._stack import Stack, open_stack, run_here
    from pulumi_embedded._values import UNKNOWN, Secret

# What goes wrong inside is reported as an event; its traceback is for whoever attaches a handler.
logging.getLogger("pulumi_embedded").addHandler(logging.NullHandler())

_LAZY = {
    "Options": "_operation", "Result": "_operation", "Project": "_project", "load_project": "_project",
    "Stack": "_stack", "open_stack": "_stack", "run_here": "_stack", "UNKNOWN": "_values", "Secret": "_values",
}  # fmt: skip

__all__ = [
    "UNKNOWN",
    "BackendError",
    "ConfigError",
    "EngineError",
    "ExpectedNoChanges",
    "IntegrityError",
    "LockedError",
    "NotSupported",
    "OperationCancelled",
    "OperationFailed",
    "Options",
    "PassphraseError",
    "PluginError",
    "Project",
    "ProjectError",
    "Result",
    "Secret",
    "Stack",
    "StackNotFound",
    "StateError",
    "UsageError",
    "WireError",
    "load_project",
    "open_stack",
    "run_here",
]


def __getattr__(name: str) -> Any:
    # Loaded when used: the command line must choose how the SDK's modules are imported before anything imports them.
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(f"pulumi_embedded.{_LAZY[name]}"), name)
    raise AttributeError(name)
