"""A test plays the engine: the provider over real gRPC in this process, with a state per resource.

Every answer is kept in its wire form, so that a test can search all of them for a secret that is not wrapped.
"""

import json
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, provider_pb2, provider_pb2_grpc, status_pb2

from pulumi_runpod.provider.codec import SECRET, SIGNATURE_KEY, from_struct, to_struct
from pulumi_runpod.provider.config import Settings
from pulumi_runpod.provider.engine import GrpcEngine
from pulumi_runpod.provider.servicer import RunPodProvider
from pulumi_runpod.provider.session import Session
from pulumi_runpod.provider.values import Properties, plain

KIND = provider_pb2.PropertyDiff.Kind


@dataclass
class State:
    """One resource as the engine keeps it."""

    type: str
    name: str
    id: str = ""
    inputs: Properties = field(default_factory=dict)
    outputs: Properties = field(default_factory=dict)
    init_errors: list[str] = field(default_factory=list)

    def urn(self, stack: str = "dev") -> str:
        return f"urn:pulumi:{stack}::project::runpod:index:{self.type}::{self.name}"


@dataclass
class Diff:
    changes: str
    paths: dict[str, str]
    replaces: list[str]
    raw: provider_pb2.DiffResponse


class CheckFailed(Exception):
    def __init__(self, failures: Mapping[str, str]) -> None:
        self.failures = dict(failures)
        super().__init__(str(self.failures))


class InitError(Exception):
    """ErrorResourceInitFailed, unpacked as the engine does."""

    def __init__(self, detail: provider_pb2.ErrorResourceInitFailed) -> None:
        self.id, self.reasons = detail.id, list(detail.reasons)
        self.properties, self.inputs = from_struct(detail.properties), from_struct(detail.inputs)
        super().__init__("; ".join(self.reasons))


class _EngineService(engine_pb2_grpc.EngineServicer):
    def __init__(self) -> None:
        self.messages: list[engine_pb2.LogRequest] = []

    async def Log(self, request: engine_pb2.LogRequest, context: Any) -> empty_pb2.Empty:
        self.messages.append(request)
        return empty_pb2.Empty()


class Player:
    """Sends what the engine would send, in its order."""

    def __init__(self, stub: Any, provider: RunPodProvider, service: _EngineService) -> None:
        self.stub, self.provider, self._service = stub, provider, service
        self.answers: list[Any] = []
        self.seed = b"seed-of-this-step"

    @property
    def logs(self) -> list[str]:
        return [message.message for message in self._service.messages]

    @property
    def warnings(self) -> list[str]:
        return [m.message for m in self._service.messages if m.severity == engine_pb2.WARNING]

    async def call(self, method: str, request: Any, metadata: tuple[tuple[str, str | bytes], ...] = ()) -> Any:
        try:
            answer = await getattr(self.stub, method)(request, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            self.answers.append(error.details())
            trailing: Any = error.trailing_metadata() or ()
            for key, value in trailing:
                if key == "grpc-status-details-bin":
                    status = status_pb2.Status.FromString(value)
                    detail = provider_pb2.ErrorResourceInitFailed()
                    assert status.details[0].Unpack(detail)
                    self.answers.append(detail)
                    raise InitError(detail) from error
            raise
        self.answers.append(answer)
        return answer

    async def configure(self, config: Properties, stack: str = "dev", state: str = "one-state") -> None:
        urn = f"urn:pulumi:{stack}::project::pulumi:providers:runpod::default"
        checked = await self.call("CheckConfig", provider_pb2.CheckRequest(urn=urn, news=to_struct(config)))
        if checked.failures:
            raise CheckFailed({failure.property: failure.reason for failure in checked.failures})
        request = provider_pb2.ConfigureRequest(id=state, urn=urn, args=checked.inputs, acceptSecrets=True)
        await self.call("Configure", request)

    async def check(self, state: State, news: Properties, *, fresh: bool = False) -> Properties:
        request = provider_pb2.CheckRequest(
            urn=state.urn(),
            olds=to_struct({} if fresh else state.inputs),
            news=to_struct(news),
            randomSeed=self.seed,
        )
        answer = await self.call("Check", request)
        if answer.failures:
            raise CheckFailed({failure.property: failure.reason for failure in answer.failures})
        return from_struct(answer.inputs)

    async def diff(self, state: State, inputs: Properties) -> Diff:
        answer = await self.call(
            "Diff",
            provider_pb2.DiffRequest(
                id=state.id,
                urn=state.urn(),
                olds=to_struct(state.outputs),
                old_inputs=to_struct(state.inputs),
                news=to_struct(inputs),
            ),
        )
        assert answer.hasDetailedDiff
        assert set(answer.diffs) == {from_path.split(".")[0].split("[")[0] for from_path in answer.detailedDiff}
        paths = {path: KIND.Name(diff.kind) for path, diff in answer.detailedDiff.items()}
        changes = provider_pb2.DiffResponse.DiffChanges.Name(answer.changes)
        return Diff(changes, paths, list(answer.replaces), answer)

    async def create_preview(self, state: State, inputs: Properties) -> Properties:
        request = provider_pb2.CreateRequest(urn=state.urn(), properties=to_struct(inputs), preview=True)
        answer = await self.call("Create", request)
        assert answer.id == ""
        return from_struct(answer.properties)

    async def create(self, state: State, inputs: Properties, timeout: float = 20) -> State:
        request = provider_pb2.CreateRequest(urn=state.urn(), properties=to_struct(inputs), timeout=timeout)
        try:
            answer = await self.call("Create", request)
        except InitError as error:
            state.id, state.inputs, state.outputs = error.id, inputs, error.properties
            state.init_errors = error.reasons
            raise
        assert answer.id
        state.id, state.inputs, state.outputs = answer.id, inputs, from_struct(answer.properties)
        state.init_errors = []
        return state

    async def update_preview(self, state: State, inputs: Properties) -> Properties:
        return from_struct((await self.call("Update", self._update(state, inputs, 0, preview=True))).properties)

    async def update(self, state: State, inputs: Properties, timeout: float = 20) -> State:
        try:
            answer = await self.call("Update", self._update(state, inputs, timeout, preview=False))
        except InitError as error:
            state.outputs, state.init_errors = error.properties, error.reasons
            raise
        state.inputs, state.outputs, state.init_errors = inputs, from_struct(answer.properties), []
        return state

    async def read(self, state: State, *, by_id_alone: bool = False) -> tuple[Properties, Properties] | None:
        request = provider_pb2.ReadRequest(id=state.id, urn=state.urn())
        if not by_id_alone:
            request.inputs.CopyFrom(to_struct(state.inputs))
            request.properties.CopyFrom(to_struct(state.outputs))
        answer = await self.call("Read", request)
        if not answer.id:
            assert not answer.HasField("properties")
            assert not answer.HasField("inputs")
            return None
        return from_struct(answer.properties), from_struct(answer.inputs)

    async def refresh(self, state: State) -> State | None:
        found = await self.read(state)
        if found is None:
            return None
        state.outputs, state.inputs = found
        return state

    async def delete(self, state: State, timeout: float = 5) -> None:
        await self.call(
            "Delete",
            provider_pb2.DeleteRequest(
                id=state.id,
                urn=state.urn(),
                properties=to_struct(state.outputs),
                old_inputs=to_struct(state.inputs),
                timeout=timeout,
            ),
        )

    async def up(self, state: State, news: Properties, timeout: float = 20) -> str:
        """What `up` does with one resource: create, update, replace or nothing. Preview is called beside each."""
        if not state.id:
            inputs = await self.check(state, news)
            await self.create_preview(state, inputs)
            await self.create(state, inputs, timeout)
            return "create"
        inputs = await self.check(state, news)
        diff = await self.diff(state, inputs)
        if diff.replaces:
            fresh = await self.check(state, news, fresh=True)
            old = State(state.type, state.name, state.id, state.inputs, state.outputs)
            await self.create_preview(state, fresh)
            await self.create(state, fresh, timeout)
            await self.delete(old)
            return "replace"
        if diff.changes == "DIFF_SOME" or state.init_errors:
            await self.update_preview(state, inputs)
            await self.update(state, inputs, timeout)
            return "update"
        state.inputs = inputs
        return "same"

    def _update(self, state: State, inputs: Properties, timeout: float, *, preview: bool) -> Any:
        return provider_pb2.UpdateRequest(
            id=state.id,
            urn=state.urn(),
            olds=to_struct(state.outputs),
            old_inputs=to_struct(state.inputs),
            news=to_struct(inputs),
            timeout=timeout,
            preview=preview,
        )

    def leaks(self, *secrets: str) -> list[str]:
        """Secrets that stand unwrapped in any answer or message."""
        texts = [_without_secrets(answer) for answer in self.answers] + self.logs
        return [secret for secret in secrets if any(secret in text for text in texts)]


def _without_secrets(answer: Any) -> str:
    """An answer as text, with everything under a secret wrapper taken out."""
    if isinstance(answer, str) or answer is None:
        return answer or ""
    return json.dumps(_strip(json_format.MessageToDict(answer)), ensure_ascii=False)


def _strip(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get(SIGNATURE_KEY) == SECRET:
            return "<secret>"
        return {key: _strip(item) for key, item in value.items()}
    return [_strip(item) for item in value] if isinstance(value, list) else value


@asynccontextmanager
async def engine(
    *,
    environ: Mapping[str, str] | None = None,
    project_dir: Path | None = None,
    poll_s: float = 0.02,
    applies: bool = False,
    unrecorded: Sequence[str] = (),
) -> AsyncIterator[Player]:
    """A provider behind an engine, not yet configured. `applies`: the engine says that it is no preview.

    `unrecorded`: and of which interrupted creates its state knows only that they began.
    """
    service = _EngineService()
    engine_server = grpc.aio.server()
    engine_pb2_grpc.add_EngineServicer_to_server(service, engine_server)
    engine_port = engine_server.add_insecure_port("127.0.0.1:0")
    await engine_server.start()

    def new_session(settings: Settings, listener: GrpcEngine) -> Session:
        return Session(settings, listener, poll_s=poll_s)

    scratch = tempfile.TemporaryDirectory()
    provider = RunPodProvider(
        "1.2.3", environ=environ or {}, project_dir=project_dir or Path(scratch.name), new_session=new_session
    )
    server = grpc.aio.server()
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    player = Player(provider_pb2_grpc.ResourceProviderStub(channel), provider, service)
    try:
        await player.call(
            "Handshake",
            provider_pb2.ProviderHandshakeRequest(engine_address=f"127.0.0.1:{engine_port}", configure_with_urn=True),
            metadata=(("pulumi-dry-run", "false"), ("pulumi-unrecorded-bin", json.dumps(unrecorded).encode()))
            if applies
            else (),
        )
        yield player
    finally:
        await channel.close(None)
        await server.stop(0)
        await provider.close()
        await engine_server.stop(0)
        scratch.cleanup()


def empty_struct() -> struct_pb2.Struct:
    return struct_pb2.Struct()


__all__ = ["CheckFailed", "Diff", "InitError", "Player", "State", "empty_struct", "engine", "plain"]
