"""The monitor when the operation stops while calls are being answered, and their other end is already gone."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc._cython.cygrpc import ExecuteBatchError  # type: ignore[import-not-found]  # what a server really raises
from pulumi.runtime.proto import resource_pb2

from pulumi_embedded._collect import Collector
from pulumi_embedded._deployment import RunningDeployment
from pulumi_embedded._monitor import Monitor
from pulumi_embedded._provider import CheckFailure
from pulumi_embedded._registry import ProviderRegistry
from pulumi_embedded._state import Deployment


class Plugin:
    """Closes."""

    async def close(self) -> None:
        """Nothing to do."""


class Provider:
    """Refuses its configuration, once the test says so."""

    def __init__(self, may_answer: asyncio.Event) -> None:
        self.plugin = Plugin()
        self._may_answer = may_answer

    async def check_config(self, _urn: str, _olds: Any, _news: Any) -> tuple[dict[str, Any], list[CheckFailure]]:
        """One failure."""
        await self._may_answer.wait()
        return {}, [CheckFailure("apiKeyy", "is no such property")]


class Call:
    """A call whose `abort` raises what gRPC raises."""

    def __init__(self, raises: Exception) -> None:
        self._raises = raises

    async def abort(self, _code: grpc.StatusCode, _text: str) -> None:
        """Never returns."""
        raise self._raises


async def _three_registrations(raises: Exception) -> tuple[list[tuple[str, str, str]], list[Any]]:
    """They wait for one default provider, whose configuration is refused."""
    may_answer = asyncio.Event()

    async def start(_package: str) -> Any:
        return Provider(may_answer)

    events = Collector()
    deployment = RunningDeployment(
        "shop", "dev", Deployment(), ProviderRegistry(start), events, None, parallel=4, continue_on_error=False
    )
    monitor = Monitor(deployment, {})
    requests = [resource_pb2.RegisterResourceRequest(type="demo:index:Thing", name=name, custom=True) for name in "abc"]
    calls = [asyncio.ensure_future(monitor.RegisterResource(request, Call(raises))) for request in requests]
    await asyncio.sleep(0)
    may_answer.set()
    await deployment.stopping.wait()
    monitor.released.set()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    return events.diagnostics, ends


@pytest.mark.parametrize("error", [ExecuteBatchError("Failed"), grpc.aio.UsageError("RPC already finished.")])
def test_a_call_that_is_gone_has_ended_and_is_no_bug(error: Exception) -> None:
    """What was wrong is said once, and nothing else."""
    diagnostics, ends = asyncio.run(_three_registrations(error))
    assert [message for _, _, message in diagnostics] == [
        "pulumi:providers:demo resource 'default': property apiKeyy has a problem: is no such property"
    ]
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends


def test_any_other_surprise_while_answering_is_still_a_bug() -> None:
    """Only the end of a call is expected here."""
    diagnostics, _ = asyncio.run(_three_registrations(KeyError("oops")))
    assert sum("a bug in pulumi_embedded" in message for _, _, message in diagnostics) == 3
