"""The resource monitor: the service a program registers its resources with.

What the program asks for and this engine does not do is refused by name, as an error of the operation. When the
operation fails or is cancelled nobody is answered any more: the program is ended instead, quietly.
"""

# ruff: noqa: ARG002, N802 - the signatures and names are the protocol's

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import provider_pb2, resource_pb2, resource_pb2_grpc

from pulumi_embedded._config import ConfigValue
from pulumi_embedded._default_providers import DefaultProviders, set_provider_options
from pulumi_embedded._deployment import RunningDeployment
from pulumi_embedded._errors import EngineError, NotSupported
from pulumi_embedded._goal import Alias, Goal, ReadGoal, Registered, parse_duration
from pulumi_embedded._paths import parse_path
from pulumi_embedded._provider import CheckFailure, DiffUnavailable
from pulumi_embedded._urn import is_provider_type, is_urn, package_of, split_provider, type_of
from pulumi_embedded._values import UNKNOWN, PropertyMap, has_unknown
from pulumi_embedded._wire import UNKNOWN_STRING, Peer, decode, decode_value, encode

_log = logging.getLogger("pulumi_embedded")

_FEATURES = {
    "secrets": resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
    "resourceReferences": resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_REFERENCES,
    "aliasSpecs": resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
    "replacementTrigger": resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACEMENT_TRIGGER,
    "deletedWith": resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
    "replaceWith": resource_pb2.RESOURCE_MONITOR_FEATURE_REPLACE_WITH,
}
_GET_RESOURCE = "pulumi:pulumi:getResource"
_COMPONENT_OPTIONS = {
    "ignoreChanges": "ignore_changes", "customTimeouts": "custom_timeouts",
    "additionalSecretOutputs": "additional_secret_outputs", "replaceOnChanges": "replace_on_changes",
}  # fmt: skip


Handler = Callable[["Monitor", Any, Any], Awaitable[Any]]


def _guarded(handler: Handler) -> Handler:
    """An unexpected exception ends the operation as a bug of ours, instead of surfacing in the user's program."""

    @functools.wraps(handler)
    async def guarded(self: "Monitor", request: Any, context: Any) -> Any:
        try:
            return await handler(self, request, context)
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except Exception as bug:  # noqa: BLE001 - reported as ours
            _log.exception("%s failed unexpectedly", handler.__name__)
            self._fail("", EngineError(f"a bug in pulumi_embedded, please report it: {handler.__name__}: {bug!r}"))
            await self._gone(context)

    return guarded


class Monitor(resource_pb2_grpc.ResourceMonitorServicer):
    """The service. `finished` is set when the program has registered everything; `released` lets it end."""

    def __init__(self, deployment: RunningDeployment, config: Mapping[str, ConfigValue]) -> None:
        self._deployment = deployment
        self._config = config
        self._defaults = DefaultProviders(deployment, config)
        self._goals: dict[str, Goal] = {}
        self._component_providers: dict[str, dict[str, str]] = {}
        self.finished = asyncio.Event()
        self.released = asyncio.Event()

    # Errors and waiting

    def _fail(self, urn: str, error: Exception) -> None:
        self._deployment.error(urn, str(error))
        self._deployment.stop()

    async def _gone(self, context: grpc.aio.ServicerContext[Any, Any]) -> NoReturn:
        """Hold the call until the program is ended; a call that is answered would print a traceback."""
        await self.released.wait()
        await self._abort(context, grpc.StatusCode.UNAVAILABLE, "the operation has ended")

    @staticmethod
    async def _abort(context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, text: str) -> NoReturn:
        """End a call with an error. If its other end is gone there is nobody to tell: the call counts as cancelled.

        gRPC cancels the calls of a program that was killed, but an answer may be on its way before that.
        """
        try:
            await context.abort(code, text)
        except (grpc.aio.InternalError, grpc.aio.UsageError) as gone:
            raise asyncio.CancelledError from gone
        raise AssertionError("abort returns never")

    async def _answer_or_stop(self, done: "asyncio.Future[Registered]") -> Registered | None:
        await self._deployment.first_of(done)
        return done.result() if done.done() else None

    # Talking about ourselves

    async def SupportsFeature(self, request: Any, context: Any) -> Any:
        return resource_pb2.SupportsFeatureResponse(hasSupport=request.id in _FEATURES)

    async def GetDeploymentInfo(self, request: Any, context: Any) -> Any:
        deployment = self._deployment
        return resource_pb2.DeploymentInfo(
            project=deployment.project,
            stack=deployment.stack,
            organization="organization",
            config={key: value.text for key, value in self._config.items()},
            configSecretKeys=[key for key, value in self._config.items() if value.secret],
            dryRun=deployment.preview,
            supportedFeatures=list(_FEATURES.values()),
        )

    async def SignalAndWaitForShutdown(self, request: Any, context: Any) -> Any:
        self.finished.set()
        await self.released.wait()
        return Empty()

    # Resources

    @_guarded
    async def RegisterResource(self, request: Any, context: Any) -> Any:
        try:
            goal = await self._goal(request)
        except (EngineError, ValueError) as error:
            self._fail("", error)
            await self._gone(context)
        if goal is None:
            await self._gone(context)
        goal.done = asyncio.get_running_loop().create_future()
        await self._deployment.register(goal)
        registered = await self._answer_or_stop(goal.done)
        if registered is None or registered.state is None:
            await self._gone(context)
        if registered.result != "success" and not request.supportsResultReporting:
            await self._abort(context, grpc.StatusCode.INTERNAL, "resource registration failed")
        state = registered.state
        self._goals[state.urn] = goal
        if not goal.custom:
            self._component_providers[state.urn] = self._providers_for(request, goal.parent)
            for option, attribute in _COMPONENT_OPTIONS.items():
                if getattr(goal, attribute):
                    self._deployment.warn(state.urn, f"The option '{option}' has no effect on component resources.")
        outputs = state.outputs if goal.custom else {}
        if not request.supportsPartialValues:
            outputs = {key: value for key, value in outputs.items() if not has_unknown(value)}
        return resource_pb2.RegisterResourceResponse(
            urn=state.urn,
            id="" if state.id is UNKNOWN else state.id,
            object=encode(outputs, Peer(request.acceptSecrets, request.acceptResources)),
            # This SDK knows no third result; a skipped resource is one that does not exist either.
            result=resource_pb2.SUCCESS if registered.result == "success" else resource_pb2.FAIL,
        )

    def _providers_for(self, request: Any, parent: str) -> dict[str, str]:
        return {**self._component_providers.get(parent, {}), **dict(request.providers)}

    async def _goal(self, request: Any) -> Goal | None:
        _refuse(request)
        custom, type_ = request.custom, request.type
        if custom and type_.count(":") != 2:
            raise EngineError(f"Type '{type_}' is not a valid type token (must have format '*:*:*')")
        if custom and package_of(type_) == "pulumi" and not is_provider_type(type_):
            raise NotSupported(f"the built-in resource type {type_}")
        self._inherit(request)
        where = f"{type_} '{request.name}'"
        properties = decode(request.object, where)
        dependencies = list(dict.fromkeys(request.dependencies))
        if request.propertyDependencies:
            by_property = {key: list(value.urns) for key, value in request.propertyDependencies.items()}
        else:
            by_property = dict.fromkeys(properties, dependencies)
        for urn in (*dependencies, *(u for urns in by_property.values() for u in urns)):
            if not is_urn(urn):
                raise EngineError(f"{where}: invalid dependency URN: {urn}")
        provider = ""
        if is_provider_type(type_):
            set_provider_options(properties, request.version, request.pluginDownloadURL)
        elif custom:
            reference = self._explicit_provider(request, package_of(type_))
            if not reference:
                found = await self._defaults.get(package_of(type_), request.version, request.pluginDownloadURL, type_)
                if found is None:
                    return None
                reference = found
            provider = reference
        for path in request.replaceOnChanges:
            parse_path(path)
        trigger = None
        if request.HasField("replacement_trigger"):
            trigger = decode_value(request.replacement_trigger, where)
        return Goal(
            type=type_,
            name=request.name,
            custom=custom,
            properties=properties,
            parent=request.parent,
            protect=request.protect if request.HasField("protect") else None,
            dependencies=dependencies,
            provider=provider,
            property_dependencies=by_property,
            delete_before_replace=request.deleteBeforeReplace
            if request.deleteBeforeReplaceDefined or request.deleteBeforeReplace
            else None,
            ignore_changes=list(request.ignoreChanges),
            additional_secret_outputs=list(request.additionalSecretOutputs),
            aliases=_aliases(request),
            import_id=request.importId,
            custom_timeouts=_timeouts(request),
            replace_on_changes=list(request.replaceOnChanges),
            replacement_trigger=trigger,
            retain_on_delete=request.retainOnDelete if request.HasField("retainOnDelete") else None,
            deleted_with=request.deletedWith,
            replace_with=list(request.replace_with),
            hide_diff=list(request.hideDiffs),
        )

    def _inherit(self, request: Any) -> None:
        parent = self._goals.get(request.parent)
        if parent is None:
            return
        if not request.deletedWith:
            request.deletedWith = parent.deleted_with
        if not request.HasField("protect") and parent.protect is not None:
            request.protect = parent.protect
        if not request.HasField("retainOnDelete") and parent.retain_on_delete is not None:
            request.retainOnDelete = parent.retain_on_delete
        if not request.provider and parent.provider:
            of_parent = package_of(type_of(split_provider(parent.provider)[0]))
            if not request.custom or of_parent == package_of(request.type):
                request.provider = parent.provider

    def _explicit_provider(self, request: Any, package: str) -> str:
        reference: str = request.provider or dict(request.providers).get(package, "")
        return reference or self._component_providers.get(request.parent, {}).get(package, "")

    @_guarded
    async def RegisterResourceOutputs(self, request: Any, context: Any) -> Any:
        try:
            outputs = decode(request.outputs, request.urn)
        except EngineError as error:
            self._fail(request.urn, error)
            await self._gone(context)
        await self._deployment.register_outputs(request.urn, outputs)
        if self._deployment.stopping.is_set():
            await self._gone(context)
        return Empty()

    @_guarded
    async def ReadResource(self, request: Any, context: Any) -> Any:
        try:
            if request.packageRef:
                raise NotSupported("parameterized packages")
            package = package_of(request.type)
            if package == "pulumi":
                raise NotSupported(f"the built-in resource type {request.type}")
            provider: str | None = request.provider or await self._defaults.get(
                package, request.version, request.pluginDownloadURL, request.type
            )
            properties = decode(request.properties, f"{request.type} '{request.name}'")
        except EngineError as error:
            self._fail("", error)
            await self._gone(context)
        if provider is None:
            await self._gone(context)
        goal = ReadGoal(
            type=request.type,
            name=request.name,
            id=UNKNOWN if request.id == UNKNOWN_STRING else request.id,
            properties=properties,
            parent=request.parent,
            provider=provider,
            dependencies=list(dict.fromkeys(request.dependencies)),
            additional_secret_outputs=list(request.additionalSecretOutputs),
            done=asyncio.get_running_loop().create_future(),
        )
        await self._deployment.read(goal)
        assert goal.done is not None
        registered = await self._answer_or_stop(goal.done)
        if registered is None or registered.state is None:
            await self._gone(context)
        peer = Peer(request.acceptSecrets, request.acceptResources)
        return resource_pb2.ReadResourceResponse(
            urn=registered.state.urn, properties=encode(registered.state.outputs, peer)
        )

    # Functions

    @_guarded
    async def Invoke(self, request: Any, context: Any) -> Any:
        try:
            return await self._invoke(request, context)
        except DiffUnavailable:
            raise
        except EngineError as error:
            text = f"invocation of {request.tok} returned an error: {error}"
            await self._abort(context, grpc.StatusCode.UNKNOWN, text)

    async def _invoke(self, request: Any, context: Any) -> Any:
        args = decode(request.args, request.tok)
        peer = Peer(True, request.acceptResources)
        if request.tok == _GET_RESOURCE:
            state = self._deployment.news.get(str(args.get("urn")))
            if state is None:
                raise EngineError(f"unknown resource {args.get('urn')}")
            found = {"urn": state.urn, "id": state.id, "state": state.outputs}
            return _invoked(found, peer, [])
        package = package_of(request.tok)
        if package == "pulumi" or request.packageRef:
            raise NotSupported(f"the function {request.tok}")
        reference: str | None = request.provider or await self._defaults.get(
            package, request.version, request.pluginDownloadURL, request.tok
        )
        if reference is None:
            await self._gone(context)
        provider = self._deployment.registry.get(reference)
        if provider is None:
            raise EngineError(f"unknown provider '{reference}'")
        result, failures = await provider.invoke(request.tok, args, self._deployment.preview)
        return _invoked(result or {}, peer, failures)

    # Refused by name

    async def _refused(self, what: str, context: Any) -> NoReturn:
        self._fail("", NotSupported(what))
        await self._gone(context)

    async def Call(self, request: Any, context: Any) -> Any:
        await self._refused(f"calls of resource methods ({request.tok})", context)

    async def RegisterPackage(self, request: Any, context: Any) -> Any:
        await self._refused(f"parameterized packages ({request.name})", context)

    async def RegisterStackTransform(self, request: Any, context: Any) -> Any:
        await self._refused("stack transforms", context)

    async def RegisterStackInvokeTransform(self, request: Any, context: Any) -> Any:
        await self._refused("invoke transforms", context)

    async def RegisterResourceHook(self, request: Any, context: Any) -> Any:
        await self._refused(f"resource hooks ({request.name})", context)

    async def RegisterErrorHook(self, request: Any, context: Any) -> Any:
        await self._refused("error hooks", context)


def _invoked(result: PropertyMap, peer: Peer, failures: Sequence[CheckFailure]) -> Any:
    answer = provider_pb2.InvokeResponse(
        failures=[provider_pb2.CheckFailure(property=f.property, reason=f.reason) for f in failures]
    )
    getattr(answer, "return").CopyFrom(encode(result, peer))
    return answer


def _refuse(request: Any) -> None:
    where = f" ({request.type} '{request.name}')"
    if request.remote:
        raise NotSupported(f"remote components{where}")
    if request.packageRef:
        raise NotSupported(f"parameterized packages{where}")
    for what, given in (
        ("transforms", request.transforms),
        ("state migrations", request.state_migrations),
        ("envVarMappings", request.envVarMappings),
    ):
        if given:
            raise NotSupported(f"{what}{where}")
    if request.HasField("hooks") and any(value for _, value in request.hooks.ListFields()):
        raise NotSupported(f"resource hooks{where}")


def _timeouts(request: Any) -> dict[str, float]:
    if not request.HasField("customTimeouts"):
        return {}
    given = request.customTimeouts
    texts = {"create": given.create, "update": given.update, "delete": given.delete, "read": given.read}
    seconds = {kind: parse_duration(text) for kind, text in texts.items() if text}
    return {kind: int(value) if value.is_integer() else value for kind, value in seconds.items() if value}


def _aliases(request: Any) -> Sequence[Alias]:
    aliases = [Alias(urn=urn) for urn in request.aliasURNs]
    for alias in request.aliases:
        if alias.HasField("spec"):
            spec = alias.spec
            aliases.append(
                Alias(
                    name=spec.name,
                    type=spec.type,
                    stack=spec.stack,
                    project=spec.project,
                    parent=spec.parentUrn,
                    no_parent=spec.noParent,
                )
            )
        else:
            if not is_urn(alias.urn):
                raise EngineError(f"{request.type} '{request.name}': invalid alias URN: {alias.urn}")
            aliases.append(Alias(urn=alias.urn))
    return aliases
