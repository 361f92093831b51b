"""vLLM's errors survive the way through a job's `error`."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_worker._errors import ApiError


def test_vllms_own_error_object_is_kept() -> None:
    """Message, type, param and code come back as they were, with the HTTP status beside them."""
    sent = {"message": "The model `x` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}
    error = ApiError.from_body(404, json.dumps({"error": sent}).encode())
    assert json.loads(error.as_job_error()) == {**sent, "status": 404}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}', "too long"),
        (b'{"error": "plain words"}', "plain words"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'{"detail": [{"loc": ["body"]}]}', '[{"loc": ["body"]}]'),
        (b"<html>bad gateway</html>", "<html>bad gateway</html>"),
        (b"", "vLLM answered with HTTP 502 and no text"),
        (b"[1]", "[1]"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_other_bodies_are_read_as_well_as_they_can_be(body: bytes, message: str) -> None:
    """Whatever vLLM, or something before it, answers becomes one message."""
    error = ApiError.from_body(502, body)
    assert (error.message, error.status) == (message, 502)


@given(st.text())
def test_an_error_is_one_line_of_ascii_and_a_valid_event(message: str) -> None:
    """No message breaks the line, the event or the encoding."""
    error = ApiError(400, message)
    assert error.as_job_error().isascii()
    assert "\n" not in error.as_job_error()
    first, last, end = error.as_event().split("\n\n")
    assert json.loads(first.removeprefix("data: "))["error"]["message"] == message
    assert (last, end) == ("data: [DONE]", "")
