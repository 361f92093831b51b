"""A LOAD_BALANCER endpoint of the baked image: made with the API, served by the worker, asked by OpenAI's client."""

import openai
import pytest

from tests.e2e.stand_in import MODEL, StandIn, wait

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_the_image_answers_behind_the_load_balancer(stand_in: StandIn) -> None:
    """Weights from the image, streams, and no worker left once the endpoint is deleted."""
    queue = stand_in.endpoint
    asked = {
        "name": "balanced",
        "type": "LOAD_BALANCER",
        "scaling": {"type": "REQUEST_COUNT", "requestCount": 1},
        "workers": {"min": 0, "max": 1},
        "image": queue["image"],
        "env": queue["env"],
        "gpu": {"pools": ["ADA_24"]},
    }
    made = stand_in.api("POST", "/v2/serverless", asked)
    try:
        base = f"{made['requestUrls']['base']}/v1"
        with openai.OpenAI(base_url=base, api_key=stand_in.clone.key, max_retries=0, timeout=90) as client:
            answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "weights"}])
            assert answer.choices[0].message.content == f"You said: {stand_in.weights}"
            with client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": "cuts 1"}], stream=True
            ) as stream:
                assert len([chunk for chunk in stream if chunk.choices[0].delta.content]) > 1
        (worker,) = stand_in.api("GET", f"/v2/serverless/{made['id']}/workers")["workers"]
        assert worker["status"] in ("IDLE", "RUNNING")
    finally:
        before = stand_in.worker_processes()
        stand_in.api("DELETE", f"/v2/serverless/{made['id']}")
    wait(lambda: len(stand_in.worker_processes()) < len(before), "the end of the worker")
    assert stand_in.endpoint["id"] == queue["id"]
