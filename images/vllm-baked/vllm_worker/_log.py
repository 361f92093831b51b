"""The worker's own log lines: one JSON object a line, secrets taken out."""

import json
import os
import sys
from typing import Any

from redaction import redact


def write_line(line: str) -> None:
    """Write one line to standard output in a single call.

    RunPod's SDK forks a heartbeat process; a line written through a buffer could be held, or written twice, there.
    """
    try:
        os.write(sys.stdout.fileno(), f"{redact(line)}\n".encode("utf-8", errors="replace"))
    except (BrokenPipeError, ValueError):
        # Nobody listens to the log any more. That is no reason to stop answering.
        return


def event(name: str, message: str, **facts: Any) -> None:
    """Log what happened, for people (`message`) and for programs (`event` and the facts)."""
    write_line(json.dumps({"event": name, "message": message, **facts}, ensure_ascii=False))
