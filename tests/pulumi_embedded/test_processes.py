"""What happens to processes, locks and the state when something is killed, interrupted or missing."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pulumi_embedded.scenarios import fault
from tests.pulumi_embedded.support import STACK, Sandbox
from tests.pulumi_embedded.virtualenv import own_virtualenv

ONE = 'Thing("a", value=1)'
TWO = 'a = Thing("a", value=1)\nThing("b", value=a.url)'


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    """A project with an empty stack."""
    made = Sandbox(tmp_path / "sandbox", "embedded", own_virtualenv())
    made.init()
    return made


def _until(condition: Callable[[], bool], what: str, seconds: float = 25) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def _called(sandbox: Sandbox, rpc: str, name: str) -> bool:
    path = sandbox.cloud / "calls.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return any(line["rpc"] == rpc and line["name"] == name and not line["preview"] for line in lines)


def _processes_of(sandbox: Sandbox) -> Iterator[tuple[int, bytes, bytes]]:
    """(pid, arguments, environment) of everything that runs for this sandbox: it carries the sandbox's folder."""
    marker = str(sandbox.cloud).encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment, arguments = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if b"DEMO_STATE=" + marker in environment:
            yield int(entry.name), arguments, environment


def _end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    output, _ = process.communicate(timeout=30)
    return process.returncode, output


def _start_hanging(
    sandbox: Sandbox, program: str = ONE, name: str = "a", kind: str = "hang"
) -> "subprocess.Popen[str]":
    sandbox.program(program)
    sandbox.faults([fault("create", name, kind, seconds=60)])
    process = sandbox.start("up", "--stack", STACK, "--yes", "--skip-preview")
    _until(lambda: _called(sandbox, "create", name), f"the creation of {name}")
    return process


def test_a_killed_engine_leaves_no_process_and_a_state_to_go_on_from(sandbox: Sandbox) -> None:
    """kill -9 in the middle of a creation: children die, the pending operation is known, the next run goes on."""
    process = _start_hanging(sandbox, TWO, "b")
    process.kill()
    process.communicate()
    _until(lambda: not list(_processes_of(sandbox)), "the end of the plugin and the program")
    entries, pending = sandbox.state()
    assert [entry["urn"].split("::")[-1] for entry in entries] == ["shop-dev", "default", "a"]
    assert pending == [["creating", "b"]]
    sandbox.faults([])
    outcome = sandbox.outcome("up")
    assert outcome.exit == 0, outcome.output
    assert "removed the lock of a process that is gone" in outcome.output
    assert "b, interrupted while creating" in outcome.output
    assert outcome.pending == [["creating", "b"]]
    assert sandbox.outcome("refresh", "--clear-pending-creates").pending == []


def test_ctrl_c_cancels_what_runs_and_keeps_the_state(sandbox: Sandbox) -> None:
    """Once: the plugin is asked to give up, the state is written, the lock released, exit code 1."""
    process = _start_hanging(sandbox, TWO, "b")
    process.send_signal(signal.SIGINT)
    code, output = _end(process)
    assert code == 1, output
    assert "create of b was cancelled" in output
    assert "Traceback" not in output
    entries, pending = sandbox.state()
    assert len(entries) == 3
    assert pending == []
    assert not list(_processes_of(sandbox))
    assert not list((sandbox.root / "state").glob(".pulumi/locks/**/*.json"))


def test_ctrl_c_twice_kills(sandbox: Sandbox) -> None:
    """A plugin that does not give up is killed; the state then says what it was about to make, as the CLI's does."""
    process = _start_hanging(sandbox, kind="slow")
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    code, output = _end(process)
    assert code == 8, output
    assert not list(_processes_of(sandbox))
    assert sandbox.state()[1] == [["creating", "a"]]
    assert "cut off before the provider had answered" in output
    assert "Socket closed" not in output


def test_secrets_are_in_no_argument_and_no_environment(sandbox: Sandbox) -> None:
    """Configuration reaches the program through a pipe."""
    assert sandbox.run("config", "set", "--stack", STACK, "--secret", "key", "extremely-secret")[0] == 0
    program = 'c = pulumi.Config()\nThing("a", value=c.require_secret("key"))'
    process = _start_hanging(sandbox, program)
    try:
        seen = [(arguments, environment) for _, arguments, environment in _processes_of(sandbox)]
        assert len(seen) >= 3
        for arguments, environment in seen:
            assert b"extremely-secret" not in arguments + environment
            assert (b"PULUMI_CONFIG_PASSPHRASE" in environment) == (b"pulumi_embedded\0up" in arguments)
    finally:
        process.kill()
        process.communicate()


def test_a_program_that_is_killed_loses_nothing(sandbox: Sandbox) -> None:
    """The program's death is an error of the run; what was created stays known, nothing is deleted."""
    sandbox.program(TWO)
    assert sandbox.outcome("up").exit == 0
    killer = 'import os, signal\na = Thing("a", value=2)\na.url.apply(lambda _: os.kill(os.getpid(), signal.SIGKILL))'
    sandbox.program(killer)
    outcome = sandbox.outcome("up")
    assert outcome.exit == 1
    assert "the program exited with non-zero exit code: -9" in outcome.output
    assert len(outcome.state) == 4
    assert ["delete", "b"] not in outcome.ops


def test_a_lock_keeps_others_out_but_not_previews(sandbox: Sandbox) -> None:
    """The owner is named; preview takes no lock; cancel removes it."""
    process = _start_hanging(sandbox)
    try:
        code, output = sandbox.run("up", "--stack", STACK, "--yes")
        assert code == 1
        assert "the stack is currently locked by 1 lock(s)" in output
        assert f"(pid {process.pid})" in output
        assert sandbox.run("preview", "--stack", STACK)[0] == 0
        code, output = sandbox.run("cancel", "--stack", STACK, "--yes")
        assert code == 0, output
        assert not list((sandbox.root / "state").glob(".pulumi/locks/**/*.json"))
    finally:
        process.kill()
        process.communicate()


def test_another_hosts_lock_is_not_broken(sandbox: Sandbox) -> None:
    """Whether its owner lives cannot be known from here."""
    lock = sandbox.root / "state/.pulumi/locks/organization/shop/dev/x.json"
    lock.parent.mkdir(parents=True)
    content = {"pid": 1, "username": "u", "hostname": "elsewhere", "timestamp": "2026-01-01T00:00:00Z"}
    lock.write_text(json.dumps(content))
    code, output = sandbox.run("up", "--stack", STACK, "--yes")
    assert code == 1
    assert "created by u@elsewhere (pid 1) at 2026-01-01T00:00:00Z" in output
    assert lock.exists()


def test_a_plugin_that_does_not_start_is_shown(sandbox: Sandbox) -> None:
    """What it wrote before it failed is part of the error."""
    (sandbox.root / "plugin" / "__main__.py").write_text('import sys\nsys.exit("no such cloud today")\n')
    sandbox.program(ONE)
    code, output = sandbox.run("preview", "--stack", STACK)
    assert code == 1
    assert "the plugin 'demo' did not start: it ended with code 1" in output
    assert "no such cloud today" in output
    assert "Traceback" not in output


def test_a_missing_environment_names_the_remedy(sandbox: Sandbox) -> None:
    """Neither the plugin's nor the program's missing environment is a riddle."""
    sandbox.program(ONE)
    manifest = sandbox.root / "plugin" / "PulumiPlugin.yaml"
    manifest.write_text("runtime: {name: python, options: {toolchain: pip, virtualenv: gone}}\n")
    code, output = sandbox.run("preview", "--stack", STACK)
    assert code == 1
    assert "runtime.options.virtualenv: there is no Python environment at" in output
    assert "run `make setup`" in output
    project = sandbox.project / "Pulumi.yaml"
    project.write_text(project.read_text().replace("virtualenv: ", "virtualenv: nowhere/"))
    code, output = sandbox.run("preview", "--stack", STACK)
    assert code == 1
    assert "Pulumi.yaml: runtime.options.virtualenv: there is no Python environment at" in output


def test_a_plugin_on_path_is_found(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pulumi-resource-<name>` needs no entry in Pulumi.yaml; without it the error says what to do."""
    project = sandbox.project / "Pulumi.yaml"
    project.write_text("\n".join(line for line in project.read_text().splitlines() if not line.startswith("plugins")))
    sandbox.program(ONE)
    code, output = sandbox.run("preview", "--stack", STACK)
    assert code == 1
    assert "no resource plugin 'pulumi-resource-demo' found: name its folder in Pulumi.yaml" in output
    script = sandbox.root / "bin" / "pulumi-resource-demo"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {own_virtualenv()}/bin/python {sandbox.root}/plugin "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    assert sandbox.run("preview", "--stack", STACK)[0] == 0


def test_a_plugin_that_dies_in_a_call_is_named(sandbox: Sandbox) -> None:
    """Not a broken connection, but who broke it."""
    sandbox.program(ONE)
    sandbox.faults([fault("create", "a", "exit")])
    outcome = sandbox.outcome("up")
    assert outcome.exit == 1
    assert "the plugin 'demo' ended with code 3 during the call" in outcome.output
