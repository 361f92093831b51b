"""What people and programs see of a bake: sizes, rates, time left, and JSON lines whose schema is documented."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.weight_bakery.support import write_model
from weight_bakery import BakeRequest, bake
from weight_bakery._events import LayerAdvanced, LayerFinished, LayerPlanned, Note, Planned
from weight_bakery._meter import Meter
from weight_bakery._show import JsonLines, ProgressDisplay, people_console

LAYERS = (LayerPlanned(0, "weights", "a.safetensors", 1000), LayerPlanned(1, "files", "config", 200))
DOC = Path(__file__).resolve().parents[2] / "docs/bake-json.md"


class Clock:
    """A clock that is set."""

    now = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def test_rate_and_time_left_follow_the_last_seconds() -> None:
    """A layer that was fast and became slow is told as slow."""
    clock = Clock()
    meter = Meter(clock)
    meter.take(Planned("t", LAYERS))
    for _ in range(10):
        clock.now += 1
        meter.take(LayerAdvanced(0, "sending", 50))
    assert meter.layer(0).rate == pytest.approx(50)
    assert meter.layer(0).left_s == pytest.approx(10)
    for _ in range(20):
        clock.now += 1
        meter.take(LayerAdvanced(0, "sending", 5))
    assert meter.layer(0).rate == pytest.approx(5, rel=0.2)
    meter.take(LayerFinished(0, "sent"))
    assert (meter.total().done, meter.total().size) == (1000, 1200)


def test_hashing_does_not_count_as_sent_and_a_step_back_is_told() -> None:
    """The total moves with what has been sent; a layer that starts again gives its bytes back."""
    meter = Meter(Clock())
    meter.take(Planned("t", LAYERS))
    meter.take(LayerAdvanced(0, "hashing", 1000))
    assert meter.total().done == 0
    meter.take(LayerAdvanced(0, "sending", 600))
    meter.take(LayerAdvanced(0, "sending", -600))
    assert meter.total().done == 0
    assert meter.layer(0).rate is None


def test_json_lines_are_those_of_the_document() -> None:
    """Every event and every key that is written stands in docs/bake-json.md; progress is throttled."""
    clock = Clock()
    lines: list[dict[str, Any]] = []
    listen = JsonLines(lambda line: lines.append(json.loads(line)), clock)
    listen(Planned("ghcr.io/me/m:v1", LAYERS))
    for _ in range(100):
        clock.now += 0.1
        listen(LayerAdvanced(0, "sending", 10))
    listen(Note("a note"))
    listen(LayerFinished(0, "sent"))
    events = [line["event"] for line in lines]
    assert events[0] == "planned"
    assert 9 <= events.count("progress") <= 11
    assert events[-2:] == ["note", "layer"]
    last = [line for line in lines if line["event"] == "progress"][-1]
    assert last["bytes_per_second"] == pytest.approx(100, rel=0.1)
    assert last["seconds_left"] == pytest.approx((1000 - last["done"]) / 100, abs=1)
    document = DOC.read_text()
    for line in lines:
        assert f"| `{line['event']}` |" in document
        for key in (*line, *line.get("total", ())):
            assert f"`{key}`" in document or key in ("event", "text"), key


def test_plain_lines_say_rate_time_left_and_total() -> None:
    """Where no bars can be drawn a line now and then tells the layer and the whole."""
    clock = Clock()
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, width=200), clock) as shown:
        shown(Planned("t", LAYERS))
        for _ in range(11):
            clock.now += 1
            shown(LayerAdvanced(0, "sending", 50))
    assert "sending a.safetensors: 500 B of 1000 B, 50 B/s, 0:10 left" in text.getvalue()
    assert "total: 500 B of 1.2 KiB, 50 B/s, 0:14 left" in text.getvalue()


def test_a_bake_told_to_a_program(tmp_path: Path) -> None:
    """Planned first, every layer once, and totals that end at the whole."""
    lines: list[dict[str, Any]] = []
    bake(
        BakeRequest(model=str(write_model(tmp_path / "Tiny")), to=f"oci:{tmp_path}/out:v1"),
        progress=JsonLines(lambda line: lines.append(json.loads(line))),
    )
    done = [line for line in lines if line["event"] == "layer"]
    assert sorted(line["layer"] for line in done) == [entry["layer"] for entry in lines[0]["layers"]]
    assert done[-1]["total"]["done"] == lines[0]["size"]


def test_seeding_speaks_of_files() -> None:
    """A volume gets files, so neither the plain lines nor the JSON lines call them layers."""
    clock = Clock()
    lines: list[dict[str, Any]] = []
    text = io.StringIO()
    with ProgressDisplay(Console(file=text, width=200), clock) as shown:
        for listen in (shown, JsonLines(lambda line: lines.append(json.loads(line)), clock)):
            listen(Planned("s3://volume/snapshot", LAYERS, "file"))
            listen(LayerAdvanced(0, "sending", 10))
            listen(LayerFinished(0, "sent"))
    assert f"s3://volume/snapshot: {len(LAYERS)} files, " in text.getvalue()
    assert "layer" not in text.getvalue() + json.dumps(lines)
    assert [(line["event"], line.get("file")) for line in lines] == [("planned", None), ("progress", 0), ("file", 0)]
    assert [entry["file"] for entry in lines[0]["files"]] == [layer.index for layer in LAYERS]


def test_names_are_shown_as_they_are() -> None:
    """Brackets and colons of file and image names are no styles, no emoji and no reason to stop."""
    odd = "a[/x].json"
    out = io.StringIO()
    with ProgressDisplay(people_console(out, force_terminal=True, width=200)) as shown:
        shown(Planned("oci:o:v1", (LayerPlanned(0, "files", odd, 10),)))
        shown(LayerAdvanced(0, "sending", 5))
        shown(LayerFinished(0, "sent"))
    assert f"{odd}: 10 B done" in out.getvalue()
    assert "oci:o:v1" in out.getvalue()
