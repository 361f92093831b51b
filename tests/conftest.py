"""For every test: no socket to the outside. Loopback and Unix sockets are real."""

import ipaddress
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from redaction import _redact

SPREAD = {"tests/pulumi_embedded/test_scenarios.py"}
"""Long files whose tests share nothing: each of their tests may go to any of the processes."""

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


@pytest.fixture(autouse=True)
def _own_secrets() -> Iterator[None]:
    """A secret that one test registers is not blanked out of the next one's messages."""
    before = set(_redact._values)
    yield
    _redact._values.clear()
    _redact._values.update(before)


class _ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """A file goes to one process whole: its tests may share a costly fixture or an order. A spread file need not."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if file in SPREAD else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """With several processes (`--numprocesses`), share the tests out by file."""
    return _ByFile(config, log)
