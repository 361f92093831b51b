"""`up` waits until an endpoint serves, and says why when it does not."""

import asyncio

import pytest
from aiohttp import web
from google.protobuf import empty_pb2

from pulumi_runpod.provider.readiness import NotReady, Readiness, duration
from runpod_rest import KeyRefused
from tests.pulumi_runpod.cloud import KEY, Cloud
from tests.pulumi_runpod.engine_player import InitError, Player, State
from tests.pulumi_runpod.test_life_cycles import ENDPOINT


async def test_crashing_workers_end_the_wait_early(player: Player, cloud: Cloud) -> None:
    """The reasons hold the last log lines, without the token in them; the endpoint stays with its id."""
    state = State("Endpoint", "llm")
    with pytest.raises(InitError) as caught:
        await player.up(state, {**ENDPOINT, "image": "crash:1"})
    assert caught.value.id == state.id
    assert caught.value.inputs["image"] == "crash:1"
    assert caught.value.properties["image"] == "crash:1"
    assert caught.value.reasons[0].startswith("workers crash again and again")
    assert "no kernel image for this GPU" in caught.value.reasons[-1]
    assert player.leaks(KEY, "hf_abcdefgh12345678") == []
    assert await player.up(state, {**ENDPOINT, "image": "good:1"}) == "update"
    assert state.init_errors == []


async def test_a_refused_probe_names_the_worker_s_words(player: Player) -> None:
    """A worker that answers with an error does not serve."""
    with pytest.raises(InitError) as caught:
        await player.up(State("Endpoint", "llm"), {**ENDPOINT, "image": "refuse:1"})
    assert "the ready probe failed 3 times, last: ValueError: no such route" in caught.value.reasons[0]
    assert "set ready_probe" in caught.value.reasons[1]


async def test_the_time_of_custom_timeouts_is_kept(player: Player, cloud: Cloud) -> None:
    """Without capacity the wait ends in time, with what is known, and leaves no probe in the queue."""
    state = State("Endpoint", "llm")
    cloud.ctx.fleet.step = lambda: None  # type: ignore[attr-defined]  # no worker ever starts
    with pytest.raises(InitError) as caught:
        await player.up(state, ENDPOINT, timeout=0.4)
    assert "did not answer a request within 0 s" in caught.value.reasons[0]
    assert "workers: none yet" in caught.value.reasons[0]
    health = await cloud.call("GET", f"/v2/{state.id}/health")
    assert health["jobs"]["inQueue"] == 0
    with pytest.raises(InitError) as caught:
        await player.up(state, {**ENDPOINT, "env": {"A": "2"}}, timeout=0.4)
    assert any("an answer by a worker of an older one does not count" in reason for reason in caught.value.reasons)


@pytest.mark.parametrize(("seconds", "text"), [(6.2, "6 s"), (119, "119 s"), (120, "2 min"), (1201, "20 min")])
def test_a_duration_is_told_in_a_fitting_unit(seconds: float, text: str) -> None:
    """Six seconds are not 0.1 minutes."""
    assert duration(seconds) == text


async def test_cancel_ends_the_wait_at_once(player: Player, cloud: Cloud) -> None:
    """The engine keeps what was made, and the next `up` goes on."""
    cloud.ctx.fleet.step = lambda: None  # type: ignore[attr-defined]  # no worker ever starts
    state = State("Endpoint", "llm")
    running = asyncio.ensure_future(player.up(state, ENDPOINT))
    while not any("probe job" in line for line in player.logs):
        await asyncio.sleep(0.01)
    await player.call("Cancel", empty_pb2.Empty())
    with pytest.raises(InitError, match="cancelled while waiting"):
        await asyncio.wait_for(running, 10)
    assert state.id


async def test_an_unready_endpoint_is_asked_again_though_nothing_changed(player: Player, cloud: Cloud) -> None:
    """After InitFailed the engine calls Update without a difference."""
    state = State("Endpoint", "llm")
    step = cloud.ctx.fleet.step  # type: ignore[attr-defined]
    cloud.ctx.fleet.step = lambda: None  # type: ignore[attr-defined]
    with pytest.raises(InitError):
        await player.up(state, ENDPOINT, timeout=0.2)
    cloud.ctx.fleet.step = step  # type: ignore[attr-defined]
    assert await player.up(state, ENDPOINT) == "update"
    assert cloud.sent("PATCH", "/v2/serverless/") == []


async def test_an_endpoint_that_is_off_is_not_asked(player: Player, cloud: Cloud) -> None:
    """With workers.max 0 nothing can answer: a warning instead of a wait."""
    await player.up(State("Endpoint", "llm"), {**ENDPOINT, "workers": {"min": 0, "max": 0}})
    assert any("workers.max is 0" in warning for warning in player.warnings)
    assert cloud.host.started == []


async def test_nobody_waits_who_does_not_want_to(player: Player, cloud: Cloud) -> None:
    """wait_for_ready=False starts no worker."""
    await player.up(State("Endpoint", "llm"), {**ENDPOINT, "waitForReady": False})
    assert cloud.host.started == []


async def test_the_probe_is_the_user_s(player: Player, cloud: Cloud) -> None:
    """ready_probe goes out as the job's input."""
    state = State("Endpoint", "llm")
    await player.up(state, {**ENDPOINT, "readyProbe": {"prompt": "hello"}})
    assert cloud.sent("POST", f"/v2/{state.id}/run")[0]["input"] == {"prompt": "hello"}


async def test_progress_is_shown(player: Player) -> None:
    """Status lines name workers and probe; the last one says that it serves."""
    await player.up(State("Endpoint", "llm"), ENDPOINT)
    assert any("probe job in queue" in line for line in player.logs)
    assert player.logs[-1].startswith("serves (after")


async def test_a_load_balancer_is_asked_by_http(player: Player, cloud: Cloud) -> None:
    """204 means wait, 200 means ready; the key goes along, and never to a host that is not allowed."""
    state = State("Endpoint", "lb")
    balanced = {**ENDPOINT, "type": "LOAD_BALANCER", "waitForReady": False}
    await player.up(state, balanced)
    answers = [503, 204, 200]
    keys: list[str] = []

    async def worker(request: web.Request) -> web.Response:
        keys.append(request.headers["Authorization"])
        return web.Response(status=answers.pop(0) if request.path == "/health" else 404)

    runner = web.AppRunner(web.Application())
    runner.app.router.add_get("/{tail:.*}", worker)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    session = player.provider._session
    assert session is not None

    def readiness(base: str, seconds: float, path: str = "/health") -> Readiness:
        return Readiness(
            session=session,
            urn=state.urn(),
            endpoint_id=state.id,
            endpoint_type="LOAD_BALANCER",
            request_urls={"base": base},
            probe={"path": path},
            deadline=session.clock() + seconds,
            version=None,
        )

    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        await readiness(base, 5).wait()
        assert keys == [f"Bearer {KEY}"] * 3
        with pytest.raises(NotReady, match="GET /wrong answered 404"):
            await readiness(base, 0.2, "/wrong").wait()
        with pytest.raises(KeyRefused):
            await readiness("https://elsewhere.example", 5).wait()
    finally:
        await runner.cleanup()
