"""The emulator as a process of its own, and the little of its HTTP interface that the benchmark needs."""

import hashlib
import http.client
import json
import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks._faults_process import die_with
from benchmarks._faults_program import ROOT
from benchmarks._faults_story import IMAGES, Json

_ROUTES = {
    "volumes": ("/v2/network-volumes", "networkVolumes"),
    "credentials": ("/v2/registries", "registries"),
    "templates": ("/v2/templates", "templates"),
    "endpoints": ("/v2/serverless", "endpoints"),
}


class CloudFailure(Exception):
    """The emulator did not start, or did not do what a lever asks for."""


class Cloud:
    """A running emulator. Close it."""

    def __init__(self, folder: Path) -> None:
        _write_images(folder / "images")
        self._log = (folder / "emulator.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "runpod_emulator", "--port", "0", "--state", str(folder / "cloud"),
             "--image-root", str(folder / "images"), "--log-level", "info"],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=self._log, preexec_fn=die_with(os.getpid()),
        )  # fmt: skip
        try:
            self.url = self._ready()
            self.key = (folder / "cloud" / "api-key").read_text().strip()
        except BaseException:
            self.close()
            raise
        host, _, port = self.url.removeprefix("http://").partition(":")
        self._address = (host, int(port))

    def _ready(self) -> str:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(30):
                raise CloudFailure("the emulator was not ready within 30 s")
        words = self._process.stdout.readline().decode().split()
        url = next((word for word in words if word.startswith("http://")), None)
        if url is None:
            raise CloudFailure(f"the emulator did not start; see {self._log.name}")
        return url

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call with the owner's key; CloudFailure unless it succeeds."""
        connection = http.client.HTTPConnection(*self._address, timeout=30)
        try:
            headers = {"Authorization": f"Bearer {self.key}", "User-Agent": "vllm-runpod-bench", "Connection": "close"}
            data = None
            if body is not None:
                data, headers["Content-Type"] = json.dumps(body), "application/json"
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status >= 300:
            raise CloudFailure(f"{method} {path}: {answer.status} {text[:300]}")
        return json.loads(text) if text else None

    def everything(self) -> dict[str, list[Json]]:
        """All resources, by kind."""
        return {kind: self.call("GET", path)[key] for kind, (path, key) in _ROUTES.items()}

    def clear(self) -> None:
        """Delete everything and forget all faults."""
        self.call("POST", "/_emulator/reset?force")
        self.call("DELETE", "/_emulator/faults")

    def close(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


def _write_images(root: Path) -> None:
    """The smallest OCI layout with an image for every reference the programs use. Nothing ever runs from it."""
    names = [image.removeprefix("oci:").rpartition(":") for image in IMAGES]
    for folder in {name for name, _, _ in names}:
        layout = root / folder
        (layout / "blobs" / "sha256").mkdir(parents=True)
        (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _blob(layout, config, "application/vnd.oci.image.config.v1+json"),
            "layers": [],
        }
        described = _blob(layout, manifest, "application/vnd.oci.image.manifest.v1+json")
        tags = [
            {**described, "annotations": {"org.opencontainers.image.ref.name": tag}}
            for name, _, tag in names
            if name == folder
        ]
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": tags}))


def _blob(layout: Path, document: Json, media_type: str) -> Json:
    content = json.dumps(document).encode()
    digest = hashlib.sha256(content).hexdigest()
    (layout / "blobs" / "sha256" / digest).write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}
