"""One provider, called as the engine's rules need it: property maps in, property maps out, errors sorted.

Behind a provider stands a plugin process; each provider resource (default or explicit) has one of its own. A provider
whose configuration is not known yet (a preview may find that) is never called: it checks nothing, and what it would
make is unknown.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf import struct_pb2
from pulumi.runtime.proto import provider_pb2, status_pb2

from pulumi_embedded._diff import DiffResult, PropertyDiff
from pulumi_embedded._errors import EngineError
from pulumi_embedded._plugin import Plugin
from pulumi_embedded._urn import name_of, package_of, type_of
from pulumi_embedded._values import PropertyMap, Secret, has_secret, has_unknown, without_secrets
from pulumi_embedded._wire import PLAIN, Peer, decode, encode

_KINDS = ("add", "add-replace", "delete", "delete-replace", "update", "update-replace")
_UNKNOWN_STATUS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS, grpc.StatusCode.UNKNOWN}
DIFF_UNAVAILABLE = (
    "The provider for this resource has inputs that are not known during preview.\n"
    "This preview may not correctly represent the changes that will be applied during an update."
)


class ProviderError(EngineError):
    """A provider said no. `status_unknown`: what the cloud now holds cannot be told from the answer."""

    def __init__(self, message: str, status_unknown: bool = False) -> None:
        self.status_unknown = status_unknown
        super().__init__(message)


class InitError(ProviderError):
    """The resource exists and did not become ready: it is kept, with the reasons."""

    def __init__(
        self, id_: str, outputs: PropertyMap | None, inputs: PropertyMap | None, reasons: Sequence[str]
    ) -> None:
        self.id = id_
        self.outputs = outputs
        self.inputs = inputs
        self.reasons = list(reasons)
        super().__init__("resource partially created but read failed" if not reasons else "; ".join(reasons))


class DiffUnavailable(EngineError):
    """The provider cannot say what changes, since its own configuration is unknown."""


@dataclass(frozen=True)
class CheckFailure:
    """One thing wrong with a resource's inputs; `property` may be empty."""

    property: str
    reason: str


@dataclass(frozen=True)
class ReadResult:
    """What is there. `outputs` None: the resource does not exist. `inputs` None: the provider does not tell."""

    id: str
    outputs: PropertyMap | None
    inputs: PropertyMap | None


class Provider:
    """A plugin in the role of one provider resource."""

    def __init__(self, plugin: Plugin) -> None:
        self.plugin = plugin
        self._configured: asyncio.Future[None] | None = None
        self.config_known = True

    @property
    def _peer(self) -> Peer:
        return self.plugin.peer or PLAIN

    async def _call(self, method: str, request: Any) -> Any:
        try:
            return await getattr(self.plugin.stub, method)(request)
        except grpc.aio.AioRpcError as error:
            raise await self._convert(error) from error

    async def _convert(self, error: grpc.aio.AioRpcError) -> ProviderError:
        metadata: Any = error.trailing_metadata() or ()
        for key, value in metadata:
            if key == "grpc-status-details-bin":
                status = status_pb2.Status.FromString(value if isinstance(value, bytes) else str(value).encode())
                for detail in status.details:
                    failed = provider_pb2.ErrorResourceInitFailed()
                    if detail.Unpack(failed):
                        return InitError(
                            failed.id,
                            decode(failed.properties) if failed.HasField("properties") else None,
                            decode(failed.inputs) if failed.HasField("inputs") else None,
                            failed.reasons,
                        )
                    missing = provider_pb2.ConfigureErrorMissingKeys()
                    if detail.Unpack(missing):
                        lines = "".join(f"\n  {key.name}: {key.description}" for key in missing.missingKeys)
                        return ProviderError(f"required configuration keys were missing:{lines}")
        if error.code() == grpc.StatusCode.UNAVAILABLE and not self.plugin.cancelled:
            code = await self.plugin.child.ended_within(0.3)  # the exit code follows the broken connection
            if code is not None:
                tail = "".join(f"\n  {line}" for line in list(self.plugin.child.tail)[-15:] if line.strip())
                return ProviderError(
                    f"the plugin '{self.plugin.name}' ended with code {code} during the call{tail}", True
                )
        if self.plugin.cancelled and error.code() == grpc.StatusCode.UNAVAILABLE:
            # gRPC's own words ("Socket closed") say nothing to whoever pressed Ctrl-C twice.
            return ProviderError("cut off before the provider had answered; the next update looks what became of it")
        return ProviderError(error.details() or error.code().name, error.code() in _UNKNOWN_STATUS)

    # Configuration

    async def check_config(
        self, urn: str, olds: PropertyMap, news: PropertyMap
    ) -> tuple[PropertyMap, list[CheckFailure]]:
        """Validate the provider's own inputs. The plugin sees secrets in plain here, as with the CLI."""
        request = provider_pb2.CheckRequest(
            urn=urn, name=name_of(urn), type=type_of(urn), olds=encode(olds, PLAIN), news=encode(news, PLAIN)
        )
        try:
            answer = await self.plugin.stub.CheckConfig(request)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return news, []
            raise await self._convert(error) from error
        return _annotate(decode(answer.inputs), news), _failures(answer)

    async def diff_config(
        self, urn: str, old_inputs: PropertyMap, old_outputs: PropertyMap, news: PropertyMap
    ) -> DiffResult | None:
        """What a changed configuration means; None: the plugin cannot tell."""
        request = provider_pb2.DiffRequest(
            urn=urn, name=name_of(urn), type=type_of(urn), old_inputs=encode(old_inputs, PLAIN),
            olds=encode(old_outputs, PLAIN), news=encode(news, PLAIN),
        )  # fmt: skip
        try:
            answer = await self.plugin.stub.DiffConfig(request)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return None
            raise await self._convert(error) from error
        return _diff_result(answer)

    def configure(self, urn: str, id_: str, inputs: PropertyMap) -> None:
        """Start configuring; the first real call waits for it, and reports its failure."""
        self._configured = asyncio.ensure_future(self._configure(urn, id_, inputs))
        self._configured.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _configure(self, urn: str, id_: str, inputs: PropertyMap) -> None:
        if any(has_unknown(value) for key, value in inputs.items() if key != "version"):
            self.config_known = False
            return
        package = package_of(type_of(urn))
        variables = {}
        for key, value in inputs.items():
            plain = without_secrets(value)
            if key != "version":
                variables[f"{package}:config:{key}"] = plain if isinstance(plain, str) else json.dumps(plain)
        request = provider_pb2.ConfigureRequest(
            urn=urn, name=name_of(urn), type=type_of(urn), id=id_, variables=variables,
            args=encode(inputs, Peer()), acceptSecrets=True, acceptResources=True,
            sends_old_inputs=True, sends_old_inputs_to_delete=True,
        )  # fmt: skip
        answer = await self._call("Configure", request)
        if self.plugin.peer is None:
            self.plugin.peer = Peer(secrets=answer.acceptSecrets, resources=answer.acceptResources)
            self.plugin.supports_preview = answer.supportsPreview

    async def _ready(self) -> bool:
        if self._configured is not None:
            await asyncio.shield(self._configured)
        return self.config_known

    def _in(self, struct: struct_pb2.Struct, like: PropertyMap, where: str) -> PropertyMap:
        values = decode(struct, where)
        return values if self._peer.secrets else _annotate(values, like)

    # The life of a resource

    async def check(self, urn: str, olds: PropertyMap, news: PropertyMap) -> tuple[PropertyMap, list[CheckFailure]]:
        """Validated inputs with defaults, and what is wrong with them."""
        if not await self._ready():
            return news, []
        request = provider_pb2.CheckRequest(
            urn=urn, name=name_of(urn), type=type_of(urn), olds=encode(olds, self._peer),
            news=encode(news, self._peer), randomSeed=os.urandom(32),
        )  # fmt: skip
        answer = await self._call("Check", request)
        return self._in(answer.inputs, news, urn), _failures(answer)

    async def diff(
        self,
        urn: str,
        id_: str,
        old_inputs: PropertyMap,
        old_outputs: PropertyMap,
        news: PropertyMap,
        ignore: Sequence[str],
    ) -> DiffResult | None:
        """What the new inputs change; None: the provider leaves that to the engine."""
        if not await self._ready():
            raise DiffUnavailable(DIFF_UNAVAILABLE)
        peer = self._peer
        request = provider_pb2.DiffRequest(
            id=id_, urn=urn, name=name_of(urn), type=type_of(urn), old_inputs=encode(old_inputs, peer),
            olds=encode(old_outputs, peer), news=encode(news, peer), ignoreChanges=ignore,
        )  # fmt: skip
        return _diff_result(await self._call("Diff", request))

    async def create(self, urn: str, inputs: PropertyMap, timeout_s: float, preview: bool) -> tuple[str, PropertyMap]:
        """The id and outputs; in a preview the id is empty and outputs may be unknown."""
        known = await self._ready()
        if preview and not (known and self.plugin.supports_preview):
            return "", (inputs if known else {})
        request = provider_pb2.CreateRequest(
            urn=urn, name=name_of(urn), type=type_of(urn), properties=encode(inputs, self._peer),
            timeout=timeout_s, preview=preview,
        )  # fmt: skip
        answer = await self._call("Create", request)
        if not preview and not answer.id:
            raise ProviderError(f"plugin returned empty resource.ID from create '{urn}'", True)
        return answer.id, self._outputs(answer.properties, inputs, urn, preview)

    async def update(
        self, urn: str, id_: str, old_inputs: PropertyMap, old_outputs: PropertyMap, news: PropertyMap,
        ignore: Sequence[str], timeout_s: float, preview: bool,
    ) -> PropertyMap:  # fmt: skip
        """The outputs after the update."""
        known = await self._ready()
        if preview and not (known and self.plugin.supports_preview):
            return news if known else {}
        peer = self._peer
        request = provider_pb2.UpdateRequest(
            id=id_, urn=urn, name=name_of(urn), type=type_of(urn), olds=encode(old_outputs, peer),
            news=encode(news, peer), old_inputs=encode(old_inputs, peer), timeout=timeout_s,
            ignoreChanges=ignore, preview=preview,
        )  # fmt: skip
        answer = await self._call("Update", request)
        return self._outputs(answer.properties, news, urn, preview)

    def _outputs(self, struct: struct_pb2.Struct, inputs: PropertyMap, urn: str, preview: bool) -> PropertyMap:
        outputs = self._in(struct, inputs, urn)
        if not preview and has_unknown(outputs):
            raise ProviderError(f"the plugin '{self.plugin.name}' returned unknown values outside a preview", True)
        return outputs

    async def read(
        self, urn: str, id_: str, inputs: PropertyMap | None, state: PropertyMap | None, timeout_s: float
    ) -> ReadResult:
        """What is there now."""
        if not await self._ready():
            return ReadResult("", {}, {})
        peer = self._peer
        request = provider_pb2.ReadRequest(
            id=id_, urn=urn, name=name_of(urn), type=type_of(urn), timeout=timeout_s,
            properties=None if state is None else encode(state, peer),
            inputs=None if inputs is None else encode(inputs, peer),
        )  # fmt: skip
        answer = await self._call("Read", request)
        outputs = self._in(answer.properties, state or {}, urn) if answer.HasField("properties") else None
        news = self._in(answer.inputs, inputs or {}, urn) if answer.HasField("inputs") else None
        return ReadResult(answer.id, outputs, news)

    async def delete(self, urn: str, id_: str, inputs: PropertyMap, outputs: PropertyMap, timeout_s: float) -> None:
        """Remove it."""
        await self._ready()
        request = provider_pb2.DeleteRequest(
            id=id_, urn=urn, name=name_of(urn), type=type_of(urn), properties=encode(outputs, self._peer),
            old_inputs=encode(inputs, self._peer), timeout=timeout_s,
        )  # fmt: skip
        await self._call("Delete", request)

    async def invoke(
        self, token: str, args: PropertyMap, preview: bool
    ) -> tuple[PropertyMap | None, list[CheckFailure]]:
        """A function's result; None when the provider's configuration is unknown."""
        if not await self._ready():
            return None, []
        request = provider_pb2.InvokeRequest(tok=token, args=encode(args, self._peer), preview=preview)
        answer = await self._call("Invoke", request)
        return decode(getattr(answer, "return"), token), _failures(answer)


def _failures(answer: Any) -> list[CheckFailure]:
    return [CheckFailure(failure.property, failure.reason) for failure in answer.failures]


def _diff_result(answer: Any) -> DiffResult | None:
    if answer.changes == provider_pb2.DiffResponse.DIFF_UNKNOWN:
        return None
    detailed = None
    if answer.hasDetailedDiff:
        detailed = {
            path: PropertyDiff(_KINDS[change.kind] if change.kind < len(_KINDS) else "update", change.inputDiff)
            for path, change in answer.detailedDiff.items()
        }
    return DiffResult(
        changes=answer.changes == provider_pb2.DiffResponse.DIFF_SOME,
        replace_keys=tuple(answer.replaces),
        stable_keys=tuple(answer.stables),
        changed_keys=tuple(answer.diffs),
        detailed=detailed,
        delete_before_replace=answer.deleteBeforeReplace,
    )


def _annotate(outs: PropertyMap, ins: PropertyMap) -> PropertyMap:
    """Mark as secret what went in as a secret, for a plugin that does not keep the mark itself."""
    result = dict(outs)
    for key, value in ins.items():
        if key not in result:
            continue
        if isinstance(result[key], dict) and isinstance(value, dict):
            result[key] = _annotate(result[key], value)
        elif not isinstance(result[key], Secret) and has_secret(value):
            result[key] = Secret(result[key])
    return result
