"""Which blobs of a layout are known to be what their names say, so that they need not be hashed again.

A blob is trusted while its stat signature is the one it had when this layout wrote it or hashed it. The memory is a
file in `.bakery/` of the layout; it may be deleted at any time, and then every blob is hashed once more.
"""

import json
import os
from collections.abc import Callable

_VERSION = 1
_FRESH_NS = 100_000_000
"""A file changed this recently may change again within the same tick of its clock, without a new signature."""


class BlobMemory:
    """Signatures by blob name, and what was learnt since they were read."""

    def __init__(self, content: bytes | None) -> None:
        self._known = _parse(content)
        self._learnt: dict[str, str] = {}

    @property
    def changed(self) -> bool:
        """Whether something was learnt that is not written down yet."""
        return bool(self._learnt)

    def trusts(self, name: str, status: os.stat_result) -> bool:
        """Whether the blob is the one that was written or hashed."""
        return self._known.get(name) == _signature(status)

    def wrote(self, name: str, status: os.stat_result) -> None:
        """Remember a blob that was just written, by its final place and times."""
        self._known[name] = self._learnt[name] = _signature(status)

    def hashed(self, name: str, before: os.stat_result, after: os.stat_result, started: float) -> None:
        """Remember a blob that was hashed from `started` (time.time) on, unless it may have changed meanwhile."""
        newest = max(before.st_mtime_ns, before.st_ctime_ns)
        if _signature(before) == _signature(after) and int(started * 1e9) - newest > _FRESH_NS:
            self.wrote(name, after)

    def merged(self, content: bytes | None, exists: Callable[[str], bool]) -> bytes:
        """Return the memory to write: what another bake wrote meanwhile, with what was learnt here laid over it."""
        merged = {name: signature for name, signature in (_parse(content) | self._learnt).items() if exists(name)}
        self._learnt = {}
        return json.dumps({"version": _VERSION, "blobs": merged}, sort_keys=True).encode()


def _parse(content: bytes | None) -> dict[str, str]:
    if content is None:
        return {}
    try:
        value = json.loads(content)
        if value["version"] != _VERSION:
            return {}
        return {str(name): str(signature) for name, signature in value["blobs"].items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}  # nothing is lost but time: the blobs are hashed again


def _signature(status: os.stat_result) -> str:
    return f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
