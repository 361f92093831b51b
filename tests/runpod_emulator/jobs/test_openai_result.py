"""What an OpenAI client gets for a job's result or error."""

import json
from typing import Any

import pytest

from runpod_emulator.jobs._openai_result import success_of, worker_error


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        ("{'message': 'no such model', 'type': 'NotFoundError', 'code': 404}", 404, "no such model"),
        ('{"message": "no", "type": "BadRequestError", "code": "model_not_found", "status": 422}', 422, "no"),
        ('{"error": {"message": "slow down", "type": "rate_limit_error"}}', 429, "slow down"),
        ("{'message': 'odd', 'code': 7}", 500, "odd"),
        ('{"error_type": "ValueError", "error_message": "bad", "error_traceback": "File …"}', 500, "bad"),
        ("job timed out after 1 retries", 500, "job timed out after 1 retries"),
        ("{not a dict", 500, "{not a dict"),
        ("{'reason': 'unknown form'}", 500, '{"reason": "unknown form"}'),
    ],
)
def test_a_workers_error_gets_a_status_and_openais_form(error: str, status: int, message: str) -> None:
    """Whether it is JSON, the text of a Python dict or plain text; a traceback never reaches the client."""
    answer = worker_error(error)
    assert answer.status == status
    assert answer.body["error"]["message"] == message
    assert set(answer.body["error"]) == {"message", "type", "param", "code"}
    assert "traceback" not in answer.text


@pytest.mark.parametrize(
    ("output", "pieces", "status", "body"),
    [
        ([{"object": "list"}], [], 200, {"object": "list"}),
        ({"object": "list"}, [], 200, {"object": "list"}),
        ([], [{"a": 1}], 200, {"a": 1}),
        (['{"a":', " 1}"], [], 200, {"a": 1}),
        ("plain words", [], 200, "plain words"),
        ([{"error": {"message": "no", "code": 404}}], [], 404, {"error": {"message": "no", "code": 404}}),
        (
            [{"object": "error", "message": "no", "code": 400}],
            [],
            400,
            {"object": "error", "message": "no", "code": 400},
        ),
        ([1, 2], [], 200, [1, 2]),
        (None, [], 200, []),
    ],
)
def test_a_result_is_the_workers_object(output: Any, pieces: list[Any], status: int, body: Any) -> None:
    """A list of one is its element, text that is JSON is JSON, an error object brings its status."""
    answer = success_of(output, pieces)
    assert (answer.status, answer.body) == (status, body)
    assert answer.content_type == ("text/plain" if isinstance(body, str) else "application/json")
    assert isinstance(body, str) or json.loads(answer.text) == body
