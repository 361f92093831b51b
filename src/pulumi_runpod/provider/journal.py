"""What this provider is about to make, noted on disk before RunPod is asked for it.

A create is safe in the state only when the engine has written it there. Until then a kill of engine or provider leaves
something at RunPod that nobody knows. The note is how the next run finds it: exactly, by its id, once RunPod has
answered; by name and content among what was not there before, if the kill came earlier.

A note belongs to one state and one URN. The state is told by the provider resource's own id, a random number that
stands in that state alone: a colleague's stack of the same name, or a stack made anew, never sees these notes.

A note ends when the engine is known to have the resource: it names the id in a later call, it has inputs of the URN
where there was nothing before, or it ends the provider in good order after it got the answer.

The notes lie in `.pulumi-runpod/creates/` beside Pulumi.yaml, one file each, with a .gitignore of their own. No value
that is secret stands in them. Where the folder cannot be written, creates go on without notes.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

Json = dict[str, Any]
FOLDER = ".pulumi-runpod"
_VERSION = 1


@dataclass(frozen=True)
class Note:
    """One create that the engine may not know of yet."""

    owner: str
    urn: str
    kind: str
    name: str
    body: Json
    """What was asked for, without what is secret."""
    hidden: tuple[str, ...]
    """The members of the body that were left out here."""
    before: tuple[str, ...]
    """Ids of that name which are surely not ours."""
    replaces: bool
    """The state held an older one of this URN at the time."""
    at: float
    id: str = ""
    """What RunPod made; empty as long as it has not answered."""
    answered: bool = False
    """The engine was given the answer."""


class Journal:
    """The notes of one state. `folder` is the project's; None keeps them in memory alone."""

    def __init__(self, folder: Path | None, owner: str) -> None:
        self.owner = owner
        self._folder = folder / FOLDER / "creates" if folder is not None else None
        self._notes = self._load()
        self._settled: set[str] = set()
        """URNs whose last create was answered to the very engine that we still work for."""
        self.problem = ""
        """Why notes could not be written, for one warning."""

    def find(self, urn: str) -> Note | None:
        """The note of a create of this URN that an earlier run, or an earlier try, left behind."""
        return None if urn in self._settled else self._notes.get(urn)

    def unanswered(self) -> list[Note]:
        """Creates of which the engine surely never heard."""
        return [note for note in self._notes.values() if not note.answered]

    def begin(
        self, urn: str, kind: str, body: Json, hidden: Set[str], before: Iterable[str], *, replaces: bool
    ) -> None:
        """RunPod is asked next. `hidden` are the members of the body that must not be written down."""
        shown = {key: value for key, value in body.items() if key not in hidden}
        left_out = tuple(sorted(hidden & body.keys()))
        name, known = str(body.get("name", "")), tuple(sorted(before))
        self._settled.discard(urn)
        self._keep(Note(self.owner, urn, kind, name, shown, left_out, known, replaces, time.time()))

    def made(self, urn: str, resource_id: str) -> None:
        """RunPod made this. Other creates of the same name that are in doubt can not have made it."""
        note = self._notes.get(urn)
        if note is None:
            return
        self._keep(replace(note, id=resource_id))
        for other in list(self._notes.values()):
            if other.urn != urn and (other.kind, other.name) == (note.kind, note.name) and not other.id:
                self._keep(replace(other, before=(*other.before, resource_id)))

    def answered(self, urn: str) -> None:
        """The engine has the answer and writes it down now."""
        note = self._notes.get(urn)
        if note is not None and note.id:
            self._settled.add(urn)
            self._keep(replace(note, answered=True))

    def never_recorded(self, urns: Set[str]) -> None:
        """The engine's state has nothing of these but that their create began: our answer was lost with the engine."""
        for note in [note for note in self._notes.values() if note.answered and note.urn in urns]:
            self._notes[note.urn] = replace(note, answered=False)

    def forget(self, urn: str) -> None:
        """There is nothing, or nothing unknown, behind this note any more."""
        if self._notes.pop(urn, None) is not None and self._folder is not None:
            with contextlib.suppress(OSError):
                self._path(urn).unlink(missing_ok=True)
            self._tidy()

    def engine_knows_id(self, resource_id: str) -> None:
        """The engine named this id, so it is in the state."""
        for note in [note for note in self._notes.values() if note.id == resource_id]:
            self.forget(note.urn)

    def engine_knows_urn(self, urn: str) -> None:
        """The state holds a resource of this URN. Where it held none before the create, it is the one we made."""
        note = self._notes.get(urn)
        if note is not None and note.id and not note.replaces:
            self.forget(urn)

    def close(self) -> None:
        """The engine ends us in good order: it has written down every answer that it got from us.

        An answer of an earlier run stays noted until the engine names it: this run may have failed before it could.
        """
        for note in [note for note in self._notes.values() if note.answered and note.urn in self._settled]:
            self.forget(note.urn)

    def place(self, urn: str) -> str:
        """The note's file as a user may look for it."""
        return f"{FOLDER}/creates/{self._path(urn).name}" if self._folder is not None else ""

    def _path(self, urn: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{hashlib.sha256(f'{self.owner} {urn}'.encode()).hexdigest()[:24]}.json"

    def _load(self) -> dict[str, Note]:
        notes: dict[str, Note] = {}
        if self._folder is None or not self._folder.is_dir():
            return notes
        for path in sorted(self._folder.glob("*.json")):
            note = _read(path)
            if note is not None and note.owner == self.owner:
                notes[note.urn] = note
        return notes

    def _keep(self, note: Note) -> None:
        self._notes[note.urn] = note
        if self._folder is None:
            return
        text = json.dumps({"version": _VERSION, **asdict(note)})
        try:
            try:
                self._write(self._path(note.urn), text)
            except FileNotFoundError:
                # Another provider of this project just tidied the folder away.
                self._write(self._path(note.urn), text)
        except OSError as error:
            self.problem = f"{self._folder}: {error.strerror or error}"

    def _write(self, path: Path, text: str) -> None:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
        ignore = path.parent.parent / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        new = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def _tidy(self) -> None:
        """Leave no empty folder behind."""
        assert self._folder is not None
        with contextlib.suppress(OSError):
            self._folder.rmdir()
            (self._folder.parent / ".gitignore").unlink(missing_ok=True)
            self._folder.parent.rmdir()


def _read(path: Path) -> Note | None:
    """A note, or None where the file is not one of this version: then nothing is claimed."""
    try:
        data = json.loads(path.read_text())
        if data.pop("version") != _VERSION:
            return None
        return Note(**{**data, "before": tuple(data["before"]), "hidden": tuple(data["hidden"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
