"""A worker's log: JSON lines in <state>/workers/<id>/log.jsonl, two sources, bounded, without secrets.

Every line has a number that only rises, also over a restart of the emulator; `id` is `<ts>/<12 digits>`, the form of
the SSE `id` field (runpod-api.md §1.2, Worker logs). When the file reaches its limit it becomes log.1.jsonl and the
one before that is dropped, so at least half of the bound is kept. Whoever follows slower than lines are dropped misses
the dropped ones.
"""

import asyncio
import json
import os
import re
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from redaction import REDACTED, redact

MAX_LINE = 8 * 1024
MAX_FILE = 8 * 1024 * 1024
_RECENT = 2000
_LONGEST_SECRET = 4096
_SHORTEST_SECRET = 4


@dataclass(frozen=True)
class Line:
    """Implements ports.LogLine."""

    number: int
    ts: str
    source: str
    line: str

    @property
    def id(self) -> str:
        return f"{self.ts}/{self.number:012d}"


class WorkerLogFile:
    """Implements ports.WorkerLog. A log nobody has written to has no file. Safe to append to from any thread."""

    def __init__(self, path: Path, *, max_file_bytes: int = MAX_FILE, clock: Callable[[], float] = time.time) -> None:
        self._path, self._max_file, self._clock = path, max_file_bytes, clock
        self._lock = threading.Lock()
        self._recent: deque[Line] = deque(maxlen=_RECENT)
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self._secrets: tuple[str, ...] = ()
        self._torn = self._ends_torn()
        self._last = self._last_number()
        self._complete = self._last == 0
        """Whether `_recent` holds every line there is."""

    def hide(self, secrets: Iterable[str]) -> None:
        """Replace these values, also as JSON and in URLs, in every line from now on."""
        forms = set(self._secrets)
        for secret in secrets:
            if len(secret) >= _SHORTEST_SECRET:
                forms |= {secret, json.dumps(secret)[1:-1], quote(secret, safe="")}
                forms |= {part for part in secret.splitlines() if len(part) >= 12}
        self._secrets = tuple(sorted(forms, key=len, reverse=True))

    def append(self, source: str, line: str) -> None:
        self.append_all(source, [line])

    def append_all(self, source: str, lines: Sequence[str]) -> None:
        """Add lines with one write. Raises OSError when the disk refuses."""
        ts = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
        with self._lock:
            if self._recent and ts < self._recent[-1].ts:
                ts = self._recent[-1].ts  # the clock was set back; times of lines never fall
            fresh = []
            for number, line in enumerate(lines, self._last + 1):
                fresh.append(Line(number, ts, source, self._clean(line)))
            self._write(fresh)
            self._last += len(fresh)
            self._complete = self._complete and len(self._recent) + len(fresh) <= _RECENT
            self._recent.extend(fresh)
        for loop, event in list(self._waiting):
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    def read(
        self,
        *,
        tail: int | None = None,
        since: str | None = None,
        after_id: str | None = None,
        source: str | None = None,
    ) -> Sequence[Line]:
        """Lines in order: those after an id, or not older than a time, or the last `tail`; without any, all."""
        found: Iterable[Line] = self._from(_number(after_id) if after_id is not None else 0)
        if after_id is not None and _number(after_id) == 0:
            since = after_id.partition("/")[0]
        if since is not None:
            earliest = _moment(since)
            found = (line for line in found if _moment(line.ts) >= earliest)
        chosen = [line for line in found if source is None or line.source == source]
        return chosen if tail is None else chosen[-tail:] if tail > 0 else []

    async def follow(self, *, after_id: str | None = None, source: str | None = None) -> AsyncIterator[Line]:
        """Every line after `after_id` (None: from the first one), those that exist and those to come, without end."""
        number = _number(after_id) if after_id is not None else 0
        key = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.add(key)
        try:
            while True:
                key[1].clear()
                for line in self._from(number):
                    number = line.number
                    if source is None or line.source == source:
                        yield line
                await key[1].wait()
        finally:
            self._waiting.discard(key)

    def _from(self, number: int) -> list[Line]:
        """Lines after `number`; from memory when it has them."""
        with self._lock:
            recent = list(self._recent)
            if self._complete or (recent and recent[0].number <= number + 1) or number >= self._last:
                return [line for line in recent if line.number > number]
            return [line for line in self._stored() if line.number > number]

    def _clean(self, line: str) -> str:
        if len(line) > MAX_LINE + _LONGEST_SECRET:
            line = line[: MAX_LINE + _LONGEST_SECRET]
        for secret in self._secrets:
            line = line.replace(secret, REDACTED)
        line = redact(line)
        if len(line) > MAX_LINE:
            line = f"{line[:MAX_LINE]} … [cut]"
        return line

    def _write(self, lines: Sequence[Line]) -> None:
        data = "".join(
            json.dumps({"n": line.number, "ts": line.ts, "source": line.source, "line": line.line}) + "\n"
            for line in lines
        ).encode("ascii")
        if self._torn:
            data, self._torn = b"\n" + data, False
        self._path.parent.mkdir(parents=True, exist_ok=True)
        size = self._path.stat().st_size if self._path.exists() else 0
        if size and size + len(data) > self._max_file:
            self._path.replace(self._older)
        with self._path.open("ab") as file:
            file.write(data)

    @property
    def _older(self) -> Path:
        return self._path.with_name(f"{self._path.stem}.1{self._path.suffix}")

    def _stored(self) -> Iterator[Line]:
        for path in (self._older, self._path):
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            for text in content.splitlines():
                line = _parse(text)
                if line is not None:
                    yield line

    def _ends_torn(self) -> bool:
        """Whether a kill in the middle of a write left a line without its end."""
        try:
            with self._path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                return file.read(1) != b"\n"
        except OSError:
            return False  # no file, or an empty one

    def _last_number(self) -> int:
        return max((line.number for line in self._stored()), default=0)


def _parse(text: bytes) -> Line | None:
    """One stored line; None for one that was cut off by a kill in the middle of the write."""
    try:
        found = json.loads(text)
        return Line(int(found["n"]), str(found["ts"]), str(found["source"]), str(found["line"]))
    except (ValueError, KeyError, TypeError):
        return None


def _number(line_id: str) -> int:
    """The number in an id; 0 when it has none (a bare time)."""
    match = re.fullmatch(r".+/([0-9]{1,18})", line_id)
    return int(match[1]) if match else 0


def _moment(text: str) -> datetime:
    """An RFC 3339 time; the oldest one there is when it cannot be read."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
