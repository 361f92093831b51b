"""A stream through vLLM's socket, worker, RunPod's SDK, emulator and the official client: no byte is lost."""

import json
import urllib.request

import pytest

from tests.e2e.stand_in import MODEL, StandIn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

TEXT = "Grüße, 世界 🌍 — naïve façade"
CUTS = (1, 2, 3, 5, 7, 11, 64)
"""vLLM's stand-in writes so many bytes at a time: with 1 every character of several bytes is cut at every place."""


@pytest.mark.parametrize("cut", CUTS)
def test_the_client_reads_what_the_model_wrote(stand_in: StandIn, cut: int) -> None:
    """Wherever the model server cuts inside a character, the official client gets whole words."""
    with (
        stand_in.client() as client,
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": f"cuts {cut}"}], stream=True
        ) as stream,
    ):
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(pieces) == TEXT + " "
    assert len(pieces) == len(TEXT.split())


def test_every_byte_is_the_one_that_was_sent(stand_in: StandIn) -> None:
    """Read without any client library: the events, their order and the end of the stream."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "cuts 1"}], "stream": True}
    request = urllib.request.Request(
        f"{stand_in.openai_url}/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {stand_in.clone.key}", "Content-Type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        raw = answer.read()
    expected = [
        {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": f"{word} "}}]}
        for word in TEXT.split()
    ]
    written = "".join(f"data: {json.dumps(event, ensure_ascii=False)}\n\n" for event in expected) + "data: [DONE]\n\n"
    assert raw == written.encode()
