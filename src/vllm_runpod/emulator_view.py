"""What the running emulator says of an endpoint's workers: their state, and how long their start took."""

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from vllm_runpod.project import Project

WAIT_LIMIT_S = 600.0
"""After this long a question is sent all the same, and its own error says what is wrong."""


def workers(project: Project, endpoint_id: str) -> list[dict[str, Any]]:
    """The endpoint's workers with status, times and phases. Raises OSError, ValueError, KeyError."""
    return list(get(project, f"/_emulator/endpoints/{endpoint_id}/workers")["workers"])


def wait_for_worker(project: Project, endpoint_id: str, say: Callable[[str], None], every_s: float = 0.5) -> None:
    """Return when one of the endpoint's workers can take a job, or when it has none that could become so.

    An endpoint that was scaled to zero has no worker until somebody asks, so there is nothing to wait for. Raises
    OSError, ValueError, KeyError.
    """
    began = time.monotonic()
    shown = -1
    while (passed := time.monotonic() - began) < WAIT_LIMIT_S:
        found = workers(project, endpoint_id)
        if not found or any(worker["status"] in ("IDLE", "RUNNING") for worker in found):
            return
        if int(passed) // 10 > shown:
            shown = int(passed) // 10
            states = ", ".join(sorted(str(worker["status"]).lower() for worker in found))
            say(f"waiting for a worker: {states} ({passed:.0f} s)")
        time.sleep(every_s)


def _open(project: Project, path: str, timeout_s: float) -> Any:
    host, port = project.emulator_address()
    key = project.api_key_file.read_text().strip()
    request = urllib.request.Request(f"http://{host}:{port}{path}", headers={"Authorization": f"Bearer {key}"})
    # The address is loopback (checked by emulator_address), so no proxy may come between.
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout_s)


def get(project: Project, path: str) -> Any:
    """The emulator's JSON answer. Raises OSError, ValueError."""
    with _open(project, path, 5) as answer:
        return json.loads(answer.read(1 << 20))


def logged_phases(project: Project, path: str) -> dict[str, float]:
    """Seconds per phase from the worker's `ready` line; empty when it is no longer in the log.

    The stream of a worker's log never ends by itself, so reading stops at that line or when nothing comes.
    """
    with _open(project, path, 1.0) as stream:
        try:
            for raw in stream:
                if not raw.startswith(b"data:") or b"ready" not in raw:
                    continue
                line = json.loads(raw[5:]).get("line", "")
                if line.startswith("{") and (event := json.loads(line)).get("event") == "ready":
                    return {key: float(value) for key, value in event.get("phases", {}).items()}
        except TimeoutError:
            return {}
    return {}
