"""For every test: no socket to the outside. Loopback and Unix sockets are real."""

import ipaddress
import sys
from typing import Any

import pytest

OUTSIDE_ALLOWED = False
"""tests/live sets this, and nothing else does."""


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):
        return True  # a Unix socket
    host = address[0]
    if host in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _block_outside(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and not OUTSIDE_ALLOWED and not _is_local(args[1]):
        raise ConnectionRefusedError(f"tests may only connect to this machine, not to {args[1]!r}")


sys.addaudithook(_block_outside)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several processes a file goes to one of them whole: its tests may share a costly fixture or an order."""
    for item in items:
        if item.get_closest_marker("spread") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
