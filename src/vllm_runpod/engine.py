"""Which Pulumi engine runs the program, and with what environment.

The `pulumi` on PATH when there is one, else `pulumi_embedded`; both as a child process with the same flags. For stack
`local` the child's environment is closed: its state goes to the file backend in the clone, its key is the emulator's
own, and a left-over RUNPOD_API_BASE_URL cannot send it to the paid cloud.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redaction import redact, register_secret
from vllm_runpod.errors import CommandError, EngineFailed
from vllm_runpod.project import LOCAL_STACK, Project

LOCAL_PASSPHRASE = "local"  # noqa: S105 - documented: the local state holds nothing but the emulator's secrets
"""Passphrase of stack `local` when the user has set none: its state belongs to an emulator on this machine."""

STDERR = 2


@dataclass(frozen=True)
class Engine:
    """A command that takes the Pulumi CLI's arguments."""

    command: tuple[str, ...]
    name: str
    embedded: bool


def choose_engine() -> Engine:
    """`pulumi` from PATH, else the embedded engine."""
    found = shutil.which("pulumi")
    return Engine((found,), "pulumi", embedded=False) if found else _embedded()


def engine_for_preview(project: Project, stack: str, chosen: Engine) -> Engine:
    """The engine that can show the stack's plan and change nothing.

    The CLI shows none for a stack that does not exist yet: it would first have to make it, for which it wants a
    passphrase and writes a salt into the stack file. The embedded engine starts from an empty state.
    """
    own_backend = os.environ.get("PULUMI_BACKEND_URL", "")
    if chosen.embedded or stack_exists(project, stack, chosen):
        return chosen
    if own_backend and not own_backend.startswith("file://") and stack != LOCAL_STACK:
        ensure_stack(project, stack, chosen)  # The embedded engine cannot read that backend.
        return chosen
    return _embedded()


def _embedded() -> Engine:
    return Engine((sys.executable, "-m", "pulumi_embedded"), "pulumi_embedded", embedded=True)


def environment(project: Project, stack: str) -> dict[str, str]:
    """The environment of the engine's process for `stack`."""
    env = dict(os.environ)
    env["PULUMI_SKIP_UPDATE_CHECK"] = "true"
    if env.get("RUNPOD_API_KEY"):
        register_secret(env["RUNPOD_API_KEY"])
    if stack != LOCAL_STACK:
        return env
    for name in ("RUNPOD_API_BASE_URL", "RUNPOD_ENDPOINT_BASE_URL", "RUNPOD_API_KEY", "PULUMI_ACCESS_TOKEN"):
        env.pop(name, None)
    project.backend.mkdir(parents=True, exist_ok=True)
    env["PULUMI_BACKEND_URL"] = f"file://{project.backend}"
    env["PULUMI_HOME"] = str(project.local / "pulumi-home")
    if "PULUMI_CONFIG_PASSPHRASE" not in env and "PULUMI_CONFIG_PASSPHRASE_FILE" not in env:
        env["PULUMI_CONFIG_PASSPHRASE"] = LOCAL_PASSPHRASE
    return env


def run(
    project: Project, stack: str, arguments: Sequence[str], engine: Engine | None = None, *, to_stderr: bool = False
) -> None:
    """Run one engine command in the user's terminal. Raises EngineFailed.

    `to_stderr` keeps stdout free for the document that a script waits for.
    """
    engine = engine or choose_engine()
    code = _call(engine, project, stack, arguments, to_stderr=to_stderr)
    if code:
        raise EngineFailed(f"{engine.name} {arguments[0]}", code)


def run_json(project: Project, stack: str, arguments: Sequence[str], engine: Engine | None = None) -> Any:
    """Run one engine command that prints JSON and return it. Raises EngineFailed with its error lines."""
    engine = engine or choose_engine()
    done = subprocess.run(
        _command(engine, project, stack, arguments),
        cwd=project.root,
        env=environment(project, stack),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        print(redact(done.stderr or done.stdout).strip(), file=sys.stderr)
        raise EngineFailed(f"{engine.name} {arguments[0]}", done.returncode)
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        raise CommandError(
            f"`{engine.name} {' '.join(arguments)}` did not print JSON: {redact(done.stdout[:200])}"
        ) from error


def stack_exists(project: Project, stack: str, engine: Engine) -> bool:
    """Whether the stack is in its backend."""
    listed = run_json(project, stack, ("stack", "ls", "--json"), engine)
    return stack in {str(entry.get("name", "")).rsplit("/", 1)[-1] for entry in listed}


def ensure_stack(project: Project, stack: str, engine: Engine) -> None:
    """Create the stack in its backend when it is not there yet."""
    if not stack_exists(project, stack, engine):
        done = subprocess.run(
            [*engine.command, "--cwd", str(project.root), "--non-interactive", "stack", "init", stack],
            cwd=project.root,
            env=environment(project, stack),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            print(redact(done.stderr or done.stdout).strip(), file=sys.stderr)
            raise EngineFailed(f"{engine.name} stack init {stack}", done.returncode)


def outputs(project: Project, stack: str, engine: Engine) -> dict[str, Any]:
    """The stack's outputs, secrets masked."""
    result = run_json(project, stack, ("stack", "output", "--json"), engine)
    return dict(result) if isinstance(result, dict) else {}


def _command(
    engine: Engine, project: Project, stack: str, arguments: Sequence[str], *, interactive: bool = False
) -> list[str]:
    scope = [] if tuple(arguments[:2]) == ("stack", "ls") else ["--stack", stack]
    mode = [] if interactive else ["--non-interactive"]
    return [*engine.command, "--cwd", str(project.root), *mode, *arguments, *scope]


def _may_be_interactive(engine: Engine, env: dict[str, str]) -> bool:
    """Whether the engine may treat the terminal as one (rows that update); it finds out itself whether stdout is one.

    Not where the CLI would ask for a passphrase: the commands after this one have nobody to ask.
    """
    known = "PULUMI_CONFIG_PASSPHRASE" in env or "PULUMI_CONFIG_PASSPHRASE_FILE" in env
    return sys.stdin is not None and sys.stdin.isatty() and (engine.embedded or known)


def _call(engine: Engine, project: Project, stack: str, arguments: Sequence[str], *, to_stderr: bool) -> int:
    """Run in the foreground. On Ctrl-C wait until the engine has ended its steps and written its state, then go on
    with the interruption; the terminal sends the signal to the engine too, and a second one makes it stop at once.
    """
    env = environment(project, stack)
    child = subprocess.Popen(
        _command(engine, project, stack, arguments, interactive=_may_be_interactive(engine, env)),
        cwd=project.root,
        env=env,
        stdout=STDERR if to_stderr else None,
    )
    interrupted = False
    while True:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            interrupted = True
            continue
        if interrupted:
            raise KeyboardInterrupt
        return code
