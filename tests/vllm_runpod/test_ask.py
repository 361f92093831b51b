"""Asking a model through the official client, against a real HTTP server."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.e2e.support import free_port
from vllm_runpod.ask import ask
from vllm_runpod.errors import NoAnswer

CHUNKS = ["The capital ", "of France ", "is Paris."]


class Model(BaseHTTPRequestHandler):
    """Speaks the OpenAI streaming form; `status` decides what it does."""

    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.status != 200:
            body = json.dumps(
                {"error": {"message": "no such model `x`", "type": "NotFoundError", "code": 404}}
            ).encode()
            self.send_response(self.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        base = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m"}
        for text in CHUNKS:
            choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
            self.wfile.write(f"data: {json.dumps(base | {'choices': [choice]})}\n\n".encode())
        usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
        self.wfile.write(f"data: {json.dumps(base | {'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n".encode())

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the test reads the answer, not the log."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_the_answer_is_streamed_and_measured(server: ThreadingHTTPServer) -> None:
    """Each piece is shown as it comes; times and tokens come back with the text."""
    shown: list[str] = []
    answer = ask(f"http://127.0.0.1:{server.server_port}/v1", "key", "m", "?", show=shown.append)
    assert shown == CHUNKS
    assert answer.text == "The capital of France is Paris."
    assert answer.tokens == 7
    assert 0 <= answer.first_token_s <= answer.total_s


def test_an_error_of_the_server_is_one_line(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's own words reach the user, with the status."""
    monkeypatch.setattr(Model, "status", 404)
    with pytest.raises(NoAnswer, match=r"answered 404: no such model `x`"):
        ask(f"http://127.0.0.1:{server.server_port}/v1", "key", "m", "?")


def test_nobody_listening_is_one_line_with_the_remedy() -> None:
    """A stack that is not up is said to be so."""
    with pytest.raises(NoAnswer, match=r"(?s)cannot reach http://127.0.0.1:.*make up") as caught:
        ask(f"http://127.0.0.1:{free_port()}/v1", "key-that-is-secret", "m", "?")
    assert "key-that-is-secret" not in str(caught.value)
