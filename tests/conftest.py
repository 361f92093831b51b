"""For every test: no socket to the outside. Loopback and Unix sockets are real."""

import ipaddress
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from redaction import _redact

settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")
"""The same examples every time, on machines of any speed: whoever changes one thing is not told of another. New
examples are looked for with `make test PYTEST_ARGS=--hypothesis-profile=default`."""

SPREAD = {"tests/pulumi_embedded/test_scenarios.py"}
"""Long files whose tests share nothing: each of their tests may go to any of the processes."""

TOGETHER = (
    (
        "tests/e2e/test_main_job.py",
        "tests/vllm_worker/test_real_vllm.py",
        "tests/vllm_options/test_installed_vllm.py",
        "tests/weight_bakery/test_reshard_loads.py",
    ),
    ("tests/e2e/test_death.py", "tests/e2e/test_streaming.py", "tests/e2e/test_weights_source.py"),
)
"""Files that go to the same process: one load of vLLM at a time, which takes gigabytes and both cores; one deployed
stand-in for all that use it."""

FIRST = (
    *TOGETHER[0],
    *TOGETHER[1],
    "tests/e2e/test_caches.py",
    "tests/e2e/test_secrets.py",
    "tests/vllm_worker/test_worker_process.py",
    "tests/pulumi_runpod/test_engines.py",
    "tests/runpod_emulator/scaler/test_real_workers.py",
    "tests/pulumi_embedded/test_random_stories.py",
    "tests/runpod_emulator/host/test_death.py",
    "tests/infra/test_life_cycle.py",
    "tests/e2e/test_interrupt.py",
    "tests/benchmarks/test_faults.py",
)
"""The longest files: they start first, so that at the end no process waits for another's long file."""

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
    """A file goes to one process whole: its tests may share a costly fixture or an order. A spread file need not.

    Files that stand together go to one process too.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if file in SPREAD else next((files[0] for files in TOGETHER if file in files), file)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, then all others as they are found; a spread file last, to fill the end evenly."""
    place = {file: number - len(FIRST) for number, file in enumerate(FIRST)} | dict.fromkeys(SPREAD, 1)
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0], 0))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """With several processes (`--numprocesses`), share the tests out by file."""
    return _ByFile(config, log)
