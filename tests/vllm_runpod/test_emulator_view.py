"""Waiting for a worker, against an HTTP server that answers as the emulator does."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from vllm_runpod.emulator_view import wait_for_worker
from vllm_runpod.project import Project


class Emulator(BaseHTTPRequestHandler):
    """Gives one answer after the other; the last one stays."""

    answers: list[list[str]] = []

    def do_GET(self) -> None:
        assert self.headers["Authorization"] == "Bearer the-key-of-the-emulator"
        statuses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        body = json.dumps({"workers": [{"status": status} for status in statuses]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with HTTPServer(("127.0.0.1", 0), Emulator) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        (tmp_path / "Pulumi.local.yaml").write_text(f"config:\n  runpod:apiUrl: {url}\n")
        made = Project(tmp_path, "demo")
        made.api_key_file.parent.mkdir(parents=True)
        made.api_key_file.write_text("the-key-of-the-emulator\n")
        yield made
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answers", "lines"),
    [
        ([["INITIALIZING"], ["UNHEALTHY"], ["INITIALIZING", "IDLE"]], 1),
        ([["RUNNING"]], 0),
        ([[]], 0),
    ],
)
def test_it_ends_when_a_worker_can_take_a_job_or_there_is_none(
    project: Project, monkeypatch: pytest.MonkeyPatch, answers: list[list[str]], lines: int
) -> None:
    """A starting worker is waited for, with a word; an endpoint at zero starts one only when somebody asks."""
    monkeypatch.setattr(Emulator, "answers", list(answers))
    said: list[str] = []
    wait_for_worker(project, "e1", said.append, every_s=0.01)
    assert len(said) == lines
    assert len(Emulator.answers) == 1
