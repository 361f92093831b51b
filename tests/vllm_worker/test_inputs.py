"""Job inputs become requests to vLLM, or one clear error."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_worker._errors import ApiError
from vllm_worker._inputs import MAX_PROMPTS, ROUTES, Batch, Call, parse_input

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
KEYS = ["openai_route", "openai_input", "route", "body", "method", "prompt", "prompts", "messages", "sampling_params",
        "stream", "temperature", "model"]  # fmt: skip


@pytest.mark.parametrize("route", [route for route, method in ROUTES.items() if method == "POST"])
def test_every_route_of_the_table_passes_its_body_on(route: str) -> None:
    """The body that vLLM gets is the body that came in, key for key."""
    body = {"model": "m", "input": "ü", "nested": {"a": [1, None, True]}}
    call = parse_input({"openai_route": route, "openai_input": body})
    assert isinstance(call, Call)
    assert (call.method, call.route) == ("POST", route)
    assert json.loads(call.payload or b"") == body
    assert parse_input({"route": route, "body": body, "method": "post"}) == call


def test_models_is_a_get_without_a_body() -> None:
    """GET routes need no input, and an empty one does no harm."""
    assert parse_input({"openai_route": "/v1/models"}) == Call("GET", "/v1/models", None)
    assert parse_input({"openai_route": "/v1/models", "openai_input": None}) == Call("GET", "/v1/models", None)


@pytest.mark.parametrize(
    "route",
    ["", "/", "v1/models", "/v1/models/", "//evil/v1/models", "http://evil/v1/models", "@evil:80/v1/models",
     "/v1/../sleep", "/v1/models?x=1", "/v1/models#x", "/sleep", "/metrics", "/collective_rpc", "/v1/models\r\nHost: x",
     "/V1/MODELS", None, 3, ["/v1/models"], {}],
)  # fmt: skip
def test_no_other_route_is_served(route: Any) -> None:
    """A route that is not in the table, letter for letter, is a 404 that lists the table."""
    for key, body in (("openai_route", "openai_input"), ("route", "body")):
        with pytest.raises(ApiError) as caught:
            parse_input({key: route, body: {}})
        assert caught.value.status == 404
        assert "/v1/chat/completions" in caught.value.message


def test_a_wrong_method_is_told() -> None:
    """405 names the right one."""
    with pytest.raises(ApiError, match="/v1/models takes GET") as caught:
        parse_input({"route": "/v1/models", "method": "DELETE"})
    assert caught.value.status == 405


def test_the_legacy_form_becomes_a_completion_or_a_chat() -> None:
    """`prompt` is completed, `messages` are answered, parameters are laid into the body."""
    prompt = parse_input({"prompt": "Hi", "sampling_params": {"max_tokens": 5, "temperature": 0}, "stream": True})
    assert prompt == Call(
        "POST", "/v1/completions", {"max_tokens": 5, "temperature": 0, "stream": True, "prompt": "Hi"}
    )
    messages = [{"role": "user", "content": "Hi"}]
    assert parse_input({"messages": messages}) == Call(
        "POST", "/v1/chat/completions", {"stream": False, "messages": messages}
    )
    assert parse_input({"prompt": "Hi", "apply_chat_template": True, "max_batch_size": 4}) == Call(
        "POST", "/v1/chat/completions", {"stream": False, "messages": messages}
    )


def test_a_batch_keeps_its_order_and_parameters() -> None:
    """Parameters that are null or missing are left to their defaults."""
    batch = parse_input({"prompts": ["b", "a"], "temperature": 0, "top_p": None, "max_tokens": 9})
    assert batch == Batch(("b", "a"), {"temperature": 0, "max_tokens": 9})
    assert parse_input({"prompts": []}) == Batch((), {"max_tokens": 256})


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("text", "must be an object, not a string"),
        (None, "must be an object, not null"),
        ([], "must be an object, not a list"),
        ({}, "it has no keys"),
        ({"promt": "x"}, "it has `promt`"),
        ({"prompt": "x", "messages": []}, "not both"),
        ({"prompt": 3}, "`prompt` must be a string, not a number"),
        ({"prompt": ["a"]}, "for several use `prompts`"),
        ({"prompt": "x", "sampling_params": [1]}, "`sampling_params` must be an object"),
        ({"prompt": "x", "sampling_params": {"stream": True}}, "beside `sampling_params`"),
        ({"prompt": "x", "stream": "yes"}, "`stream` must be true or false"),
        ({"prompt": "x", "temperature": 1}, "unknown keys `temperature`"),
        ({"messages": "x"}, "`messages` must be a list"),
        ({"prompts": "x"}, "`prompts` must be a list of strings"),
        ({"prompts": ["x", 1]}, "`prompts` must be a list of strings"),
        ({"prompts": ["x"] * (MAX_PROMPTS + 1)}, "the limit is"),
        ({"openai_route": "/v1/completions"}, "`openai_input` must be an object"),
        ({"openai_route": "/v1/completions", "openai_input": {}, "extra": 1}, "unknown keys `extra`"),
    ],
)
def test_each_mistake_has_its_words(value: Any, told: str) -> None:
    """The message names the key and what would be right."""
    with pytest.raises(ApiError) as caught:
        parse_input(value)
    assert told in caught.value.message
    assert caught.value.status in (400, 413)


@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=5) | JSON)
def test_any_json_is_a_request_or_an_error(value: Any) -> None:
    """No input makes the worker fail, and every request goes to a route of the table."""
    try:
        parsed = parse_input(value)
    except ApiError as error:
        assert 400 <= error.status < 500  # noqa: PT017 - either outcome is right
        assert json.loads(error.as_job_error())["message"] == error.message  # noqa: PT017
        return
    if isinstance(parsed, Call):
        assert ROUTES[parsed.route] == parsed.method
        assert parsed.payload is None or isinstance(json.loads(parsed.payload), dict)


def test_half_a_surrogate_pair_is_sent_on_as_its_escape() -> None:
    """Text that UTF-8 cannot hold does not lose the job."""
    call = parse_input({"prompt": "\ud83d"})
    assert isinstance(call, Call)
    assert json.loads(call.payload or b"")["prompt"] == "\ud83d"
