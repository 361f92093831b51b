"""From the text pieces a worker streams back to the bytes its server wrote.

A worker passes on what it reads, and may cut in the middle of a character: at a byte (it then sends the byte as one of
the escapes U+DC80 to U+DCFF, Python's `surrogateescape`) or between two UTF-16 units. JSON carries both. Fed in order,
the pieces give the original bytes again; nothing else is added, dropped or re-framed.
"""

import json
import re
from typing import Any

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_NEITHER = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_HIGH = re.compile("[\ud800-\udbff]$")


class ByteJoiner:
    """Keeps at most one half of a character back until its other half arrives."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: Any) -> bytes:
        """The bytes of one streamed piece. Something that is not text becomes one SSE event (our assumption)."""
        text = piece if isinstance(piece, str) else f"data: {json.dumps(piece, ensure_ascii=False)}\n\n"
        text = self._held + text
        self._held = ""
        if _HIGH.search(text[-1:]):
            text, self._held = text[:-1], text[-1]
        return _encode(text)

    def finish(self) -> bytes:
        """What is left when the stream ends: a half without its other half is U+FFFD."""
        held, self._held = self._held, ""
        return _encode(held)


def _encode(text: str) -> bytes:
    paired = _PAIR.sub(lambda pair: pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le"), text)
    return _NEITHER.sub("\ufffd", paired).encode("utf-8", "surrogateescape")
