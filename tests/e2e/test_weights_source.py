"""Weights come from the image's layers and nowhere else (test_main_job.py looks at the root of real vLLM)."""

import json
from pathlib import Path

import pytest

from tests.e2e.stand_in import StandIn, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def weights_blob(stand_in: StandIn) -> tuple[Path, str]:
    """The layer that holds the weights: its file in the layout, and its digest."""
    layout = stand_in.clone.root / ".local/images/smollm2-135m-instruct"
    blobs = layout / "blobs/sha256"
    top = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    layers = json.loads((blobs / top.removeprefix("sha256:")).read_text())["layers"]
    (digest,) = [
        layer["digest"]
        for layer in layers
        if layer["annotations"].get("io.vllm-runpod.path", "").endswith("model.safetensors")
    ]
    return blobs / digest.removeprefix("sha256:"), digest


def test_a_worker_needs_no_model_on_the_host(stand_in: StandIn) -> None:
    """The model folder is gone from the host; a new worker serves the same weights, out of the image."""
    expected = stand_in.weights
    assert stand_in.ask("weights") == f"You said: {expected}"
    hidden = stand_in.model.with_name("hidden")
    stand_in.model.rename(hidden)
    try:
        stand_in.kill_worker()
        assert stand_in.ask("weights") == f"You said: {expected}"
    finally:
        hidden.rename(stand_in.model)


def test_one_altered_byte_in_the_image_stops_the_next_worker(stand_in: StandIn) -> None:
    """The start is refused and the reason names the layer's digest; with the byte put back the endpoint serves."""
    blob, digest = weights_blob(stand_in)
    right = blob.read_bytes()
    wrong = bytearray(right)
    wrong[len(wrong) // 2] ^= 1
    blob.write_bytes(wrong)
    try:
        stand_in.kill_worker()
        wait(
            lambda: any(
                worker["status"] == "UNHEALTHY" and digest in (worker["reason"] or "") for worker in stand_in.workers()
            ),
            "a worker refused for the altered layer",
        )
        assert not [process for process in stand_in.worker_processes() if process.runs("-m", "vllm_worker")]
    finally:
        blob.write_bytes(right)
    job = stand_in.submit("weights")
    wait(lambda: stand_in.status(job) == "COMPLETED", "an answer from the repaired image", 60)
