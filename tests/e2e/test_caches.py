"""Start-up caches all the way round: a worker writes them, `bake harvest` bakes them, the next worker finds them."""

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stand_in import MISSING, StandIn, ended, make_stand_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.skipif(bool(MISSING), reason=MISSING)]

IMAGE = "oci:.local/images/smollm2-135m-instruct:latest"
LOCK = ".local/weights.lock"
ASKED = """  vllm-runpod:volumeSize: "10"
  vllm-runpod:dataCenters: [EU-RO-1]
  vllm-runpod:protectVolume: "false"
  vllm-runpod:env:
    WORKER_CACHE_HARVEST: /runpod-volume/start-up-caches
"""


def log_of(stand_in: StandIn) -> Iterator[bytes]:
    """The worker's log, line by line, as it comes."""
    (worker,) = stand_in.workers()
    request = urllib.request.Request(
        f"{stand_in.clone.url}/v2/serverless/{stand_in.endpoint['id']}/workers/{worker['id']}/logs?tail=2000",
        headers={"Authorization": f"Bearer {stand_in.clone.key}"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as stream:
        yield from stream


def test_what_the_first_worker_compiled_the_next_one_starts_with(tmp_path: Path) -> None:
    """In a real root, through a stack that bakes by itself: its next `up` deploys the harvest and does not undo it."""
    stand_in = make_stand_in(tmp_path / "clone")
    clone = stand_in.clone
    stack = clone.root / "Pulumi.local.yaml"
    with ended(clone):
        plain = stack.read_text()
        stack.write_text(plain + ASKED)
        clone.run("up", "--no-ask")
        (archive,) = (clone.root / ".local/emulator").rglob("start-up-caches/*.tar")
        harvest = clone.run("bake", "harvest", IMAGE, "--from", str(archive.parent), "--lock", LOCK, "--json")
        digest = json.loads(harvest.stdout.splitlines()[-1])["harvest"]["digest"]
        assert f'"{digest}"' in (clone.root / LOCK).read_text()
        stack.write_text(plain)
        shown = clone.run("preview").stdout
        assert "nothing to send" in shown, shown
        clone.run("up", "--no-ask")
        assert digest in json.dumps(stand_in.endpoint)
        said = next(line for line in log_of(stand_in) if b"start-up caches: " in line).decode()
        assert f"start-up caches: hit ({archive.stem}: " in said
        assert stand_in.ask("weights") == f"You said: {stand_in.weights}"
        again = clone.run("preview").stdout
        assert "unchanged" in again, again
        assert "to update" not in again, again
