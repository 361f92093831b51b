"""Where a model's files come from: one small protocol, and what an inventory says.

A source is bound to one pinned revision for its whole life. `inventory()` moves no payload; `open()` may be called
again at any offset, from any thread, which is how an interrupted push is replayed without keeping a copy anywhere.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

SourceKind = Literal["folder", "hub", "s3", "image"]
"""What kind of place names model and revision: a Hugging Face cache is "hub", since the Hub named them."""

Notice = Callable[[str], None]
"""Told in one line about something worth knowing; may be called from any thread."""


def ignore(text: str) -> None:
    """Take no notice."""
    del text


@dataclass(frozen=True)
class SourceFile:
    """A file as its source describes it."""

    path: str
    size: int
    sha256: str | None = None
    """Digest of the content where the source knows it beforehand (hexadecimal)."""
    git_oid: str | None = None
    """Git's own name for the content (`sha1` over a header and the bytes), where that is all the source knows."""
    stamp: str | None = None
    """Changes whenever the content may have changed; equal stamps mean equal content."""
    executable: bool = False


@dataclass(frozen=True)
class Inventory:
    """All files of one revision, sorted by path."""

    kind: SourceKind
    model: str
    """The Hub's repository id, or the folder's name."""
    revision: str | None
    """The commit; None where the source has none (then the content hash of the files stands for it)."""
    files: tuple[SourceFile, ...]
    licence: str | None = None
    """The model's licence as its card names it; None where there is no card."""
    gated: str | None = None
    """How the Hub gates the model: "no", "auto" (terms to accept) or "manual" (a person decides); None if unknown."""


class Reader(Protocol):
    """A stream of a file's bytes."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""


class FileSource(Protocol):
    """Something that can open files by path; the half of a source that streaming needs."""

    def open(self, path: str, offset: int = 0) -> AbstractContextManager[Reader]:
        """Open a file at `offset`; leaving the context closes it, and raises if the file changed meanwhile."""

    def key(self, path: str) -> str:
        """Name the file uniquely on this machine, for the digest cache."""

    def close(self) -> None:
        """Drop connections; a read that is under way in another thread ends with an error. May be called twice."""


class WeightSource(FileSource, Protocol):
    """Where weights come from."""

    cheap: bool
    """True when reading twice costs less than sending once (a local disk)."""

    @property
    def flow_limit(self) -> int | None:
        """How many layers should be read at once from now on; None as long as there is no reason for a limit."""

    def inventory(self) -> Inventory:
        """List the files of the pinned revision. No payload moves."""
