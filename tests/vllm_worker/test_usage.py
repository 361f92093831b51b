"""What requests used: vLLM's own count of tokens, shares of the GPUs, and the worker's figures."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_options import WorkerSettings
from vllm_worker._inputs import parse_input
from vllm_worker._metrics import FEATURES, OTHER_FEATURES, Metrics, joined
from vllm_worker._tags import Tags
from vllm_worker._usage import WHOLE_BODY_BYTES, Desk, GpuClock, gpu_count

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["usage", "prompt_tokens", "completion_tokens", "total_tokens"]), inner)
    ),
    max_leaves=8,
)
CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
SAMPLE = re.compile(
    r'^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>(?:\w+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (?P<value>[\d.e+-]+)$'
)


def desk(gpus: int = 1) -> Desk:
    return Desk(WorkerSettings(), "base", gpus)


def line(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one line that was logged."""
    (text,) = capfd.readouterr().out.splitlines()
    record: dict[str, Any] = json.loads(text)
    return record


def events(*documents: dict[str, Any] | str, name: str = "") -> bytes:
    """A stream as vLLM writes it."""
    named = f"event: {name}\n" if name else ""
    texts = [one if isinstance(one, str) else json.dumps(one, separators=(",", ":")) for one in documents]
    return "".join(f"{named}data: {text}\n\n" for text in texts).encode()


def test_a_usage_line_has_vllms_numbers_and_no_prompt(capfd: pytest.CaptureFixture[str]) -> None:
    """The fixed fields, and the user if there is one."""
    body = json.dumps({"model": "qwen", "messages": [{"role": "user", "content": "a secret"}]}).encode()
    bill = desk().admit_http(CHAT, body, Tags("chat", "ann"))
    bill.saw_body(b'{"choices": [], "usage": {"prompt_tokens": 31, "completion_tokens": 200, "total_tokens": 231}}')
    bill.close("ok")
    bill.close("cancelled")
    record = line(capfd)
    assert record.pop("gpu_seconds") >= 0
    assert record == {
        "event": "usage", "feature": "chat", "inference.backend": "vllm", "model": "qwen", "input_tokens": 31,
        "output_tokens": 200, "user": "ann",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("route", "stream", "tokens"),
    [
        (CHAT, events({"choices": [{"delta": {"role": "assistant"}}], "usage": {"prompt_tokens": 9}},
                      {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}, "[DONE]"), (9, 4)),
        (CHAT, events({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}, {"usage": None}), (9, 4)),
        (RESPONSES, events({"type": "x", "response": {"metadata": {"usage": {"input_tokens": 1}},
                            "usage": {"input_tokens": 9, "output_tokens": 4}}}, name="response.completed"), (9, 4)),
        (MESSAGES, events({"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 0}}})
         + events({"type": "message_delta", "usage": {"input_tokens": 7, "output_tokens": 4,
                   "cache_read_input_tokens": 2}}, name="message_delta"), (9, 4)),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [7, 10_000])
def test_a_stream_is_charged_as_its_last_usage_says(
    route: str, stream: bytes, tokens: tuple[int, int], step: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """In each API's own form, however the stream is cut."""
    bill = desk().admit_http(route, b"{}", Tags())
    for start in range(0, len(stream), step):
        bill.saw_events(stream[start : start + step])
    bill.close("ok")
    record = line(capfd)
    assert (record["input_tokens"], record["output_tokens"]) == tokens
    assert "estimated" not in record
    assert (record["model"], record["feature"]) == ("base", None)


@pytest.mark.parametrize(
    ("route", "stream"),
    [
        (CHAT, events({"choices": [{"delta": {"role": "assistant", "content": ""}}]}, *[
            {"choices": [{"delta": {"content": 'x "usage": {"prompt_tokens": 1} \n\ndata: {'}}]}] * 3, "[DONE]")),
        ("/v1/completions", events(*[{"choices": [{"text": "x"}]}] * 3, "[DONE]")),
        (RESPONSES, events({"type": "a"}, name="response.created")
         + events(*[{"delta": "x"}] * 3, name="response.output_text.delta")),
        (MESSAGES, events(*[{"delta": {"text": "event: content_block_delta\n"}}] * 3, name="content_block_delta")),
    ],
)  # fmt: skip
def test_a_stream_without_usage_is_estimated_and_says_so(
    route: str, stream: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """Events that carried output are counted; nothing in the model's text can pretend to be a count."""
    bill = desk().admit_http(route, b"{}", Tags())
    bill.saw_events(stream)
    bill.close("cancelled")
    record = line(capfd)
    assert (record["input_tokens"], record["output_tokens"], record["estimated"]) == (None, 3, True)
    assert record["outcome"] == "cancelled"


def test_an_error_in_mid_stream_is_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    """vLLM tells of it as an event, when the status is long gone; a text or a field of that name is none."""
    one = desk()
    for last in ({"error": {"message": "no"}}, {"response": {"error": None}}, {"text": 'data: {"error"'}):
        bill = one.admit_http(CHAT, b"{}", Tags())
        bill.saw_events(events({"choices": [{"delta": {"content": "x"}}]}, last, "[DONE]"))
        bill.close("ok")
    outcomes = [json.loads(text).get("outcome") for text in capfd.readouterr().out.splitlines()]
    assert outcomes == ["failed", None, None]


@given(st.dictionaries(st.sampled_from(["usage", "response", "message", "prompt_tokens", "output_tokens"]), JSON))
def test_no_answer_is_too_odd(document: dict[str, Any]) -> None:
    """Whatever comes is passed on; only numbers are counted."""
    one = desk()
    bill = one.admit_http(CHAT, b"{}", Tags())
    bill.saw_document(document)
    bill.saw_body(json.dumps(document).encode())
    bill.saw_events(events(document))
    bill.close("ok")
    (used,) = one.metrics.snapshot()["features"].values()
    assert used["input_tokens"] >= 0
    assert used["output_tokens"] >= 0


def test_large_answers_are_not_parsed_for_their_usage(capfd: pytest.CaptureFixture[str]) -> None:
    """Embeddings end with it."""
    bill = desk().admit_http("/v1/embeddings", b"{}", Tags())
    bill.saw_body(
        b'{"data": [' + b"0.25, " * WHOLE_BODY_BYTES + b'0], "usage": {"prompt_tokens": 8, "total_tokens": 8}}'
    )
    bill.close("ok")
    record = line(capfd)
    assert (record["input_tokens"], record["output_tokens"]) == (8, 0)


def test_what_costs_nothing_has_no_line(capfd: pytest.CaptureFixture[str]) -> None:
    """Lists of models and counting of tokens are counted, not charged."""
    one = desk()
    for route, body in (("/v1/models", None), ("/tokenize", b'{"prompt": "x"}')):
        one.admit_http(route, body, Tags()).close("ok")
    assert capfd.readouterr().out == ""
    assert one.metrics.snapshot()["requests"]["ok"] == 2
    assert one.metrics.snapshot()["features"] == {}


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 50)), min_size=1, max_size=12),
    st.integers(1, 8),
)
def test_shares_of_the_gpus_add_up_to_the_busy_time(spans: list[tuple[float, float]], gpus: int) -> None:
    """Nothing is charged twice and nothing is lost, whichever requests overlap; nobody pays for idle time."""
    now = [0.0]
    clock = GpuClock(gpus, lambda: now[0])
    moments = sorted(
        [(begin, 1, index) for index, (begin, _) in enumerate(spans)]
        + [(begin + length, 2, index) for index, (begin, length) in enumerate(spans)]
    )
    entered: dict[int, float] = {}
    shares: dict[int, float] = {}
    busy = last = 0.0
    for at, kind, index in moments:
        busy += at - last if len(entered) > len(shares) else 0
        now[0] = last = at
        if kind == 1:
            entered[index] = clock.enter()
        else:
            shares[index] = clock.leave(entered[index])
    assert sum(shares.values()) == pytest.approx(gpus * busy, abs=1e-6)
    for index, (_, length) in enumerate(spans):
        assert -1e-6 <= shares[index] <= gpus * length + 1e-6


def test_two_at_once_pay_half_each() -> None:
    """The definition by an example: 4 GPUs, one request of 10 s, another in its last 5 s."""
    now = [0.0]
    clock = GpuClock(4, lambda: now[0])
    first = clock.enter()
    now[0] = 5
    second = clock.enter()
    now[0] = 10
    assert clock.leave(first) == 4 * 5 + 4 * 5 / 2
    assert clock.leave(second) == 4 * 5 / 2


def test_gpus_are_those_that_are_paid_for(tmp_path: Path) -> None:
    """RunPod's word, else the devices, else one."""
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert gpu_count({"RUNPOD_GPU_COUNT": "8"}, tmp_path) == 8
    assert gpu_count({"RUNPOD_GPU_COUNT": "0"}, tmp_path) == 2
    assert gpu_count({}, tmp_path / "none") == 1


def test_a_job_with_many_prompts_is_one_request(capfd: pytest.CaptureFixture[str]) -> None:
    """Its parts are added up."""
    one = desk()
    bill = one.admit_job(parse_input({"prompts": ["a", "b"], "model": "m"}), Tags("bulk"))
    for _ in range(2):
        bill.saw_document({"usage": {"prompt_tokens": 3, "completion_tokens": 4}})
    bill.close("ok")
    record = line(capfd)
    assert (record["input_tokens"], record["output_tokens"], record["model"]) == (6, 8, "m")
    assert one.metrics.snapshot()["features"]["bulk"]["output_tokens"] == 8


def samples(text: str) -> dict[str, float]:
    """Read Prometheus' text format by its grammar: one type a family, families in one piece, no sample twice."""
    found: dict[str, float] = {}
    types: dict[str, str] = {}
    assert text.endswith("\n")
    for one in text.splitlines():
        if one.startswith("# TYPE "):
            _, _, name, kind = one.split(" ")
            assert name not in types
            types[name] = kind
        elif not one.startswith("# HELP "):
            match = SAMPLE.match(one)
            assert match, one
            assert match["name"] == list(types)[-1]
            key = one.rpartition(" ")[0]
            assert key not in found
            found[key] = float(match["value"])
    return found


@given(st.lists(st.text(min_size=1, max_size=8), max_size=5))
def test_any_feature_makes_valid_prometheus_text(features: list[str]) -> None:
    """Quotes, backslashes and whatever else a caller sends stay inside their label."""
    printable = [feature for feature in features if feature.isprintable()]
    metrics = Metrics(2)
    metrics.started({"weights": 1.5, "total": 9})
    for feature in [*printable, None]:
        metrics.used(feature, 0.5, 3, 4)
    found = samples(metrics.text())
    assert found["vllm_worker_gpus"] == 2
    assert found['vllm_worker_start_seconds{phase="weights"}'] == 1.5
    assert sum(value for key, value in found.items() if key.startswith("vllm_worker_gpu_seconds")) == pytest.approx(
        0.5 * (len(printable) + 1)
    )
    assert 'vllm_worker_tokens_total{feature="",kind="output"}' in found


def test_features_are_bounded_in_number() -> None:
    """What comes after the first hundred is counted together."""
    metrics = Metrics(1)
    for index in range(3 * FEATURES):
        metrics.used(f"f{index}", 1.0, 1, 1)
    features = metrics.snapshot()["features"]
    assert len(features) == FEATURES + 1
    assert features[OTHER_FEATURES]["gpu_seconds"] == 2 * FEATURES
    assert len(samples(metrics.text())) < 4 * FEATURES


def test_both_texts_are_one_page() -> None:
    """Whether vLLM's ends its last line or not, and without it."""
    own = Metrics(1).text()
    for of_vllm in (b"# TYPE vllm:a gauge\nvllm:a 1.0", b"# TYPE vllm:a gauge\nvllm:a 1.0\n"):
        assert samples(joined(of_vllm, own).decode())["vllm:a"] == 1
    assert joined(b"", own).decode() == own


async def test_figures_are_logged_when_they_have_changed(capfd: pytest.CaptureFixture[str]) -> None:
    """An idle worker writes nothing."""
    metrics = Metrics(1)
    reports = asyncio.create_task(metrics.report_every(0.01))
    await asyncio.sleep(0.05)
    assert capfd.readouterr().out == ""
    metrics.count("ok")
    await asyncio.sleep(0.08)
    record = line(capfd)
    assert (record["event"], record["requests"]["ok"], record["in_flight"]) == ("metrics", 1, 0)
    reports.cancel()
    metrics.report()
    assert capfd.readouterr().out == ""
