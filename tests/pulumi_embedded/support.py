"""A sandbox for both engines: a project, the demo plugin, a file backend, and what a command left behind.

The same acts are carried out by `pulumi_embedded` and by the pulumi CLI; what can be compared is compared (operations,
provider calls, final state, exit code), what differs by nature (ids, times, ciphertexts, source positions) is given
names in order of appearance or left out.
"""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pulumi_embedded._crypto import PassphraseCrypter
from pulumi_embedded._state import ResourceState, resource_from_json, resource_to_json
from pulumi_embedded._statejson import NoSecrets, Sealer
from pulumi_embedded._values import Secret, rebuild

HERE = Path(__file__).parent
PROVIDER = HERE / "provider" / "demo_provider.py"
PASSPHRASE = "correct horse"
PROJECT, STACK = "shop", "dev"

# `<name>-<8 hex digits>` of the demo cloud, and version 4 UUIDs of providers
_RANDOM = re.compile(r"\b(?:([a-z]\w*)-[0-9a-f]{8}|[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12})\b")

PRELUDE = '''
import pulumi
from pulumi import ResourceOptions as O

class Thing(pulumi.CustomResource):
    """A resource of the demo provider."""
    def __init__(self, name, opts=None, typ="demo:index:Thing", **props):
        super().__init__(typ, name, {"serial": None, "url": None, **props}, opts)

class Plain(Thing):
    """One whose provider leaves the diff to the engine."""
    def __init__(self, name, opts=None, **props):
        super().__init__(name, opts, "demo:index:Plain", **props)

class Group(pulumi.ComponentResource):
    """A component."""
    def __init__(self, name, opts=None, typ="demo:index:Group", **props):
        super().__init__(typ, name, props, opts)

class Demo(pulumi.ProviderResource):
    """An explicit provider."""
    def __init__(self, name, opts=None, **props):
        super().__init__("demo", name, props, opts)
'''


@dataclass(frozen=True)
class Act:
    """One command, and what happens before it: the program, faults, changes behind the engine's back, configuration."""

    run: str
    program: str | None = None
    flags: Sequence[str] = ()
    faults: Sequence[Mapping[str, Any]] = ()
    cloud: Mapping[str, Any] = field(default_factory=dict)
    """name -> None (deleted behind our back), or inputs to lay over"""
    config: Mapping[str, str] = field(default_factory=dict)
    """key -> value; a value starting with `secret:` is set as a secret"""
    pending: Sequence[tuple[str, str]] = ()
    """(operation, name): what a killed engine left in the state"""
    interrupt: tuple[str, str, int] | None = None
    """(call, name, how often): Ctrl-C once the provider got the call; a second time when the first was noticed"""


@dataclass(frozen=True)
class Outcome:
    """What one command did."""

    exit: int
    ops: list[list[str]]
    calls: list[list[str]]
    state: list[Any]
    pending: list[list[str]]
    output: str

    def comparable(self, ordered: bool) -> dict[str, Any]:
        """As plain JSON; unordered where the order is a matter of luck."""
        data: dict[str, Any] = {"exit": self.exit, "ops": self.ops, "calls": self.calls, "state": self.state,
                                "pending": self.pending}  # fmt: skip
        if not ordered:
            data["ops"], data["calls"] = sorted(self.ops), sorted(self.calls)
            data["state"] = sorted(self.state, key=lambda r: (r["urn"], r.get("delete", False), str(r.get("id"))))
        return data


class Sandbox:
    """One project in a folder of its own. `engine` is `embedded` or `cli`."""

    def __init__(self, root: Path, engine: str, virtualenv: Path) -> None:
        self.root = root
        self.engine = engine
        self.virtualenv = virtualenv
        self.project = root / "project"
        self.cloud = root / "cloud"
        self._names: dict[str, str] = {}
        self._calls_seen = 0
        self._sealer: Sealer | None = None
        plugin = root / "plugin"
        for folder in (self.project, self.cloud, plugin, root / "state", root / "home"):
            folder.mkdir(parents=True)
        (plugin / "PulumiPlugin.yaml").write_text(_runtime(virtualenv, plugin))
        (plugin / "__main__.py").write_text(f"import runpy\nrunpy.run_path({str(PROVIDER)!r}, run_name='__main__')\n")
        (self.project / "Pulumi.yaml").write_text(
            f"name: {PROJECT}\n"
            f"{_runtime(virtualenv, self.project)}"
            f'backend: {{url: "file://{root}/state"}}\n'
            "plugins: {providers: [{name: demo, path: ../plugin}]}\n"
        )
        self.program("")

    # Preparing

    def program(self, body: str) -> None:
        """Set the program."""
        (self.project / "__main__.py").write_text(PRELUDE + _dedent(body))

    def faults(self, faults: Sequence[Mapping[str, Any]]) -> None:
        """Set what the provider will do wrong."""
        (self.cloud / "faults.json").write_text(json.dumps(list(faults)))

    def things(self) -> dict[str, Any]:
        """What the demo cloud holds, by id."""
        path = self.cloud / "cloud.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def change_cloud(self, changes: Mapping[str, Any]) -> None:
        """Change things behind the engine's back, by name."""
        things = self.things()
        for id_ in list(things):
            name = things[id_]["name"]
            if name in changes:
                if changes[name] is None:
                    del things[id_]
                else:
                    things[id_]["inputs"].update(changes[name])
        for name, inputs in changes.items():
            if name.startswith("+"):
                things[name[1:]] = {"name": name[1:], "inputs": inputs, "serial": 1}
        (self.cloud / "cloud.json").write_text(json.dumps(things))

    # Running

    @property
    def env(self) -> dict[str, str]:
        """The environment of both engines."""
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith("PULUMI_") and k != "PYTHONPATH"},
            "DEMO_STATE": str(self.cloud),
            "PULUMI_CONFIG_PASSPHRASE": PASSPHRASE,
            "PULUMI_HOME": str(self.root / "home"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DEBUG_COMMANDS": "true",
            "NO_COLOR": "1",
        }

    def run(self, *arguments: str) -> tuple[int, str]:
        """One command of this sandbox's engine: exit code and everything it printed."""
        if self.engine == "cli":
            done = subprocess.run(
                self.command(*arguments), cwd=self.project, env=self.env, capture_output=True, text=True, timeout=90,
            )  # fmt: skip
            return done.returncode, done.stdout + done.stderr
        return run_here(self, arguments)

    def command(self, *arguments: str) -> list[str]:
        """The command line of this sandbox's engine, for a process of its own."""
        if self.engine == "cli":
            return ["pulumi", "--non-interactive", "--color", "never", *arguments]
        return [sys.executable, "-m", "pulumi_embedded", *arguments]

    @property
    def process_env(self) -> dict[str, str]:
        """The environment of such a process."""
        return self.env if self.engine == "cli" else {**self.env, "PYTHONPATH": str(HERE.parents[1] / "src")}

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start the engine as a process of its own (to be killed, or sent signals)."""
        return subprocess.Popen(
            self.command(*arguments), cwd=self.project, env=self.process_env, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def _interrupted(self, process: "subprocess.Popen[str]", rpc: str, name: str, times: int) -> tuple[int, str]:
        """Send Ctrl-C when the provider has got a call; a second one when it was asked to give up."""
        for call, subject in [(rpc, name), ("cancel", "")][:times]:
            end = time.monotonic() + 30
            while not self._was_called(call, subject):
                assert time.monotonic() < end, f"no {call} of {subject} came"
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def _was_called(self, rpc: str, name: str) -> bool:
        path = self.cloud / "calls.jsonl"
        lines = path.read_text().splitlines()[self._calls_seen :] if path.exists() else []
        calls = [json.loads(line) for line in lines]
        return any((call["rpc"], call["name"], call["preview"]) == (rpc, name, False) for call in calls)

    def init(self) -> None:
        """Make the stack."""
        code, output = self.run("stack", "init", STACK)
        assert code == 0, output

    def another(self, root: Path) -> "Sandbox":
        """A sandbox of the same engine in the same environment."""
        return Sandbox(root, self.engine, self.virtualenv)

    def init_like(self, made: "Sandbox") -> None:
        """Take a copy of another sandbox's new stack: the passphrase's key, a quarter of a second, is known then."""
        shutil.copytree(made.root / "state", self.root / "state", dirs_exist_ok=True)
        shutil.copyfile(made.project / f"Pulumi.{STACK}.yaml", self.project / f"Pulumi.{STACK}.yaml")

    def prepare(self, act: Act) -> None:
        """What happens before an act's command."""
        if act.program is not None:
            self.program(act.program)
        self.faults(act.faults)
        if act.cloud:
            self.change_cloud(act.cloud)
        for key, value in act.config.items():
            secret = value.startswith("secret:")
            flags = ["--secret"] if secret else []
            code, output = self.run("config", "set", "--stack", STACK, *flags, key, value.removeprefix("secret:"))
            assert code == 0, output
        if act.pending:
            self.leave_pending(act.pending)

    def act(self, act: Act) -> Outcome:
        """Carry out one act."""
        self.prepare(act)
        return self.outcome(act.run, *act.flags, interrupt=act.interrupt)

    def leave_pending(self, operations: Sequence[tuple[str, str]]) -> None:
        """Write operations into the state as a killed engine leaves them."""
        document = json.loads(self.state_file.read_text())
        latest = document["checkpoint"]["latest"]
        known = {entry["urn"].split("::")[-1]: entry for entry in latest["resources"]}
        template = next(entry for entry in latest["resources"] if entry["type"] == "demo:index:Thing")
        pending = []
        for type_, name in operations:
            resource = known.get(name) or {
                **{
                    key: value for key, value in template.items() if key not in ("id", "outputs", "created", "modified")
                },
                "urn": "::".join([*template["urn"].split("::")[:-1], name]),
            }
            pending.append({"resource": resource, "type": type_})
        latest["pending_operations"] = pending
        self.state_file.write_text(json.dumps(document))

    def outcome(self, command: str, *flags: str, interrupt: tuple[str, str, int] | None = None) -> Outcome:
        """Run an operation, and collect what it did."""
        log = self.root / "events.json"
        log.unlink(missing_ok=True)
        given = [] if command == "preview" else ["--yes"]
        if command != "preview" and "--preview-only" not in flags:
            given.append("--skip-preview")
        events = [] if command == "preview" and self.engine == "cli" else ["--event-log", str(log)]
        if command == "preview" and self.engine == "cli":
            code, output = self.run(command, "--stack", STACK, "--json", *given, *flags)
        elif interrupt is not None:
            process = self.start(command, "--stack", STACK, *given, *events, *flags)
            code, output = self._interrupted(process, *interrupt)
        else:
            code, output = self.run(command, "--stack", STACK, *given, *events, *flags)
        return Outcome(code, self._ops(log), self._calls(), *self.state(), output)

    # What is left behind

    def _ops(self, log: Path) -> list[list[str]]:
        ops = []
        for line in log.read_text().splitlines() if log.exists() else ():
            event = json.loads(line)
            metadata = (event.get("resourcePreEvent") or {}).get("metadata")
            if metadata and not _internal(metadata["urn"]):
                ops.append([metadata["op"], metadata["urn"].split("::")[-1]])
        return ops

    def _calls(self) -> list[list[str]]:
        path = self.cloud / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        new, self._calls_seen = lines[self._calls_seen :], len(lines)
        calls = [json.loads(line) for line in new]
        return [
            [call["rpc"] + (" (preview)" if call["preview"] else "") + (" (unknowns)" if call.get("unknowns") else ""),
             call["name"], *([str(call["timeout"])] if call.get("timeout") else [])]
            for call in calls if call["rpc"] not in ("configure", "cancel")
        ]  # fmt: skip

    @property
    def state_file(self) -> Path:
        """The stack's file."""
        return self.root / "state" / ".pulumi" / "stacks" / PROJECT / f"{STACK}.json"

    def raw_state(self) -> dict[str, Any]:
        """The checkpoint's deployment."""
        return dict(json.loads(self.state_file.read_text())["checkpoint"].get("latest") or {})

    def resources(self) -> list[ResourceState]:
        """The state's entries, opened."""
        latest = self.raw_state()
        salt = (latest.get("secrets_providers") or {}).get("state", {}).get("salt", "v1:AAAAAAAAAAA=:none")
        sealer = Sealer(PassphraseCrypter(salt, PASSPHRASE))
        return [resource_from_json(entry, sealer) for entry in latest.get("resources") or ()]

    def state(self) -> tuple[list[Any], list[list[str]]]:
        """The state's entries in comparable form, and the pending operations."""
        if not self.state_file.exists():
            return [], []
        entries = []
        for state in self.resources():
            for part in ("inputs", "outputs"):
                blind = rebuild(getattr(state, part), lambda v: {"secret": v.value} if isinstance(v, Secret) else v)
                setattr(state, part, blind)
            state.created = state.modified = state.source_position = ""
            state.stack_trace = []
            state.dependencies = sorted(state.dependencies)
            entries.append(json.loads(self.named(json.dumps(resource_to_json(state, _PLAIN)))))
        pending = [
            [entry["type"], entry["resource"]["urn"].split("::")[-1]]
            for entry in self.raw_state().get("pending_operations") or ()
        ]
        return entries, pending

    def named(self, text: str) -> str:
        """Random ids by names, in order of appearance."""

        def name(match: re.Match[str]) -> str:
            found = match[0]
            if found not in self._names:
                prefix = match[1] or "uuid"
                count = sum(1 for known in self._names.values() if known.startswith(f"{prefix}#"))
                self._names[found] = f"{prefix}#{count + 1}"
            return self._names[found]

        return re.sub(
            r"\b(?:([a-z]\w*)-[0-9a-f]{8}|[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12})\b", name, text
        )

    def hand_over_to(self, engine: str) -> None:
        """Let the other engine go on with what is here."""
        self.engine = engine


_PLAIN = Sealer(NoSecrets())


def _internal(urn: str) -> bool:
    return "::pulumi:providers:" in urn and urn.split("::")[-1].startswith("default")


def _runtime(virtualenv: Path, start: Path) -> str:
    place = json.dumps(os.path.relpath(virtualenv, start))
    return f"runtime: {{name: python, options: {{toolchain: pip, virtualenv: {place}}}}}\n"


def _dedent(text: str) -> str:
    lines = text.strip("\n").splitlines()
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[indent:] for line in lines) + "\n"


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    saved = dict(os.environ)
    os.environ.clear()
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def run_here(sandbox: Sandbox, arguments: Sequence[str]) -> tuple[int, str]:
    """A command of pulumi_embedded in this process (half a second less than in one of its own)."""
    from pulumi_embedded._cli import main

    out = io.StringIO()
    with _environment(sandbox.env), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main(["--cwd", str(sandbox.project), "--non-interactive", *arguments])
    return code, out.getvalue()


def has_cli() -> bool:
    """Whether the pulumi CLI, with its Python host, is on PATH."""
    return shutil.which("pulumi") is not None and shutil.which("pulumi-language-python") is not None
