"""A stack, and everything that can be done to it. The command line is a skin over this.

Opening a stack reads and writes nothing but what is asked for. Previews write nothing at all, take no lock, and work
for a stack that does not exist yet, and without a passphrase where nothing is secret.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulumi_embedded._backend import Backend, backend_root
from pulumi_embedded._checkpoint import load_deployment, secrets_state_of
from pulumi_embedded._config import ConfigValue, StackConfig
from pulumi_embedded._crypto import PassphraseCrypter, passphrase_from_environment
from pulumi_embedded._early import Early
from pulumi_embedded._errors import BackendError, ConfigError, StackNotFound
from pulumi_embedded._events import Events
from pulumi_embedded._lock import break_locks, stack_lock
from pulumi_embedded._project import Project, load_project
from pulumi_embedded._state import Deployment
from pulumi_embedded._statejson import NoSecrets, Sealer
from pulumi_embedded._urn import STACK_TYPE, is_provider_type, package_of
from pulumi_embedded._values import without_secrets

if TYPE_CHECKING:
    from pulumi_embedded._operation import Operation, Options, Result
    from pulumi_embedded._snapshot import SnapshotManager

Runner = Callable[["Operation"], "Result"]


class _StateCrypter:
    """Opens and seals the secrets of a state: with the salt the state itself names, else the stack's.

    A stack that has none gets one when the first secret needs it.
    """

    def __init__(self, stack: "Stack", salt: str) -> None:
        self._stack = stack
        self._own = PassphraseCrypter(salt, passphrase_from_environment()) if salt else None

    def encrypt(self, plaintext: str, /) -> str:
        return (self._own or self._stack.crypter_for_writing()).encrypt(plaintext)

    def decrypt(self, ciphertext: str, /) -> str:
        return (self._own or self._stack.crypter()).decrypt(ciphertext)


class Stack:
    """One stack of a project. Make it with `open_stack`."""

    def __init__(self, project: Project, backend: Backend, name: str) -> None:
        self.project = project
        self.backend = backend
        self.name = backend.check_name(name)
        self.config = StackConfig(project, self.name)
        self._crypter: PassphraseCrypter | None = None
        self._early: Early | None = None

    # Secrets

    def _latest(self) -> Mapping[str, Any] | None:
        if not self.exists():
            return None
        latest: Mapping[str, Any] | None = self.backend.read(self.name)["checkpoint"].get("latest")
        return latest

    def crypter(self) -> PassphraseCrypter:
        """What opens this stack's secrets. Nothing is derived before it is used."""
        if self._crypter is None:
            salt = self.config.salt or secrets_state_of(self._latest(), str(self.backend.path(self.name)))
            if not salt:
                raise ConfigError(f"{self.config.file}: encryptionsalt is missing, so its secrets cannot be opened")
            self._crypter = PassphraseCrypter(salt, passphrase_from_environment())
        return self._crypter

    def crypter_for_writing(self) -> PassphraseCrypter:
        """The same; where the stack has no salt yet it gets one, in Pulumi.<stack>.yaml."""
        if self._crypter is None and not self.config.salt:
            salt = secrets_state_of(self._latest(), str(self.backend.path(self.name)))
            if salt:
                self._crypter = PassphraseCrypter(salt, passphrase_from_environment())
            else:
                self._crypter = PassphraseCrypter.create(passphrase_from_environment())
            self.config.set_salt(self._crypter.state)
        return self.crypter()

    def check_passphrase(self) -> None:
        """Raise PassphraseError when a passphrase is given and wrong, also where nothing needs it yet.

        Found out later it would be in the middle of an update, when the first secret has to be written. (A preview
        writes none: where there is nothing to open it asks for no key.)
        """
        if passphrase_from_environment() is None:
            return
        if self.config.salt or secrets_state_of(self._latest(), str(self.backend.path(self.name))):
            self.crypter().check()

    # The stack itself

    def exists(self) -> bool:
        """Whether the backend has it."""
        return self.backend.exists(self.name)

    def require(self) -> None:
        """Raise StackNotFound unless it exists."""
        if not self.exists():
            raise StackNotFound(self.name)

    def create(self) -> None:
        """Make it, empty."""
        self.backend.create(self.name)
        if passphrase_from_environment() is not None and not self.config.salt:
            self.crypter_for_writing()

    def remove(self, force: bool = False, keep_config: bool = False) -> None:
        """Remove it; BackendError while it still has resources, unless forced."""
        self.require()
        latest = self._latest() or {}
        if latest.get("resources") and not force:
            raise BackendError(
                f"'{self.name}' still has resources; removal rejected. Run `destroy` first, or pass --force"
            )
        self.backend.remove(self.name)
        if not keep_config and self.config.file.exists():
            self.config.file.unlink()

    def load(self, tolerate_missing: bool = False) -> tuple[Deployment, Sealer]:
        """The recorded deployment, opened. A missing stack is an empty one only where that is asked for."""
        if tolerate_missing and not self.exists():
            return Deployment(), Sealer(_StateCrypter(self, ""))
        latest = self.backend.read(self.name)["checkpoint"].get("latest")
        where = str(self.backend.path(self.name))
        sealer = Sealer(_StateCrypter(self, secrets_state_of(latest, where)))
        return load_deployment(latest, sealer, where), sealer

    def outputs(self) -> dict[str, Any]:
        """What the stack exports; secrets are `Secret`."""
        deployment, _ = self.load()
        return next((dict(s.outputs) for s in deployment.resources if s.type == STACK_TYPE and not s.delete), {})

    def export(self, show_secrets: bool = False) -> dict[str, Any]:
        """`{"version": …, "deployment": …}` as `pulumi stack export` prints it."""
        document = self.backend.read(self.name)
        latest = document["checkpoint"].get("latest") or {}
        if show_secrets:
            deployment, sealer = self.load()
            latest = {**latest, "resources": [_exposed(entry, sealer) for entry in latest.get("resources") or ()]}
            del deployment
        exported = {"version": document["version"], "deployment": latest}
        if document.get("features"):
            exported["features"] = document["features"]
        return exported

    def cancel(self) -> list[str]:
        """Remove every lock; returns what was removed."""
        self.require()
        return break_locks(self.backend.lock_folder(self.name))

    @contextlib.contextmanager
    def locked(self, notice: Callable[[str], None]) -> Iterator[None]:
        """Hold the stack against everybody else."""
        with stack_lock(self.backend.lock_folder(self.name), notice):
            yield

    # Operations

    def config_values(self) -> dict[str, ConfigValue]:
        """The configuration, opened (which needs the passphrase only where something is secret)."""
        if not self.config.has_secrets:
            return self.config.values(NoSecrets())
        return self.config.values(self.crypter())

    def begin(self, run_program: bool, preview: bool, early: Early | None = None) -> None:
        """Start what the next operation will wait for: its program, its plugins, the key of its secrets.

        An operation does so by itself; a command may do it before it loads what else it needs, and may have started
        the program already (`early`). `end` takes it back.
        """
        if self._early is not None:
            return
        self._early = early or Early(self.project)
        if run_program:
            self._early.start_program()
        latest = self._latest()
        self._early.start_plugins(self._packages(latest, run_program))
        salt = self.config.salt or secrets_state_of(latest, str(self.backend.path(self.name)))
        if salt and not (preview and self._opens_nothing(latest)):
            PassphraseCrypter(salt, passphrase_from_environment()).begin()

    def _opens_nothing(self, latest: Mapping[str, Any] | None) -> bool:
        """Whether there is neither a secret in the configuration nor a state that could hold one."""
        return not self.config.has_secrets and not (latest or {}).get("resources")

    def _packages(self, latest: Mapping[str, Any] | None, run_program: bool) -> list[str]:
        """The plugins a run will need: those the state's providers had; before there is a state, Pulumi.yaml's."""
        types = {entry.get("type", "") for entry in (latest or {}).get("resources") or ()}
        recorded = {package_of(type_) for type_ in types if is_provider_type(type_)}
        return sorted(recorded or (self.project.plugin_paths if run_program else ()))

    def end(self) -> None:
        """End what was begun and not used."""
        if self._early is not None:
            self._early.end()
            self._early = None

    def preview(self, events: Events, options: "Options", run: Runner) -> "Result":
        """Work out what an update would do. Writes nothing."""
        self.begin(options.run_program, preview=True)
        try:
            if not self._opens_nothing(self._latest()):
                self.check_passphrase()
            deployment, _ = self.load(tolerate_missing=True)
            return run(self._operation(deployment, events, None, options))
        finally:
            self.end()

    def _operation(
        self, deployment: Deployment, events: Events, snapshot: "SnapshotManager | None", options: "Options"
    ) -> "Operation":
        from pulumi_embedded._operation import Operation  # after `begin`: it loads while those processes do

        assert self._early is not None
        return Operation(
            self.project, self.name, deployment, self.config_values(), events, snapshot, options, self._early
        )

    def pending_creates(self) -> list[str]:
        """URNs of creations that a killed engine left: they may have happened or not."""
        return [p.resource.urn for p in self.load()[0].pending if p.type == "creating"]

    def update(
        self, kind: str, events: Events, options: "Options", run: Runner, changes: Callable[[], Mapping[str, int]],
        message: str = "", drop_creates: Collection[str] = (),
    ) -> "Result":  # fmt: skip
        """Do it; the state is kept true throughout. The caller holds the lock. `kind`: update, refresh or destroy."""
        self.begin(options.run_program, preview=False)
        try:
            return self._update(kind, events, options, run, changes, message, drop_creates)
        finally:
            self.end()

    def _update(
        self, kind: str, events: Events, options: "Options", run: Runner, changes: Callable[[], Mapping[str, int]],
        message: str, drop_creates: Collection[str],
    ) -> "Result":  # fmt: skip
        self.check_passphrase()
        deployment, sealer = self.load()
        if not options.refresh:
            self._warn_of_pending(deployment, events)
        if self.config.salt and not deployment.secrets_state:
            deployment.secrets_state = self.config.salt
        from pulumi_embedded._snapshot import SnapshotManager

        snapshot = SnapshotManager(
            self.backend, self.name, deployment, sealer, lambda: self.crypter_for_writing().state
        )
        snapshot.drop_pending_creates(drop_creates)
        operation = self._operation(deployment, events, snapshot, options)
        started = int(time.time())
        result: Result | None = None
        try:
            result = run(operation)
        finally:
            outcome = "succeeded" if result is not None and result.ok else "failed"
            self.backend.backup(self.name)
            self.backend.record(self.name, {
                "kind": kind, "startTime": started, "message": message,
                "environment": {"exec.kind": "pulumi_embedded"}, "config": self.config.history_form(), "version": 0,
                "result": outcome, "endTime": int(time.time()), "resourceChanges": dict(changes()),
            })  # fmt: skip
        return result

    def _warn_of_pending(self, deployment: Deployment, events: Events) -> None:
        if not deployment.pending:
            return
        lines = "".join(f"\n  * {p.resource.urn}, interrupted while {p.type}" for p in deployment.pending)
        events.diagnostic(
            "warning",
            "",
            f"Attempting to deploy or update resources with {len(deployment.pending)} pending operations from "
            f"previous deployment.{lines}\nThe engine was interrupted while these were under way, so they may have "
            f"happened or not: look at what the provider really has. A resource that was created and that the provider "
            f"does not find again by itself is declared with the option `import_`; `refresh --clear-pending-creates` "
            f"forgets the notes of interrupted creations.",
        )


def _exposed(entry: Mapping[str, Any], sealer: Sealer) -> dict[str, Any]:
    """An entry with its secrets' plaintext, as `--show-secrets` prints it."""
    from pulumi_embedded._wire import SECRET_SIG, SIG_KEY

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get(SIG_KEY) == SECRET_SIG and "ciphertext" in value:
                plaintext = sealer.crypter.decrypt(value["ciphertext"])
                return {SIG_KEY: SECRET_SIG, "plaintext": plaintext}
            return {key: walk(item) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item) for item in value]
        return value

    result: dict[str, Any] = walk(dict(entry))
    return result


def open_backend(project: Project) -> Backend:
    """The project's backend."""
    return Backend(backend_root(project), project.name)


def open_stack(name: str, cwd: Path | str = ".") -> Stack:
    """The stack of that name of the project at or above `cwd`; it need not exist."""
    project = load_project(Path(cwd))
    return Stack(project, open_backend(project), name)


def run_here(operation: "Operation") -> "Result":
    """Run an operation in an event loop of its own."""
    return asyncio.run(operation.run())


def plain_outputs(outputs: Mapping[str, Any]) -> str:
    """Outputs as JSON text with secrets shown: for whoever asked to see them."""
    return json.dumps({key: without_secrets(value) for key, value in outputs.items()}, indent=2)


__all__ = ["Stack", "open_backend", "open_stack", "run_here"]
