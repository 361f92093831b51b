"""Workers' logs: order, numbers, bounds, secrets, and readers that wait."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runpod_emulator.host import WorkerLogFile
from runpod_emulator.host._log import MAX_LINE
from runpod_emulator.host._output import Lines


def texts(log: WorkerLogFile, **chosen: str | int | None) -> list[str]:
    return [line.line for line in log.read(**chosen)]  # type: ignore[arg-type]


def test_lines_are_numbered_and_read_back_in_order(tmp_path: Path) -> None:
    """Also by a second reader of the same file, who goes on counting."""
    path = tmp_path / "w/log.jsonl"
    log = WorkerLogFile(path)
    log.append("system", "one")
    log.append("container", "two")
    again = WorkerLogFile(path)
    again.append("container", "three")
    assert texts(again) == ["one", "two", "three"]
    assert [line.id.rpartition("/")[2] for line in again.read()] == ["000000000001", "000000000002", "000000000003"]
    assert all(line.id == f"{line.ts}/{line.number:012d}" for line in again.read())


def test_reading_is_narrowed_by_tail_source_id_and_time(tmp_path: Path) -> None:
    """As the query parameters of the log route ask for it."""
    log = WorkerLogFile(tmp_path / "log.jsonl")
    for number in range(6):
        log.append("system" if number % 2 else "container", str(number))
    lines = log.read()
    assert texts(log, tail=2) == ["4", "5"]
    assert texts(log, tail=0) == []
    assert texts(log, tail=2, source="system") == ["3", "5"]
    assert texts(log, after_id=lines[3].id) == ["4", "5"]
    assert texts(log, since=lines[0].ts) == ["0", "1", "2", "3", "4", "5"]
    assert texts(log, since="2999-01-01T00:00:00+02:00") == []
    assert texts(log, after_id="2999-01-01T00:00:00Z") == []


def test_nothing_is_written_for_a_log_nobody_writes_to(tmp_path: Path) -> None:
    """Asking for any worker's log makes no file."""
    assert WorkerLogFile(tmp_path / "x/log.jsonl").read() == []
    assert not list(tmp_path.iterdir())


def test_the_file_is_bounded_and_numbers_go_on(tmp_path: Path) -> None:
    """Two files at most, none larger than the limit; the newest lines are there."""
    log = WorkerLogFile(tmp_path / "log.jsonl", max_file_bytes=2000)
    for number in range(500):
        log.append("container", f"line {number}")
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"log.jsonl", "log.1.jsonl"}
    assert max(sizes.values()) <= 2000
    fresh = WorkerLogFile(tmp_path / "log.jsonl")
    assert fresh.read()[-1].number == 500
    assert [line.number for line in fresh.read()] == list(range(fresh.read()[0].number, 501))
    assert texts(log, tail=1) == ["line 499"]


def test_a_line_cut_off_by_a_kill_is_skipped(tmp_path: Path) -> None:
    """And the next line begins a new one."""
    path = tmp_path / "log.jsonl"
    WorkerLogFile(path).append("system", "whole")
    with path.open("ab") as file:
        file.write(b'{"n": 2, "ts": "20')
    log = WorkerLogFile(path)
    log.append("system", "after")
    assert texts(WorkerLogFile(path))[0] == "whole"
    assert texts(WorkerLogFile(path))[-1] == "after"


def test_secrets_are_hidden_in_every_form_and_long_lines_cut(tmp_path: Path) -> None:
    """Plain, in JSON, in a URL, and across the place where the line is cut."""
    log = WorkerLogFile(tmp_path / "log.jsonl")
    secret = 'pa"ss/word with space'
    log.hide([secret])
    log.append("container", f'{secret} pa\\"ss/word with space pa%22ss%2Fword%20with%20space')
    log.append("container", "x" * (MAX_LINE - 3) + secret + "y" * 20_000)
    stored = (tmp_path / "log.jsonl").read_text()
    assert "word" not in stored
    assert texts(log)[0] == "[secret] [secret] [secret]"
    assert len(texts(log)[1]) < MAX_LINE + 10
    assert texts(log)[1].endswith("… [cut]")


async def test_a_follower_gets_old_and_new_lines_once_each(tmp_path: Path) -> None:
    """From where it asks, of the source it asks for, also from another thread."""
    log = WorkerLogFile(tmp_path / "log.jsonl")
    log.append("system", "old")
    log.append("container", "skipped")
    got: list[str] = []

    async def follow() -> None:
        async for line in log.follow(after_id=None, source="system"):
            got.append(line.line)
            if line.line == "end":
                return

    task = asyncio.create_task(follow())
    await asyncio.sleep(0)
    log.append("system", "new")
    await asyncio.to_thread(log.append, "system", "from a thread")
    log.append("system", "end")
    async with asyncio.timeout(5):
        await task
    assert got == ["old", "new", "from a thread", "end"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["container", "system"]), max_size=30), st.integers(0, 35))
def test_reading_after_an_id_is_the_rest(tmp_path_factory: pytest.TempPathFactory, sources: list[str], at: int) -> None:
    """Every line is either up to an id or after it, for any id."""
    log = WorkerLogFile(tmp_path_factory.mktemp("log") / "log.jsonl", max_file_bytes=10**6)
    for number, source in enumerate(sources):
        log.append(source, str(number))
    lines = log.read()
    marker = f"2026-01-01T00:00:00Z/{at:012d}"
    if at:
        assert [line.number for line in log.read(after_id=marker)] == [n.number for n in lines if n.number > at]


@given(st.binary(max_size=400).map(lambda data: data.replace(b"\r", b"")), st.lists(st.integers(0, 400), max_size=8))
def test_lines_do_not_depend_on_the_pieces_they_come_in(data: bytes, cuts: list[int]) -> None:
    """Multi-byte characters cut anywhere come out whole; bad bytes are replaced."""
    pieces, found, last = Lines(), list[str](), 0
    for cut in [*sorted(cuts), len(data)]:
        found += pieces.feed(data[last:cut])
        last = max(last, cut)
    found += pieces.end()
    expected = [line.decode("utf-8", "replace").replace("\0", "\ufffd") for line in data.split(b"\n")]
    assert found == (expected if expected[-1] else expected[:-1])


def test_a_progress_bar_is_one_line() -> None:
    """What a terminal would show in the end."""
    pieces = Lines()
    assert pieces.feed(b"\r 0%\r 50%") == []
    assert pieces.feed(b"\r 100%\r\nnext\r\n") == [" 100%", "next"]


def test_an_endless_line_takes_no_endless_memory() -> None:
    """Its beginning is kept, the rest dropped."""
    pieces = Lines()
    for _ in range(200):
        assert pieces.feed(b"x" * 10_000) == []
    assert len(pieces.end()[0]) < 60_000
