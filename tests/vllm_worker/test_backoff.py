"""A configuration that cannot start is not paid for again and again."""

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vllm_worker.support import Worker
from vllm_options import latest_version, options, read_environment
from vllm_worker._backoff import FREE_FAILURES, LONGEST_REST_S, REST_S, Starts, configuration_key, rest_s
from vllm_worker._errors import EngineError
from vllm_worker._remedies import Remedy


@dataclass
class Clock:
    """A clock that goes on when it is told to."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Container:
    """One container's disk and clock; `start` is what one run of the worker does."""

    folder: Path
    clock: Clock
    enabled: bool = True

    def starts(self, key: str = "k") -> Starts:
        return Starts(self.folder, key, self.enabled, self.clock)

    def fail(self, key: str = "k", took_s: float = 5.0) -> None:
        starts = self.starts(key)
        starts.refuse_if_resting()
        starts.begin()
        self.clock.now += took_s
        starts.failed(EngineError("vLLM ended: too small", Remedy("kv_cache_too_small", "too small", "do this")))

    def refused(self, key: str = "k") -> str | None:
        try:
            self.starts(key).refuse_if_resting()
        except EngineError as error:
            return str(error)
        return None


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path / "cache", Clock())


def test_three_failures_make_it_pause_and_each_further_one_longer(container: Container) -> None:
    """60 s, 120 s, 240 s, ... up to half an hour; between two failures nothing is started."""
    for _ in range(FREE_FAILURES - 1):
        container.fail()
        assert container.refused() is None
    pauses = []
    for _ in range(8):
        container.fail()
        failed_at = container.clock.now
        assert "vLLM ended: too small" in (container.refused() or "")
        while container.refused() is not None:
            container.clock.now += 1
        pauses.append(round(container.clock.now - failed_at))
    assert pauses == [60, 120, 240, 480, 960, 1800, 1800, 1800]


def test_the_refusal_is_one_line_with_the_remedy(container: Container) -> None:
    """How often, how long, how to switch it off, and what the last failure was."""
    for _ in range(3):
        container.fail()
    with pytest.raises(EngineError) as caught:
        container.starts().refuse_if_resting()
    assert str(caught.value) == (
        "vLLM is not started: it failed 3 times in a row with this configuration, and the next attempt is made in 60 s "
        "(WORKER_BACKOFF=false tries at once); the last failure: vLLM ended: too small"
    )
    assert caught.value.facts == {"cause": "kv_cache_too_small", "remedy": "do this"}


def test_success_another_configuration_and_time_end_a_row(container: Container) -> None:
    """So does switching it off, which leaves no file either."""
    for _ in range(3):
        container.fail()
    assert container.refused("other") is None
    container.clock.now += REST_S
    good = container.starts()
    good.begin()
    good.succeeded()
    good.failed(EngineError("died hours later"))
    assert container.refused() is None
    assert not list(container.folder.iterdir())
    for _ in range(3):
        container.fail()
    container.clock.now += 3600
    container.fail()
    assert container.refused() is None
    off = Container(container.folder / "off", container.clock, enabled=False)
    for _ in range(9):
        off.fail()
    assert not off.folder.exists()


def test_a_worker_that_is_killed_has_failed_and_one_that_is_called_off_has_not(container: Container) -> None:
    """The platform kills what takes too long to start: nobody can note it then, so it is noted before."""
    for _ in range(9):
        called_off = container.starts()
        called_off.begin()
        called_off.withdrawn()
    assert container.refused() is None
    for _ in range(3):
        container.starts().begin()
    assert "killed" in (container.refused() or "")
    container.clock.now += 3600
    for _ in range(3):
        container.fail()
    container.clock.now += REST_S
    container.starts().begin()
    with pytest.raises(EngineError, match="killed") as caught:
        container.starts().refuse_if_resting()
    assert caught.value.facts == {}, "the remedy of an older failure is not that of this one"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"key": "k"', '{"key": "k", "count": "x", "at": 1000000}', '{"key": "k", "x": 1}',
     '{"key": "k", "count": 99, "at": "now"}', '{"key": "k", "count": 5, "at": 2000000, "took_s": 1}'],
)  # fmt: skip
def test_a_damaged_file_stops_nobody(container: Container, text: str) -> None:
    """Nonsense, and times that are still to come, count as no failure."""
    container.folder.mkdir()
    (container.folder / "starts.json").write_text(text)
    assert container.refused() is None
    container.fail()
    assert json.loads((container.folder / "starts.json").read_text())["count"] == 1


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    """A note, and the start goes on."""
    (tmp_path / "file").write_text("")
    starts = Starts(tmp_path / "file" / "below", "k")
    starts.begin()
    starts.failed(EngineError("x"))
    Starts(tmp_path / "file" / "below", "k").refuse_if_resting()


@given(st.integers(0, 10**9), st.floats(0, 1e9))
def test_a_pause_grows_and_has_a_bound(count: int, took_s: float) -> None:
    """Never for the first failures, never shorter than the minute, never longer than the bound."""
    rest = rest_s(count, took_s)
    assert (rest == 0) == (count < FREE_FAILURES)
    assert rest == 0 or REST_S <= rest <= LONGEST_REST_S
    assert rest_s(count + 1, took_s) >= rest


def test_the_key_is_the_configuration() -> None:
    """The same for the same settings; another one for a changed token, option, setting or vLLM."""

    def key(version: str = "1", **environ: str) -> str:
        return configuration_key(read_environment({"MODEL_NAME": "o/m", **environ}, options(latest_version())), version)

    assert key() == key() == key(RUNPOD_POD_ID="another")
    changed: list[dict[str, Any]] = [{"HF_TOKEN": "hf_a"}, {"MAX_MODEL_LEN": "9"}, {"VLLM_STARTUP_TIMEOUT": "9"}]
    keys = {key(), key(version="2"), *(key(**one) for one in changed)}
    assert len(keys) == 5
    assert key(WORKER_IGNORE_ENV="A,B,C") == key(WORKER_IGNORE_ENV="C,B,A")


async def test_a_worker_that_failed_three_times_ends_without_starting_vllm(
    fake_python: Path, start: Callable[..., Any], tmp_path: Path
) -> None:
    """The file outlives the process; the last line of both names the remedy, for people and for programs."""
    home = tmp_path / "home0"
    home.mkdir()
    (home / "fake.json").write_text(json.dumps({"fail": "ValueError: No available memory for the cache blocks."}))
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        environment = {"WORKER_MODE": "load_balancer", "PORT": str(place.getsockname()[1])}
    first = await start(**environment)
    assert await first.finished() == 1
    last = json.loads(first.lines[-1])
    assert (last["event"], last["cause"]) == ("end", "no_kv_cache")
    assert last["remedy"] in last["message"]
    state = home / ".cache" / "vllm-worker" / "starts.json"
    noted = json.loads(state.read_text())
    assert noted["count"] == 1
    state.write_text(json.dumps({**noted, "count": 3, "at": time.time()}))
    asked = len(first.requests())

    model = {"MODEL_NAME": str(tmp_path / "models" / "fake"), "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "fake"}
    second = await Worker.start(fake_python, home, {**environment, **model})
    assert await second.finished() == 1
    end = json.loads(second.lines[-1])
    assert "failed 3 times in a row" in end["message"]
    assert end["remedy"].startswith("raise GPU_MEMORY_UTILIZATION")
    assert len(second.requests()) == asked
