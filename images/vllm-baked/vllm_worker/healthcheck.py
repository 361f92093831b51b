"""`python -m vllm_worker.healthcheck`: exit 0 when the vLLM of a worker in this container answers, else 1.

For HEALTHCHECK in a Dockerfile and for people with a shell in a container. Only the standard library: it runs every
few seconds.
"""

import http.client
import os
import socket
import sys
import tempfile
from pathlib import Path

TIMEOUT_S = 4.0


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("vllm.internal", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


def healthy() -> bool:
    """Ask the vLLM behind VLLM_PORT, or behind the newest worker's socket."""
    port = os.environ.get("VLLM_PORT", "")
    connection: http.client.HTTPConnection
    if port.isdecimal():
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=TIMEOUT_S)
    else:
        sockets = [str(path) for path in Path(tempfile.gettempdir()).glob("vllm-worker-*/vllm.sock")]
        if not sockets:
            return False
        connection = _Unix(max(sockets, key=os.path.getmtime))
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if healthy() else 1)
