"""The main job with real vLLM: bake, deploy, ask, change, drift, kill, down."""

import json
import os
import re
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support import ROOT, Clone, Process, make_clone, processes_under, tree

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(900)]

QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."

needs_environments = pytest.mark.skipif(
    not (ROOT / ".local/envs/vllm/bin/python").exists() or not (ROOT / ".local/models/smollm2-135m-instruct").is_dir(),
    reason="vLLM's environment or the local model is not set up: `make setup-all`",
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A deployed copy of the project, ended after the last test."""
    made = make_clone(tmp_path_factory.mktemp("main-job"))
    try:
        yield made
    finally:
        made.run("down", "--yes", check=False)
        left = processes_under(made.root)
        for line in left:
            os.kill(int(line.split()[0]), signal.SIGKILL)
        assert not left


def api(clone: Clone, method: str, path: str, body: Any = None) -> Any:
    """One call behind the program's back."""
    request = urllib.request.Request(
        clone.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {clone.key}", "Content-Type": "application/json", "User-Agent": "tests"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as answer:
        return json.loads(answer.read() or b"null")


def endpoint(clone: Clone) -> dict[str, Any]:
    (found,) = api(clone, "GET", "/v2/serverless")["endpoints"]
    return dict(found)


def only_worker(clone: Clone) -> Process:
    """The worker's own process, as the emulator started it, and not what it forked."""
    pid = json.loads(urllib.request.urlopen(clone.url + "/_emulator/status", timeout=5).read())["pid"]
    found = [process for process in tree(pid) if process.command[1:] == ("-m", "vllm_worker")]
    return min(found, key=lambda process: (process.started, process.pid))


def model_of(process: Process) -> str:
    """The model that a server was told to load; empty for any other process."""
    return next((word.partition("=")[2] for word in process.command if word.startswith("--model=")), "")


@needs_environments
def test_up_answers_from_the_baked_image(clone: Clone) -> None:
    """`up` bakes, deploys and prints what real vLLM says, and a table of where the time went."""
    done = clone.run("up")
    assert ANSWER in done.stdout
    assert "where the time went" in done.stderr
    assert "tokens per second" in done.stderr


@needs_environments
def test_up_again_changes_nothing(clone: Clone) -> None:
    """A second `up` finds everything as declared."""
    preview = json.loads(clone.run("preview", "--json").stdout)
    assert set(preview["changeSummary"]) == {"same"}
    done = clone.run("up")
    assert ANSWER in done.stdout
    assert ANSWER in clone.run("ask", QUESTION).stdout


@needs_environments
def test_the_weights_are_the_images(clone: Clone) -> None:
    """vLLM's root holds the model that it was told to load, and none of the host's (see test_weights_source.py)."""
    (server, *_) = [process for process in tree(only_worker(clone).pid) if model_of(process)]
    root = Path(f"/proc/{server.pid}/root")
    assert list((root / model_of(server).lstrip("/")).glob("*.safetensors"))
    for host in (clone.root / ".local/models", (clone.root / ".local/models").resolve()):
        assert list(host.rglob("*.safetensors"))
        assert not (root / str(host).lstrip("/")).exists()


@needs_environments
def test_a_changed_option_is_one_update_and_is_served_after_a_kill(clone: Clone) -> None:
    """A new maxModelLen is an update of the endpoint alone; kill -9 of the emulator takes vLLM along and loses nothing:
    the next `up` starts it again, and the new release of the same endpoint serves."""
    before = endpoint(clone)
    clone.edit("Pulumi.local.yaml", 'maxModelLen: "2048"', 'maxModelLen: "1024"')
    steps = [step for step in json.loads(clone.run("preview", "--json").stdout)["steps"] if step["op"] != "same"]
    assert [
        (step["op"], step["urn"].split("::")[-2].split("$")[-1])
        for step in steps
        if "Endpoint" in step["urn"].split("$")[-1]
    ] == [("update", "runpod:index:Endpoint")]
    assert all(step["op"] == "update" for step in steps)

    pid = json.loads(urllib.request.urlopen(clone.url + "/_emulator/status", timeout=5).read())["pid"]
    assert any(map(model_of, tree(pid)))
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 15
    while processes_under(clone.root) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_under(clone.root) == []

    assert ANSWER in clone.run("up").stdout
    after = endpoint(clone)
    assert after["id"] == before["id"]
    assert after["env"]["MAX_MODEL_LEN"] == "1024"
    workers = api(clone, "GET", f"/v2/serverless/{after['id']}/workers")
    assert [worker["isStale"] for worker in workers["workers"]] == [False]


@needs_environments
def test_a_change_behind_our_back_is_found_and_put_right(clone: Clone) -> None:
    """`refresh` sees what the API says now; `up` restores what the program says."""
    found = endpoint(clone)
    api(clone, "PATCH", f"/v2/serverless/{found['id']}", {"workers": {"max": 7}})
    refreshed = clone.run("refresh", "--yes")
    assert re.search(r"~ .*Endpoint|1 to update|updated", refreshed.stdout + refreshed.stderr)
    clone.run("up", "--no-ask")
    assert endpoint(clone)["workers"]["max"] == found["workers"]["max"]


@needs_environments
def test_no_secret_is_left_in_clear(clone: Clone) -> None:
    """The emulator's key is in its own file and nowhere else: not in the state, the logs or the workers' logs."""
    key = clone.key.encode()
    holders = [
        path
        for path in (clone.root / ".local").rglob("*")
        if not path.is_symlink()
        and path.is_file()
        and path.suffix != ".safetensors"
        and "blobs" not in path.parts
        and "cache" not in path.parts
        and key in path.read_bytes()
    ]
    assert [path.name for path in holders] == ["api-key"]


@needs_environments
def test_down_leaves_no_process_and_no_state(clone: Clone) -> None:
    """After `down` only caches are left."""
    clone.run("down", "--yes")
    assert processes_under(clone.root) == []
    assert not (clone.root / ".local/pulumi").exists()
    assert [path.name for path in Path(clone.root / ".local/emulator").iterdir()] == ["cache"]
