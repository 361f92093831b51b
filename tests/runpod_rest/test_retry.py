"""The laws of repeating: only where it is safe, never longer than promised."""

import asyncio
import contextlib
import datetime
import email.utils
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runpod_rest import ApiError, NetworkError, NotFound, RateLimited, RetryPolicy, RunPodError, ServerError, Wait
from runpod_rest._budget import Budget
from runpod_rest._retry import may_repeat_after_break, may_repeat_status, retry_after_s
from tests.runpod_rest.support import Answer, Clock, client, problem, serving

OK = Answer(200, {"id": "x", "endpoints": []})
DOWN = problem(503, "Unavailable")
METHODS = ["GET", "DELETE", "POST", "PATCH"]


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 524])
async def test_a_read_outlasts_a_bad_moment(status: int) -> None:
    """GET is repeated on 5xx with growing pauses, and then succeeds."""
    clock = Clock()
    async with serving(problem(status, "Bad"), problem(status, "Bad"), OK) as server, client(server, clock) as cloud:
        assert await cloud.endpoints.list() == []
    assert server.methods() == ["GET"] * 3
    assert clock.slept == [0.25, 0.5]


async def test_a_read_gives_up_with_the_count() -> None:
    """Four tries, then the last answer."""
    async with serving(DOWN) as server, client(server) as cloud:
        with pytest.raises(ServerError, match=r"\(after 4 tries\)") as caught:
            await cloud.endpoints.list()
    assert len(server.seen) == 4
    assert not caught.value.ambiguous


@pytest.mark.parametrize("answer", [DOWN, Answer(drop=True)])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_write_is_never_sent_twice(method: str, answer: Answer) -> None:
    """After a lost answer or a 5xx the caller has to look first, and is told so."""
    async with serving(answer, OK) as server, client(server) as cloud:
        with pytest.raises(RunPodError) as caught:
            await cloud.request(method, "/v2/serverless", json={})
    assert len(server.seen) == 1
    assert caught.value.ambiguous


async def test_an_unanswered_write_says_that_it_may_have_worked() -> None:
    """A time-out of a POST is a NetworkError with the doubt in its text."""
    async with serving(Answer(hang=True)) as server, client(server, policy=RetryPolicy(try_timeout_s=0.1)) as cloud:
        with pytest.raises(NetworkError, match=r"no answer .* within 0.1 s\n\nhint: it may have been") as caught:
            await cloud.endpoints.create({})
    assert caught.value.ambiguous
    assert len(server.seen) == 1


@pytest.mark.parametrize("method", METHODS)
async def test_a_refusal_by_rate_limit_repeats_any_method(method: str) -> None:
    """429 says that nothing was done; Retry-After says for how long."""
    clock = Clock()
    limited = problem(429, "Too Many Requests", Retry_After="7")
    async with serving(limited, OK) as server, client(server, clock) as cloud:
        await cloud.request(method, "/v2/serverless", json={})
    assert server.methods() == [method] * 2
    assert clock.slept == [7.0]


async def test_the_longest_exhausted_window_counts() -> None:
    """With two windows used up, waiting for the shorter one would only earn another refusal."""
    clock = Clock()
    windows = '"minute";r=0;t=12, "hour";r=0;t=45, "day";r=9;t=999'
    limited = problem(429, "Too Many Requests", Retry_After="3", RateLimit=windows)
    async with serving(limited, OK) as server, client(server, clock) as cloud:
        await cloud.endpoints.list()
    assert clock.slept == [46.0]  # headers give whole seconds, which may be rounded down


async def test_too_long_a_wait_is_an_error_with_the_figure() -> None:
    """Half an hour is not waited for; the next call does not even ask."""
    limited = problem(429, "Too Many Requests", "hour window", Retry_After="1812")
    async with serving(limited) as server, client(server) as cloud:
        with pytest.raises(RateLimited, match=r"\(the next call has a chance in 1812 s\)") as caught:
            await cloud.endpoints.list()
        assert caught.value.retry_after == 1812
        with pytest.raises(RateLimited, match="nothing was sent"):
            await cloud.endpoints.list()
    assert len(server.seen) == 1


async def test_a_success_that_used_up_the_window_holds_the_next_call() -> None:
    """The header of a good answer is enough: no refusal has to be earned first."""
    clock = Clock()
    last = Answer(200, {"endpoints": []}, {"RateLimit": '"minute";r=0;t=12'})
    async with serving(last, OK) as server, client(server, clock) as cloud:
        await cloud.endpoints.list()
        await cloud.endpoints.list()
    assert clock.slept == [13.0]


async def test_parallel_calls_share_one_budget() -> None:
    """One call learns of the limit, the others wait with it: one refusal, not ten."""
    clock = Clock()
    limited = problem(429, "Too Many Requests", Retry_After="5")
    async with serving(limited, OK) as server, client(server, clock, max_parallel=1) as cloud:
        await asyncio.gather(*(cloud.endpoints.get("x") for _ in range(10)))
    assert len(server.seen) == 11


async def test_parallel_calls_are_few_at_a_time() -> None:
    """At most `max_parallel` requests are on the way."""
    async with serving(OK) as server, client(server, max_parallel=3) as cloud:
        most = 0

        def watch(_count: int) -> None:
            nonlocal most
            most = max(most, 3 - cloud._budget.slots._value)

        server.on_request = watch
        await asyncio.gather(*(cloud.endpoints.get("x") for _ in range(12)))
    assert most == 3
    assert len(server.seen) == 12


async def test_pauses_are_announced() -> None:
    """Whoever shows progress hears why we wait, and how often we tried."""
    heard: list[Wait] = []
    async with serving(DOWN, OK) as server, client(server, on_wait=heard.append) as cloud:
        await cloud.endpoints.list()
    assert heard == [Wait("GET /v2/serverless", 0.25, "503 Unavailable", 1)]


async def test_the_total_deadline_ends_the_tries() -> None:
    """No pause begins that would outlast the deadline."""
    clock = Clock()
    policy = RetryPolicy(tries=100, first_delay_s=8, total_timeout_s=20)
    async with serving(DOWN) as server, client(server, clock, policy=policy) as cloud:
        with pytest.raises(ServerError):
            await cloud.endpoints.list()
    assert sum(clock.slept) < 20
    assert len(server.seen) == 3


async def test_a_delete_that_may_have_worked_and_finds_nothing_is_done() -> None:
    """The first try's answer was lost; the second one's 404 is its success."""
    gone = problem(404, "Not Found")
    for lost in (DOWN, Answer(drop=True)):
        async with serving(lost, gone) as server, client(server) as cloud:
            await cloud.endpoints.delete("e1")
        assert server.methods().count("DELETE") >= 2


async def test_a_delete_of_nothing_is_not_found() -> None:
    """Without a doubtful try before it, 404 means that it was gone already."""
    async with serving(problem(404, "Not Found")) as server, client(server) as cloud:
        with pytest.raises(NotFound):
            await cloud.endpoints.delete("e1")
        server.answers = [problem(429, "Slow down", Retry_After="1"), problem(404, "Not Found")]
        with pytest.raises(NotFound):
            await cloud.endpoints.delete("e1")


async def test_a_declared_repeatable_post_is_repeated() -> None:
    """Cancelling twice is the same as once."""
    async with serving(DOWN, Answer(200, {"id": "j", "status": "CANCELLED"})) as server, client(server) as cloud:
        assert (await cloud.jobs.cancel("e1", "j"))["status"] == "CANCELLED"
    assert len(server.seen) == 2


async def test_nobody_listening_here_is_said_at_once() -> None:
    """A closed port of this machine does not open by waiting; nothing was sent, so nothing is in doubt."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    clock = Clock()
    async with serving() as server:
        server.url = f"http://127.0.0.1:{port}"
        async with client(server, clock) as cloud:
            with pytest.raises(NetworkError, match=r"cannot connect to 127.0.0.1:\d+ \(Connection refused\)") as caught:
                await cloud.endpoints.create({})
    assert not caught.value.ambiguous
    assert clock.slept == []


@given(st.sampled_from(METHODS), st.integers(300, 599), st.booleans())
def test_law_of_statuses(method: str, status: int, repeatable: bool) -> None:
    """A write is repeated after 429 only; a read after 5xx too; a final refusal never."""
    again = may_repeat_status(method, status, repeatable=repeatable)
    if status == 429:
        assert again
    elif status < 500 or (method in ("POST", "PATCH") and not repeatable):
        assert not again


@given(st.sampled_from(METHODS), st.booleans())
def test_law_of_broken_connections(method: str, sent: bool) -> None:
    """What was never sent may be sent; what was sent may be sent again only if it does no harm."""
    assert may_repeat_after_break(method, sent=sent) is (not sent or method in ("GET", "DELETE"))


@given(st.integers(1, 60), st.floats(0, 1, exclude_max=True))
def test_law_of_back_off(failures: int, chance: float) -> None:
    """Each pause is between half and all of the doubled delay, and never above the longest."""
    policy = RetryPolicy()
    full = min(policy.longest_delay_s, policy.first_delay_s * 2.0 ** (failures - 1))
    assert full / 2 <= policy.backoff(failures, chance) <= full


@given(st.text(), st.text())
def test_no_header_is_too_odd(value: str, limit: str) -> None:
    """Whatever a proxy writes into these headers, reading them gives seconds or nothing."""
    found = retry_after_s({"Retry-After": value})
    assert found is None or found >= 0
    budget = Budget(lambda: 1000.0, 1)
    budget.done(budget.take(), {"RateLimit": limit, "RateLimit-Policy": limit})
    assert budget.wait_s() >= 0


def test_retry_after_may_be_a_date() -> None:
    """RFC 9110 allows both forms; a date in the past means now."""
    now = 1_700_000_000.0
    for ahead, expected in ((90, 90.0), (-90, 0.0)):
        when = datetime.datetime.fromtimestamp(now + ahead, datetime.UTC)
        header = email.utils.format_datetime(when, usegmt=True)
        assert retry_after_s({"Retry-After": header}, now) == expected


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from([200, 404, 422, 429, 500, 503]), min_size=1, max_size=6), st.sampled_from(METHODS))
def test_law_over_real_http(statuses: list[int], method: str) -> None:
    """For any run of answers: never more tries than allowed, and a write goes on after nothing but 429."""

    async def scenario() -> tuple[list[int], int]:
        answers = [OK if status == 200 else problem(status, "No", Retry_After="1") for status in statuses]
        async with serving(*answers) as server, client(server) as cloud:
            with contextlib.suppress(ApiError):
                await cloud.request(method, "/v2/serverless/x", json={} if method != "GET" else None)
            return (statuses + [statuses[-1]] * 9)[: len(server.seen)], len(server.seen)

    sent, tries = asyncio.run(scenario())
    assert 1 <= tries <= RetryPolicy().tries
    for status in sent[:-1]:
        assert status == 429 or (status >= 500 and method in ("GET", "DELETE"))
