"""Every secret of a deployment, searched for everywhere it must not be.

The deployment has all there are: the emulator's key, the worker's key, a registry password, a Hugging Face token, a
secret variable of the worker, a passphrase of the user's own, and a left-over RUNPOD_API_KEY of the paid cloud.
"""

import contextlib
import re
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests.e2e.stand_in import MISSING, StandIn, ended, make_stand_in
from tests.e2e.support import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.skipif(bool(MISSING), reason=MISSING)]

PASSPHRASE = "passphrase-Zq81-of-the-user"
GIVEN = {
    "registry password": "registry-Xw27-password",
    "HF token": "hf_Kd93TokenOfTheTest",
    "secret variable": "variable-Pm55-secret",
    "passphrase": PASSPHRASE,
    "RUNPOD_API_KEY": "rpa_Vb64KeyOfThePaidCloud",
}
USER = {"PULUMI_CONFIG_PASSPHRASE": PASSPHRASE, "RUNPOD_API_KEY": GIVEN["RUNPOD_API_KEY"]}

MAY_HOLD = {
    ("registry password", "control_registries"),  # an image is pulled with it; only a record of it can be sent
    ("HF token", "control_endpoints"),  # the endpoint's and the template's environment, which every worker gets
    ("HF token", "control_templates"),
    ("HF token", "control_releases"),  # RunPod's releases list what changed, the environment with its values
    ("secret variable", "control_endpoints"),
    ("secret variable", "control_templates"),
    ("secret variable", "control_releases"),
}
"""Who may hold what in the emulator's database (0600 in a folder of 0700). It stands for RunPod's own store."""


@dataclass
class Deployment:
    """A deployed stand-in, what was printed on the way, and which command lines were seen meanwhile."""

    stand_in: StandIn
    secrets: dict[str, str]
    printed: list[str] = field(default_factory=list)
    command_lines: set[bytes] = field(default_factory=set)

    def run(self, *arguments: str, check: bool = True, **env: str) -> str:
        done = self.stand_in.clone.run(*arguments, check=check, timeout=120, **{**USER, **env})
        self.printed += [done.stdout, done.stderr]
        return done.stdout + done.stderr

    def engine(self, *arguments: str, stdin: str = "", code: int = 0, **env: str) -> str:
        root = self.stand_in.clone.root
        home = {"PULUMI_BACKEND_URL": f"file://{root}/.local/pulumi", "PULUMI_HOME": f"{root}/.local/pulumi-home"}
        done = subprocess.run(
            [sys.executable, "-m", "pulumi_embedded", "--cwd", str(root), "--non-interactive", *arguments],
            cwd=root,
            env=environment(**{**USER, **home, **env}),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        self.printed += [done.stdout, done.stderr]
        return done.stdout + done.stderr

    def found_in(self, content: bytes) -> set[str]:
        """Names of the secrets that stand in `content`."""
        return {name for name, value in self.secrets.items() if value.encode() in content}

    def watch(self, stop: threading.Event) -> None:
        """Note every command line of the machine until told to stop."""
        while not stop.wait(0.1):
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    try:
                        self.command_lines.add((entry / "cmdline").read_bytes())
                    except OSError:
                        continue


def worker_key(stand_in: StandIn) -> str:
    """The key with which the worker of the moment fetches jobs; each worker has its own."""
    environ = Path(f"/proc/{stand_in.worker().pid}/environ").read_bytes().split(b"\0")
    return dict(entry.partition(b"=")[::2] for entry in environ)[b"RUNPOD_AI_API_KEY"].decode()


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Deployed with all secrets, every process of the machine watched."""
    stand_in = make_stand_in(tmp_path_factory.mktemp("secrets"))
    made = Deployment(stand_in, dict(GIVEN))
    path = stand_in.clone.root / "Pulumi.local.yaml"
    kept = [line for line in path.read_text().splitlines() if not line.startswith("encryptionsalt")]
    path.write_text("\n".join([*kept, "  vllm-runpod:registryUsername: nobody", ""]))
    with ended(stand_in.clone, **USER):
        made.engine("stack", "init", "local")
        for key, name in (("registryPassword", "registry password"), ("hfToken", "HF token")):
            made.engine("config", "set", "--secret", f"vllm-runpod:{key}", "--stack", "local", stdin=GIVEN[name])
        made.engine(
            "config", "set", "--secret", "vllm-runpod:scratch", "--stack", "local", stdin=GIVEN["secret variable"]
        )
        # Where `pulumi config set --secret --path vllm-runpod:env.MY_SETTING` puts it.
        document = yaml.safe_load(path.read_text())
        document["config"]["vllm-runpod:env"] = {"MY_SETTING": document["config"].pop("vllm-runpod:scratch")}
        path.write_text(yaml.safe_dump(document))
        stop = threading.Event()
        watcher = threading.Thread(target=made.watch, args=(stop,))
        watcher.start()
        try:
            made.run("up")
            made.secrets["emulator key"] = stand_in.clone.key
            made.secrets["first worker's key"] = worker_key(stand_in)
            made.run("refresh", "--yes")
            stand_in.clone.edit("Pulumi.local.yaml", "maxModelLen: '2048'", "maxModelLen: '1024'")
            made.run("preview")
            made.run("preview", "--diff")
            made.run("preview", "--json")
            made.run("up", "--json")
            made.secrets["worker key"] = worker_key(stand_in)
            made.run("ask", "--json", "hello")
            made.engine("stack", "output", "--json", "--stack", "local")
            made.engine("config", "--stack", "local")
        finally:
            stop.set()
            watcher.join()
        yield made


def test_the_search_would_find_them(deployment: Deployment) -> None:
    """The worker has what it needs, so the secrets were really on their way; none is like another."""
    worker = Path(f"/proc/{deployment.stand_in.worker().pid}/environ").read_bytes()
    assert deployment.found_in(worker) == {"HF token", "secret variable", "worker key"}
    assert len(set(deployment.secrets.values())) == 8
    assert deployment.found_in((deployment.stand_in.clone.root / ".local/emulator/api-key").read_bytes())
    assert any(b"pulumi_embedded" in line for line in deployment.command_lines)
    assert any(b"vllm_worker" in line for line in deployment.command_lines)


def test_no_file_holds_one(deployment: Deployment) -> None:
    """State, its backups and history, locks, logs of emulator and workers, lock file, caches: none but two files."""
    root = deployment.stand_in.clone.root
    holders: dict[str, set[str]] = {}
    looked_at = set()
    for path in root.rglob("*"):
        relative = path.relative_to(root).as_posix()
        own = not path.is_symlink() and path.is_file()
        # Caches and images hold what was baked before there were secrets, tests name them.
        if own and not relative.startswith((".local/envs", ".local/emulator/cache", ".local/images", "tests/")):
            looked_at.add(relative)
            if found := deployment.found_in(path.read_bytes()):
                holders[relative] = found
    assert holders.pop(".local/emulator/api-key") == {"emulator key"}
    database = {name for name, _ in MAY_HOLD}
    for name in [name for name in holders if name.startswith(".local/emulator/emulator.sqlite3")]:
        assert holders.pop(name) <= database
    assert holders == {}
    for part in ("pulumi/.pulumi/stacks", "pulumi/.pulumi/history", "emulator/workers", "emulator.log", "weights.lock"):
        assert any(name.startswith(f".local/{part}") for name in looked_at), f"nothing was looked at in {part}"


def test_only_the_tables_that_need_them_hold_them(deployment: Deployment) -> None:
    """Not the jobs, and no key of emulator or worker anywhere."""
    state = deployment.stand_in.clone.root / ".local/emulator"
    assert state.stat().st_mode & 0o077 == 0
    assert (state / "emulator.sqlite3").stat().st_mode & 0o077 == 0
    held = set()
    connection = sqlite3.connect(f"file:{state / 'emulator.sqlite3'}?mode=ro", uri=True)
    try:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert {"jobs", "control_releases"} <= set(tables)
        for table in tables:
            for row in connection.execute(f"SELECT * FROM {table}"):
                held |= {(name, table) for name in deployment.found_in(repr(tuple(row)).encode())}
    finally:
        connection.close()
    assert held <= MAY_HOLD
    assert ("registry password", "control_registries") in held


def test_no_command_line_holds_one(deployment: Deployment) -> None:
    """Any user of a machine can read them: all of this machine's, ten times a second, from the first `up` on."""
    assert [line for line in deployment.command_lines if deployment.found_in(line)] == []


def test_no_worker_sees_what_is_not_its_own(deployment: Deployment) -> None:
    """Neither the user's passphrase and cloud key nor the emulator's key or the registry's password."""
    for process in deployment.stand_in.worker_processes():
        found = deployment.found_in(Path(f"/proc/{process.pid}/environ").read_bytes())
        assert found <= {"HF token", "secret variable", "worker key"}, process


def test_nothing_that_was_printed_holds_one(deployment: Deployment) -> None:
    """Engine and command line: plans in all three forms, progress, outputs, configuration, answers."""
    everything = "\n".join(deployment.printed)
    assert deployment.found_in(everything.encode()) == set()
    assert "[secret]" in everything, "the plan names the secret properties"


def test_the_workers_logs_over_the_api_hold_none(deployment: Deployment) -> None:
    """What `up` shows of a failed worker comes from there."""
    stand_in = deployment.stand_in
    endpoint = stand_in.endpoint["id"]
    for worker in stand_in.workers():
        request = urllib.request.Request(
            f"{stand_in.clone.url}/v2/serverless/{endpoint}/workers/{worker['id']}/logs?tail=2000",
            headers={"Authorization": f"Bearer {stand_in.clone.key}"},
        )
        lines = []
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        # The stream of a running worker never ends.
        with opener.open(request, timeout=1) as stream, contextlib.suppress(TimeoutError):
            for line in stream:
                lines.append(line)  # what came before the time-out counts
        assert len(lines) > 10
        assert deployment.found_in(b"".join(lines)) == set()


def test_no_error_holds_one(deployment: Deployment) -> None:
    """A wrong passphrase, a refused key, a registry that cannot be reached, a worker that ends at its start."""
    clone = deployment.stand_in.clone
    wrong = deployment.run("up", "--no-ask", check=False, PULUMI_CONFIG_PASSPHRASE="something else")
    assert re.search("passphrase", wrong)
    path = clone.root / "Pulumi.local.yaml"
    text = path.read_text()
    path.write_text(text.replace("vllm-runpod:maxNumSeqs", "vllm-runpod:maxNumSeq"))
    assert "maxNumSeq" in deployment.run("preview", check=False)
    path.write_text(text)
    key_file = clone.root / ".local/emulator/api-key"
    key = key_file.read_text()
    key_file.write_text("rpa_" + "x" * 40)
    try:
        refused = deployment.run("refresh", "--yes", check=False)
    finally:
        key_file.write_text(key)
    assert "401" in refused or "key" in refused
    for word in (wrong, refused):
        assert deployment.found_in(word.encode()) == set()
    everything = "\n".join(deployment.printed)
    assert "Traceback" not in everything
    assert deployment.found_in(everything.encode()) == set()
