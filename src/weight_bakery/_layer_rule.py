"""Layer rule version 1: which bytes a layer has, given its files. Frozen; docs/layer-rule.md says the same in words.

A layer is a function of (path, size, executable, bytes) of its files and of nothing else: not of the machine, the
clock, the user, the umask or the order in which files were found. So its digest can be computed anywhere, known
before a byte moves, and never has to be sent twice. A change to a single byte made here needs a new rule version.
Imports nothing but the errors.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from weight_bakery._errors import LayerRuleError

LAYER_RULE = 1

BLOCK = 512
TRAILER = bytes(2 * BLOCK)

_FILE = b"0"
_DIRECTORY = b"5"
_NAME_BYTES = 100
_PREFIX_BYTES = 155
_OCTAL_SIZE_LIMIT = 8**11  # 8 GiB: the first size that eleven octal digits cannot hold
_WHITEOUT = ".wh."


class RuleFile(Protocol):
    """What the rule needs to know of a file besides its bytes."""

    @property
    def path(self) -> str:
        """Path inside the image, without a leading slash."""

    @property
    def size(self) -> int:
        """Length in bytes."""

    @property
    def executable(self) -> bool:
        """Whether the file is 0755 instead of 0644."""


@dataclass(frozen=True)
class LayerEntry:
    """One entry of the archive: a directory (`file` is None; the name ends with a slash) or a file."""

    name: str
    header: bytes
    file: RuleFile | None


def check_path(path: str) -> None:
    """Refuse a path that cannot, or must not, stand in a layer."""
    parts = path.split("/")
    if not path or path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise LayerRuleError(f"{path!r} is not a plain relative path", "rename the file")
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in path) or "\\" in path:
        raise LayerRuleError(f"{path!r} holds a control character or a backslash", "rename the file")
    if any(part.startswith(_WHITEOUT) for part in parts):
        # The image specification reads such a name as "delete this file from the layers below".
        raise LayerRuleError(f"{path!r} has a part that starts with {_WHITEOUT!r}", "rename the file")
    _encoded(path)


def layer_entries(files: Iterable[RuleFile]) -> list[LayerEntry]:
    """Return the archive's entries in order: every parent directory and every file, sorted by the bytes of the name."""
    by_name: dict[str, RuleFile | None] = {}
    for file in files:
        check_path(file.path)
        if file.path in by_name:
            raise LayerRuleError(f"{file.path!r} appears twice in one layer", "leave one of them out")
        by_name[file.path] = file
        parent = file.path.rpartition("/")[0]
        while parent:
            by_name[parent + "/"] = None
            parent = parent.rpartition("/")[0]
    for name, entry in by_name.items():
        if entry is not None and name + "/" in by_name:
            raise LayerRuleError(f"{name!r} is both a file and a directory in one layer", "rename one of them")
    if not by_name:
        raise LayerRuleError("a layer needs at least one file")
    entries = []
    for name in sorted(by_name, key=_encoded):
        entry = by_name[name]
        if entry is None:
            entries.append(LayerEntry(name, tar_header(name, size=0, mode=0o755, kind=_DIRECTORY), None))
        else:
            mode = 0o755 if entry.executable else 0o644
            entries.append(LayerEntry(name, tar_header(name, size=entry.size, mode=mode, kind=_FILE), entry))
    return entries


def padding(size: int) -> int:
    """Number of zero bytes that follow `size` bytes of content."""
    return -size % BLOCK


def layer_size(files: Sequence[RuleFile]) -> int:
    """Exact size in bytes of the layer that holds `files`; known before any of them is read."""
    entries = layer_entries(files)
    content = sum(entry.file.size + padding(entry.file.size) for entry in entries if entry.file is not None)
    return BLOCK * len(entries) + content + len(TRAILER)


def content_key(files: Iterable[tuple[RuleFile, str]]) -> str:
    """Name a layer by what determines it: rule version, and path, mode, size and sha256 of each file.

    Equal keys mean equal layer digests, so a remembered digest can be found without reading a byte.
    """
    lines = sorted(
        f"{file.path}\0{'x' if file.executable else '-'}\0{file.size}\0{sha256}".encode("utf-8", "surrogateescape")
        for file, sha256 in files
    )
    state = hashlib.sha256(f"layer rule {LAYER_RULE}\n".encode())
    for line in lines:
        state.update(line + b"\n")
    return state.hexdigest()


def tar_header(name: str, *, size: int, mode: int, kind: bytes) -> bytes:
    """Return the 512 bytes before a file's content (or that are a directory)."""
    prefix, short = _split(_encoded(name), name)
    block = bytearray(BLOCK)
    block[0 : len(short)] = short
    block[100:108] = b"%07o\0" % mode
    block[108:116] = b"0000000\0"  # uid
    block[116:124] = b"0000000\0"  # gid
    block[124:136] = _size_field(size)
    block[136:148] = b"00000000000\0"  # mtime
    block[148:156] = b" " * 8  # the checksum counts its own field as spaces
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[329:337] = b"0000000\0"  # device major
    block[337:345] = b"0000000\0"  # device minor
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _size_field(size: int) -> bytes:
    if size < _OCTAL_SIZE_LIMIT:
        return b"%011o\0" % size
    # GNU base-256: the top bit of the first byte, then the number in eleven bytes, big-endian.
    return b"\x80" + size.to_bytes(11, "big")


def _split(encoded: bytes, name: str) -> tuple[bytes, bytes]:
    """Split a long name at the leftmost slash that leaves at most 100 bytes behind it and at most 155 before it."""
    if len(encoded) <= _NAME_BYTES:
        return b"", encoded
    cut = encoded.find(b"/")
    while 0 < cut < len(encoded) - 1 and cut <= _PREFIX_BYTES:
        if len(encoded) - cut - 1 <= _NAME_BYTES:
            return encoded[:cut], encoded[cut + 1 :]
        cut = encoded.find(b"/", cut + 1)
    raise LayerRuleError(
        f"{name!r} is too long for layer rule {LAYER_RULE} ({len(encoded)} bytes; at most {_NAME_BYTES} after a slash"
        f" that has at most {_PREFIX_BYTES} before it)",
        "give the file or the image folder (--name) a shorter name",
    )


def _encoded(name: str) -> bytes:
    try:
        return name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise LayerRuleError(f"{name!r} is not valid UTF-8", "rename the file") from error
