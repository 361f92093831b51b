"""What may pass to vLLM, and what the caller hears otherwise."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vllm_options import WorkerSettings
from vllm_worker._errors import ApiError
from vllm_worker._limits import CLOCK_GRAIN_S, TRACKED_TAGS, WINDOW_S, Limits, TooManyRequests, read_body
from vllm_worker._tags import TAG_CHARACTERS, Tags, tags_of_headers, take_tags

CHAT, COMPLETIONS, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"
NOBODY = Tags()


class Clock:
    """A time that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def refused(limits: Limits, route: str, body: dict[str, Any], tags: Tags = NOBODY, prompts: int | None = None) -> int:
    """The status of the refusal; 0 if the request passes."""
    try:
        limits.check(route, body, tags, prompts)
    except ApiError as error:
        return error.status
    return 0


def test_without_limits_everything_passes() -> None:
    """The default is vLLM's own judgement."""
    limits = Limits(WorkerSettings())
    assert not limits.reads_bodies
    assert refused(limits, CHAT, {"max_tokens": "much", "model": 3, "n": None}) == 0


@pytest.mark.parametrize(
    ("route", "body", "passes"),
    [
        (CHAT, {"max_tokens": 100}, True),
        (CHAT, {"max_tokens": 101}, False),
        (CHAT, {"max_completion_tokens": 100, "max_tokens": None}, True),
        (CHAT, {"max_completion_tokens": 10, "max_tokens": 101}, False),
        (CHAT, {"max_tokens": 10, "max_completion_tokens": 101}, False),
        (CHAT, {}, False),
        (CHAT, {"max_output_tokens": 5}, False),
        (CHAT, {"max_tokens": "5"}, False),
        (CHAT, {"max_tokens": 5.0}, False),
        (CHAT, {"max_tokens": True}, False),
        (CHAT, {"max_tokens": 50, "n": 2}, True),
        (CHAT, {"max_tokens": 50, "n": 3}, False),
        (CHAT, {"max_tokens": 50, "n": "3"}, False),
        (COMPLETIONS, {"prompt": "x"}, True),  # vLLM answers with 16 tokens
        (COMPLETIONS, {"prompt": "x", "max_tokens": None, "n": 7}, False),
        (COMPLETIONS, {"prompt": ["x", "y"], "max_tokens": 50}, True),
        (COMPLETIONS, {"prompt": ["x", "y", "z"], "max_tokens": 50}, False),
        (COMPLETIONS, {"prompt": [1, 2, 3, 4], "max_tokens": 50}, True),
        (COMPLETIONS, {"prompt": [[1], [2], [3]], "max_tokens": 50}, False),
        (COMPLETIONS, {"prompt_embeds": ["a", "b", "c"], "max_tokens": 50}, False),
        (COMPLETIONS, {"prompt": "x", "best_of": 7}, False),
        (RESPONSES, {"max_output_tokens": 100}, True),
        (RESPONSES, {"max_output_tokens": 101}, False),
        (RESPONSES, {"max_tokens": 5}, False),
        (MESSAGES, {"max_tokens": 101}, False),
        (MESSAGES, {"max_tokens": 100}, True),
        ("/v1/embeddings", {"input": "x"}, True),
    ],
)
def test_no_request_gets_past_the_ceiling(route: str, body: dict[str, Any], passes: bool) -> None:
    """Whichever field says it, however it is written, and with all answers and prompts counted."""
    limits = Limits(WorkerSettings(worker_max_tokens=100))
    assert refused(limits, route, body) == (0 if passes else 400)


ODD = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(st.integers(), max_size=3)
)


@given(
    st.sampled_from([CHAT, COMPLETIONS, RESPONSES, MESSAGES, "/v1/score"]),
    st.dictionaries(
        st.sampled_from(
            ["max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of", "prompt", "model"]
        ),
        ODD | st.dictionaries(st.text(max_size=3), ODD, max_size=2),
    ),
)
def test_any_body_passes_within_the_limits_or_is_refused_in_words(route: str, body: dict[str, Any]) -> None:
    """No crash, and no number above the ceiling gets through on a route that generates."""
    limits = Limits(WorkerSettings(worker_max_tokens=100, worker_allowed_models=frozenset({"m"})), "m")
    status = refused(limits, route, body)
    assert status in (0, 400, 403)
    if status == 0 and route != "/v1/score":
        bounds = [body.get(name) for name in ("max_tokens", "max_completion_tokens", "max_output_tokens")]
        assert all(bound is None or (type(bound) is int and bound <= 100) for bound in bounds)
        assert body.get("model") in (None, "", "m")


def test_the_ceiling_says_what_was_asked_for() -> None:
    """The sum, the limit and the variable."""
    with pytest.raises(ApiError) as caught:
        Limits(WorkerSettings(worker_max_tokens=100)).check(COMPLETIONS, {"max_tokens": 50, "n": 2}, NOBODY, 10)
    assert "50 tokens x 2 answers x 10 prompts" in caught.value.message
    assert "100" in caught.value.message
    assert "WORKER_MAX_TOKENS" in caught.value.message
    assert caught.value.param == "max_tokens"


def test_unbounded_requests_are_refused_without_a_ceiling_too() -> None:
    """WORKER_REQUIRE_MAX_TOKENS asks for a number, any number."""
    limits = Limits(WorkerSettings(worker_require_max_tokens=True))
    assert refused(limits, CHAT, {}) == 400
    assert refused(limits, CHAT, {"max_tokens": None}) == 400
    assert refused(limits, CHAT, {"max_tokens": 10**9}) == 0


def test_only_allowed_models_are_used() -> None:
    """A request without a name is one for the first model."""
    limits = Limits(WorkerSettings(worker_allowed_models=frozenset({"base", "adapter"})), "base")
    assert limits.reads_bodies
    assert [refused(limits, CHAT, {"model": name}) for name in ("base", "adapter", "", None)] == [0, 0, 0, 0]
    assert refused(limits, CHAT, {"model": "other"}) == 403
    assert refused(limits, "/v1/embeddings", {"model": "other"}) == 403
    assert refused(limits, CHAT, {"model": ["base"]}) == 400
    assert refused(Limits(WorkerSettings(worker_allowed_models=frozenset({"adapter"})), "base"), CHAT, {}) == 403


def test_a_tag_has_its_own_rate() -> None:
    """Features and users are counted each for themselves; requests without a tag share one count."""
    clock = Clock()
    limits = Limits(WorkerSettings(worker_tag_rate=2), now=clock)
    chat, search = Tags("chat", "ann"), Tags("search", "ann")
    assert [refused(limits, CHAT, {}, chat) for _ in range(2)] == [0, 0]
    clock.now += 20
    with pytest.raises(TooManyRequests) as caught:
        limits.check(CHAT, {}, Tags("chat", "bob"))
    assert (caught.value.status, caught.value.retry_after_s) == (429, 40)
    assert refused(limits, CHAT, {}, search) == 429, "the user has used hers"
    assert refused(limits, CHAT, {}, Tags("search", "bob")) == 0, "and what was refused did not count"
    assert [refused(limits, CHAT, {}) for _ in range(3)] == [0, 0, 429]
    clock.now += 40
    assert refused(limits, CHAT, {}, chat) == 0


def test_many_tags_are_no_way_around_and_no_way_to_fill_the_memory() -> None:
    """Beyond the tags that are counted one by one, new ones share a count, until old ones have gone quiet."""
    clock = Clock()
    limits = Limits(WorkerSettings(worker_tag_rate=1), now=clock)
    assert {refused(limits, CHAT, {}, Tags(f"f{index}")) for index in range(TRACKED_TAGS)} == {0}
    assert [refused(limits, CHAT, {}, Tags(f"new{index}")) for index in range(3)] == [0, 429, 429]
    clock.now += WINDOW_S
    assert {refused(limits, CHAT, {}, Tags(f"late{index}")) for index in range(TRACKED_TAGS - 1)} == {0}


@example([1.1331504866872466, 0.0], 1)
@given(st.lists(st.floats(0, 40), max_size=60), st.integers(1, 5))
def test_no_minute_holds_more_than_the_rate(pauses: list[float], rate: int) -> None:
    """However requests come, and whoever waits as long as he was told gets through."""
    clock = Clock()
    limits = Limits(WorkerSettings(worker_tag_rate=rate), now=clock)
    passed: list[float] = []
    for pause in pauses:
        clock.now += pause
        try:
            limits.check(CHAT, {}, NOBODY)
        except TooManyRequests as error:
            clock.now += error.retry_after_s
            limits.check(CHAT, {}, NOBODY)
        passed.append(clock.now)
    for start in passed:
        assert sum(start <= time < start + WINDOW_S - CLOCK_GRAIN_S for time in passed) <= rate


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff", b"[" * 100_000, b'"text"', b"9" * 5000])
def test_a_body_that_cannot_be_read_is_vllms_business_unless_limits_depend_on_it(body: bytes) -> None:
    """400 with strict limits, else an empty reading: vLLM gets the bytes and answers for itself."""
    assert read_body(body, strict=False) == {}
    with pytest.raises(ApiError) as caught:
        read_body(body, strict=True)
    assert caught.value.status == 400


def test_tags_are_short_printable_texts() -> None:
    """In every form of input, and in headers; what is none is refused with its place."""
    form: dict[str, Any]
    for form in ({"prompt": "p"}, {"route": "/v1/models"}, {"prompts": []}, {"metrics": True}):
        assert take_tags({**form, "tags": {"feature": "chat", "user": "ann"}}) == (form, Tags("chat", "ann"))
        assert take_tags({**form, "tags": None}) == (form, NOBODY)
    assert take_tags("text") == ("text", NOBODY)
    assert tags_of_headers({"X-Feature": " suche für alle ", "X-User": ""}) == Tags("suche für alle")
    long = "x" * (TAG_CHARACTERS + 1)
    wrong: list[Any] = [[], "chat", {"team": "x"}, {"feature": 3}, {"feature": ""}, {"user": "a\nb"}]
    wrong += [{"user": "\ud800"}, {"feature": long}]
    for tags in wrong:
        with pytest.raises(ApiError, match="tags"):
            take_tags({"prompt": "p", "tags": tags})
    with pytest.raises(ApiError, match="X-User"):
        tags_of_headers({"X-User": "\x07"})
