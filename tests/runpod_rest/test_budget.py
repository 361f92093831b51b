"""One rate-limit budget for all calls: the wall is seen in the headers, and nobody runs into it."""

import asyncio
import math
from collections.abc import Iterator

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from runpod_rest import RATE_LIMIT, Client, RateLimited, RetryPolicy, Wait
from runpod_rest._budget import Budget
from tests.runpod_rest.support import Answer, Clock, Server, client, problem, serving

KEY = "rpa_TESTKEY0123456789ABCDEFGHIJ"


class Account(Server):
    """A server that enforces `quota` calls in each window of `seconds`, by the test's clock, as RunPod does."""

    def __init__(self, clock: Clock, quota: int, seconds: int = 60) -> None:
        super().__init__()
        self.clock, self.quota, self.seconds = clock, quota, seconds
        self.counted: dict[int, int] = {}
        self.refused = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        window = int(self.clock.now // self.seconds)
        left_s = math.floor((window + 1) * self.seconds - self.clock.now)
        used = self.counted.get(window, 0)
        headers = {"RateLimit-Policy": f'"minute";q={self.quota};w={self.seconds}'}
        if used >= self.quota:
            self.refused += 1
            headers |= {"RateLimit": f'"minute";r=0;t={left_s}', "Retry-After": str(left_s + 1)}
            return web.json_response({"status": 429}, status=429, headers=headers)
        self.counted[window] = used + 1
        headers["RateLimit"] = f'"minute";r={self.quota - used - 1};t={left_s}'
        return web.json_response({"id": "x", "endpoints": []}, headers=headers)


class SharedClock(Clock):
    """Time moves to the earliest moment that somebody waits for, once nobody else can go on."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((self.now + seconds, len(self.slept), future))
        await future

    async def run(self) -> None:
        """Move time on whenever everything has been still for a moment."""
        while True:
            before = len(self.slept)
            await asyncio.sleep(0.02)
            if self._waiting and len(self.slept) == before:
                self._waiting.sort(key=lambda item: item[:2])
                self.now = max(self.now, self._waiting[0][0])
                while self._waiting and self._waiting[0][0] <= self.now:
                    self._waiting.pop(0)[2].set_result(None)


async def test_a_hundred_creates_at_sixty_a_minute_meet_no_refusal() -> None:
    """All succeed, in the least number of windows, without one 429; each hears of each wait once."""
    clock, told = SharedClock(), list[Wait]()
    server = Account(clock, quota=60)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    passing = asyncio.create_task(clock.run())
    try:
        async with client(server, clock, on_wait=told.append) as cloud:
            await asyncio.gather(*(cloud.endpoints.create({"name": str(n)}) for n in range(100)))
    finally:
        passing.cancel()
        await runner.cleanup()
    assert sum(server.counted.values()) == 100
    assert server.refused == 0
    assert len(server.counted) == 2
    # 60 left at once; the other 40 waited once.
    assert [wait.reason for wait in told] == [RATE_LIMIT] * 40
    assert all(0 < wait.seconds <= 61 for wait in told)


async def test_the_wait_for_the_limit_is_not_a_time_out() -> None:
    """A call may wait for more windows than its own deadline is long: it has not begun."""
    clock = Clock()
    empty = Answer(200, {"endpoints": []}, {"RateLimit": '"minute";r=0;t=59'})
    async with serving(empty) as server, client(server, clock, policy=RetryPolicy(total_timeout_s=10)) as cloud:
        for _ in range(4):
            await cloud.endpoints.list()
    assert clock.slept == [60.0] * 3


async def test_optional_calls_keep_off_the_last_quarter_and_never_wait() -> None:
    """What only makes a status line richer must not cost a create its place."""
    scarce = {"RateLimit-Policy": '"minute";q=60;w=60', "RateLimit": '"minute";r=15;t=30'}
    async with serving(Answer(200, {"workers": []}, scarce)) as server, client(server) as cloud:
        await cloud.endpoint_workers("e1", optional=True)
        with pytest.raises(RateLimited, match="nothing was sent"):
            await cloud.endpoint_workers("e1", optional=True)
        await cloud.endpoint_workers("e1")
    assert len(server.seen) == 2


async def test_a_refused_optional_call_does_not_wait_either() -> None:
    """It shuts the gate for the others, and gives up."""
    clock = Clock()
    limited = problem(429, "Too Many Requests", Retry_After="7")
    async with serving(limited, Answer(200, {"endpoints": []})) as server, client(server, clock) as cloud:
        with pytest.raises(RateLimited):
            await cloud.endpoint_workers("e1", optional=True)
        assert clock.slept == []
        await cloud.endpoints.list()
    assert clock.slept == [7.0]


async def test_the_job_api_has_a_budget_of_its_own_per_endpoint() -> None:
    """RunPod counts jobs by endpoint: one that is refused holds up neither the control plane nor its neighbours."""
    clock = Clock()
    ok = Answer(200, {"id": "j", "status": "IN_QUEUE", "endpoints": []})
    limited = problem(429, "Too Many Requests", Retry_After="7")
    async with (
        serving(limited, ok) as server,
        Client(KEY, server.url, clock=clock, sleep=clock.sleep, policy=RetryPolicy(tries=1), allowed_hosts=()) as cloud,
    ):
        with pytest.raises(RateLimited):
            await cloud.jobs.status("one", "j")
        await cloud.jobs.status("two", "j")
        await cloud.endpoints.list()
        assert clock.slept == []
        await cloud.jobs.status("one", "j")
    assert clock.slept == [7.0]


def _windows() -> Iterator[tuple[int, int]]:
    yield from ((60, 60), (10, 60), (1, 5))


@given(
    st.sampled_from(list(_windows())),
    st.lists(st.tuples(st.floats(0, 20), st.integers(0, 3)), max_size=60),
)
def test_law_of_the_window(window: tuple[int, int], steps: list[tuple[float, int]]) -> None:
    """However calls and answers fall together: alone on the account, nobody is ever one too many."""
    quota, seconds = window
    now, under_way = 1000.0, list[tuple[float, dict[str, str]]]()
    counted: dict[int, int] = {}
    budget = Budget(lambda: now, 8)
    for passes, answers in steps:
        now += passes
        for _ in range(min(answers, len(under_way))):
            budget.done(*under_way.pop(0))
        # The first call alone tells what the windows are.
        if (counted and budget.wait_s() == 0 and not (len(counted) == 1 and len(under_way))) or not counted:
            left_at = budget.take()
            index = int(now // seconds)
            counted[index] = counted.get(index, 0) + 1
            assert counted[index] <= quota
            left_s = int((index + 1) * seconds - now)
            told = {
                "RateLimit-Policy": f'"minute";q={quota};w={seconds}',
                "RateLimit": f'"minute";r={quota - counted[index]};t={left_s}',
            }
            under_way.append((left_at, told))
