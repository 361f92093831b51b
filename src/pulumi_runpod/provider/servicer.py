"""The plugin protocol over our controllers: off the wire, do it, onto the wire, every error as a clean status.

Every property that arrives is taken through the codec once, and every secret in it is registered for redaction before
anything else happens. Nothing here logs a value.
"""

import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from pulumi_runpod.provider.codec import from_struct, to_struct
from pulumi_runpod.provider.config import Settings, check_config, settings_from
from pulumi_runpod.provider.diffing import Change, Kind
from pulumi_runpod.provider.engine import GrpcEngine
from pulumi_runpod.provider.errors import Code, InitFailed, ProviderError, one_line, status_of
from pulumi_runpod.provider.functions import invoke
from pulumi_runpod.provider.generate.schema import schema_json
from pulumi_runpod.provider.journal import Journal
from pulumi_runpod.provider.leftovers import remove_unwanted
from pulumi_runpod.provider.resources import Call, Controller, controllers
from pulumi_runpod.provider.session import Session, current_urn
from pulumi_runpod.provider.values import Properties, path_root, plain, secret_texts
from redaction import register_secret

_log = logging.getLogger("pulumi_runpod.provider")
Context = grpc.aio.ServicerContext[Any, Any]
Answer = TypeVar("Answer")

_KINDS = {
    (Kind.ADD, False): provider_pb2.PropertyDiff.ADD,
    (Kind.ADD, True): provider_pb2.PropertyDiff.ADD_REPLACE,
    (Kind.DELETE, False): provider_pb2.PropertyDiff.DELETE,
    (Kind.DELETE, True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    (Kind.UPDATE, False): provider_pb2.PropertyDiff.UPDATE,
    (Kind.UPDATE, True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}


class RunPodProvider(provider_pb2_grpc.ResourceProviderServicer):
    """The resource provider. `new_session` is the seam for tests; `environ` is read once per Configure."""

    def __init__(
        self,
        version: str,
        *,
        environ: Mapping[str, str] | None = None,
        project_dir: Path | None = None,
        engine: GrpcEngine | None = None,
        new_session: Callable[[Settings, GrpcEngine], Session] = Session,
    ) -> None:
        self._version = version
        self._environ = os.environ if environ is None else environ
        self._project_dir = project_dir or Path.cwd()
        self.engine = engine or GrpcEngine()
        self._new_session = new_session
        self._session: Session | None = None
        self._controllers: dict[str, Controller] = {}
        self._cancelled = False
        self._unrecorded: frozenset[str] = frozenset()
        """Creates of which the engine's state knows only that they began. The CLI does not tell."""
        self._applies = False
        """The engine said that this is no preview. The CLI says nothing of the kind."""

    async def close(self, *, engine_is_gone: bool = False) -> None:
        session = self._session
        if session is not None:
            if (session.changes_things or self._applies) and session.has_key and not engine_is_gone:
                await remove_unwanted(session, self._controllers)
            await session.close(engine_is_gone=engine_is_gone)
        await self.engine.close()

    # Getting acquainted.

    async def Handshake(  # noqa: N802 - names of the protocol
        self, request: provider_pb2.ProviderHandshakeRequest, context: Context
    ) -> provider_pb2.ProviderHandshakeResponse:
        told = {str(key): value for key, value in context.invocation_metadata() or ()}
        self._applies = told.get("pulumi-dry-run") == "false"
        self._unrecorded = _urns(told.get("pulumi-unrecorded-bin", b""))
        await self.engine.connect(request.engine_address)
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, accept_resources=False, accept_outputs=False)

    async def Attach(self, request: plugin_pb2.PluginAttach, context: Context) -> empty_pb2.Empty:  # noqa: N802
        del context
        await self.engine.connect(request.address)
        return empty_pb2.Empty()

    async def GetPluginInfo(self, request: empty_pb2.Empty, context: Context) -> plugin_pb2.PluginInfo:  # noqa: N802
        del request, context
        return plugin_pb2.PluginInfo(version=self._version)

    async def GetSchema(  # noqa: N802
        self, request: provider_pb2.GetSchemaRequest, context: Context
    ) -> provider_pb2.GetSchemaResponse:
        if request.version not in (0,):
            await context.abort(Code.INVALID_ARGUMENT, f"there is no schema of version {request.version}, only 0")
        return provider_pb2.GetSchemaResponse(schema=schema_json(self._version))

    # Configuration.

    async def CheckConfig(  # noqa: N802
        self, request: provider_pb2.CheckRequest, context: Context
    ) -> provider_pb2.CheckResponse:
        async def work() -> provider_pb2.CheckResponse:
            inputs, failures = check_config(_take(request.news), self._environ, self._stack_of(request.urn))
            return provider_pb2.CheckResponse(
                inputs=to_struct(inputs),
                failures=[provider_pb2.CheckFailure(property=f.path, reason=one_line(f.reason)) for f in failures],
            )

        return await self._guard(context, request.urn, work)

    async def DiffConfig(  # noqa: N802
        self, request: provider_pb2.DiffRequest, context: Context
    ) -> provider_pb2.DiffResponse:
        """A changed key or address is used at once, and never replaces what stands behind it."""

        async def work() -> provider_pb2.DiffResponse:
            olds = plain(_take(request.old_inputs) or _take(request.olds))
            news = plain(_take(request.news))
            changed = sorted(key for key in {*olds, *news} - {"version"} if olds.get(key) != news.get(key))
            response = provider_pb2.DiffResponse(hasDetailedDiff=True, diffs=changed)
            response.changes = provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE
            for key in changed:
                kind = Kind.ADD if key not in olds else Kind.DELETE if key not in news else Kind.UPDATE
                response.detailedDiff[key].kind = _KINDS[(kind, False)]
                response.detailedDiff[key].inputDiff = True
            return response

        return await self._guard(context, request.urn, work)

    async def Configure(  # noqa: N802
        self, request: provider_pb2.ConfigureRequest, context: Context
    ) -> provider_pb2.ConfigureResponse:
        async def work() -> provider_pb2.ConfigureResponse:
            inputs = _take(request.args)
            if not request.HasField("args"):
                inputs = {key.rsplit(":", 1)[-1]: value for key, value in request.variables.items()}
            stack = self._stack_of(request.urn)
            settings = settings_from(inputs, self._environ, stack, self._project_dir)
            if self._session is not None:
                await self._session.close()
            self._session = self._new_session(settings, self.engine)
            # The provider resource's id is random and stands in one state alone; a preview that makes it has none yet.
            owner = request.id or request.urn
            self._session.project_dir = self._project_dir
            self._session.journal = Journal(self._project_dir, owner)
            self._session.journal.never_recorded(self._unrecorded)
            if self._cancelled:
                self._session.cancel()
            self._controllers = controllers(self._session)
            await self._tell_leftovers(self._session, request.urn)
            return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

        return await self._guard(context, request.urn, work)

    # Resources.

    async def Check(  # noqa: N802
        self, request: provider_pb2.CheckRequest, context: Context
    ) -> provider_pb2.CheckResponse:
        async def work() -> provider_pb2.CheckResponse:
            controller, call = self._controller(request.urn)
            olds = _take(request.olds)
            if olds:
                self._in_state(request.urn)
            inputs, failures = await controller.check(call, olds, _take(request.news), request.randomSeed)
            _register(inputs)
            return provider_pb2.CheckResponse(
                inputs=to_struct(inputs),
                failures=[provider_pb2.CheckFailure(property=f.path, reason=one_line(f.reason)) for f in failures],
            )

        return await self._guard(context, request.urn, work)

    async def Diff(  # noqa: N802
        self, request: provider_pb2.DiffRequest, context: Context
    ) -> provider_pb2.DiffResponse:
        async def work() -> provider_pb2.DiffResponse:
            controller, call = self._controller(request.urn)
            self._in_state(request.urn, request.id)
            olds, old_inputs, news = _take(request.olds), _take(request.old_inputs), _take(request.news)
            difference = await controller.plan_diff(call, olds, old_inputs, news)
            changes = difference.changes
            return provider_pb2.DiffResponse(
                changes=provider_pb2.DiffResponse.DIFF_SOME if changes else provider_pb2.DiffResponse.DIFF_NONE,
                replaces=difference.replaces,
                diffs=sorted({path_root(path) for path in changes}),
                detailedDiff={path: _property_diff(change) for path, change in changes.items()},
                hasDetailedDiff=True,
                deleteBeforeReplace=difference.delete_before_replace and bool(difference.replaces),
                stables=() if difference.replaces else ("id",),
            )

        return await self._guard(context, request.urn, work)

    async def Create(  # noqa: N802
        self, request: provider_pb2.CreateRequest, context: Context
    ) -> provider_pb2.CreateResponse:
        async def work() -> provider_pb2.CreateResponse:
            controller, call = self._controller(request.urn, request.timeout)
            inputs = _take(request.properties)
            if request.preview:
                planned = await controller.plan_outputs(call, inputs, None)
                return provider_pb2.CreateResponse(id="", properties=to_struct(planned))
            session = self._configured()
            session.changes_things = True
            session.creates_asked.add(request.urn)
            journal = session.journal
            try:
                resource_id, outputs = await controller.create(call, inputs)
                answer = provider_pb2.CreateResponse(id=resource_id, properties=to_struct(outputs))
            except InitFailed:
                journal.answered(request.urn)  # the engine keeps what failed to become ready
                raise
            finally:
                await self._tell_trouble(journal, request.urn)
            journal.answered(request.urn)
            return answer

        return await self._guard(context, request.urn, work)

    async def Read(  # noqa: N802
        self, request: provider_pb2.ReadRequest, context: Context
    ) -> provider_pb2.ReadResponse:
        """A resource that is gone has no id, and `properties` and `inputs` stay unset: only so the engine sees it."""

        async def work() -> provider_pb2.ReadResponse:
            controller, call = self._controller(request.urn, request.timeout)
            self._in_state(request.urn, request.id)
            found = await controller.read(call, request.id, _take(request.inputs), _take(request.properties))
            if found is None:
                return provider_pb2.ReadResponse(id="")
            outputs, inputs = found
            return provider_pb2.ReadResponse(id=request.id, properties=to_struct(outputs), inputs=to_struct(inputs))

        return await self._guard(context, request.urn, work)

    async def Update(  # noqa: N802
        self, request: provider_pb2.UpdateRequest, context: Context
    ) -> provider_pb2.UpdateResponse:
        async def work() -> provider_pb2.UpdateResponse:
            controller, call = self._controller(request.urn, request.timeout)
            olds, old_inputs, news = _take(request.olds), _take(request.old_inputs), _take(request.news)
            if request.preview:
                planned = await controller.plan_outputs(call, news, olds)
                return provider_pb2.UpdateResponse(properties=to_struct(planned))
            self._in_state(request.urn, request.id)
            self._configured().changes_things = True
            outputs = await controller.update(call, request.id, olds, old_inputs, news)
            return provider_pb2.UpdateResponse(properties=to_struct(outputs))

        return await self._guard(context, request.urn, work)

    async def Delete(self, request: provider_pb2.DeleteRequest, context: Context) -> empty_pb2.Empty:  # noqa: N802
        async def work() -> empty_pb2.Empty:
            controller, call = self._controller(request.urn, request.timeout)
            olds = _take(request.properties)
            session = self._configured()
            session.changes_things = True
            if (request.urn, request.id) in session.taken_over:
                # A replacement took this very resource over, so the engine's state knew it all the time.
                text = f"kept {request.id}: this run took it over as the replacement of itself"
                await session.engine.warning(request.urn, text)
                return empty_pb2.Empty()
            self._in_state(request.urn, request.id)
            await controller.remove(call, request.id, olds)
            return empty_pb2.Empty()

        return await self._guard(context, request.urn, work)

    async def Invoke(  # noqa: N802
        self, request: provider_pb2.InvokeRequest, context: Context
    ) -> provider_pb2.InvokeResponse:
        async def work() -> provider_pb2.InvokeResponse:
            result, failures = await invoke(self._configured(), request.tok, _take(request.args))
            response = provider_pb2.InvokeResponse(
                failures=[provider_pb2.CheckFailure(property=f.path, reason=one_line(f.reason)) for f in failures]
            )
            # `return` is a keyword of Python, so the field has to be reached by name.
            getattr(response, "return").CopyFrom(to_struct(result))
            return response

        return await self._guard(context, "", work)

    async def Cancel(self, request: empty_pb2.Empty, context: Context) -> empty_pb2.Empty:  # noqa: N802
        """Ends every wait at once; calls that are under way finish, so that nothing is made and forgotten."""
        del request, context
        self._cancelled = True
        if self._session is not None:
            self._session.cancel()
        return empty_pb2.Empty()

    # Shared.

    def _configured(self) -> Session:
        if self._session is None:
            raise ProviderError("the runpod provider was asked to work before it was configured", Code.INTERNAL)
        return self._session

    def _in_state(self, urn: str, resource_id: str = "") -> None:
        """The engine's call shows that its state has this resource."""
        session = self._configured()
        session.urns_in_state.add(urn)
        if resource_id:
            session.seen_ids.add(resource_id)
            session.journal.engine_knows_id(resource_id)
        session.journal.engine_knows_urn(urn)

    async def _tell_leftovers(self, session: Session, provider_urn: str) -> None:
        """Say what an interrupted run may have left, and what will become of it."""
        for note in session.journal.unanswered():
            what = f"the {note.kind} {note.id or repr(note.name)} for {note.urn.rsplit('::', 1)[-1]}"
            place = session.journal.place(note.urn)
            await session.engine.info(
                provider_urn,
                f"an earlier run was interrupted while it made {what}: `up` takes it over, or removes it if the "
                f"program does not have it any more (noted in {place})",
            )

    async def _tell_trouble(self, journal: Journal, urn: str) -> None:
        problem, journal.problem = journal.problem, ""
        if problem:
            text = f"creates cannot be noted down ({problem}); after a kill, look at RunPod for what nobody knows"
            await self.engine.warning(urn, text)

    def _controller(self, urn: str, timeout_s: float = 0.0) -> tuple[Controller, Call]:
        self._configured()
        token, name = _type_and_name(urn)
        controller = self._controllers.get(token)
        if controller is None:
            known = ", ".join(sorted(self._controllers))
            raise ProviderError(f"the runpod provider has no resource {token}; it has {known}", Code.INVALID_ARGUMENT)
        return controller, Call(urn, name, timeout_s)

    def _stack_of(self, urn: str) -> str:
        """The stack, from the provider's URN (the engine sends it with CheckConfig and Configure, and sets no variable
        for plugins), or from PULUMI_STACK where an older engine sends none."""
        parts = urn.split("::")
        if parts[0].startswith("urn:pulumi:"):
            return parts[0].removeprefix("urn:pulumi:")
        return self._environ.get("PULUMI_STACK", "").rsplit("/", 1)[-1]

    async def _guard(self, context: Context, urn: str, work: Callable[[], Awaitable[Answer]]) -> Answer:
        """Run one call; whatever goes wrong becomes a gRPC status with a clean message."""
        token = current_urn.set(urn)
        try:
            return await work()
        except InitFailed as error:
            await _abort_init_failed(context, error)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - the outermost edge: nothing may reach the user raw
            source = self._session.settings.key_source if self._session else "nowhere"
            code, message = status_of(error, source)
            if code is Code.INTERNAL:
                _log.exception("a bug in the provider")
            await context.abort(code, message)
        finally:
            current_urn.reset(token)


async def _abort_init_failed(context: Context, error: InitFailed) -> NoReturn:
    """Partial failure: the details carry what exists, and the engine keeps it in the state with the reasons."""
    detail = provider_pb2.ErrorResourceInitFailed(
        id=error.resource_id,
        properties=to_struct(error.properties),
        reasons=[one_line(reason) for reason in error.reasons],
        inputs=to_struct(error.inputs),
    )
    message = one_line(str(error))
    status = status_pb2.Status(code=Code.UNKNOWN.value[0], message=message)
    status.details.add().Pack(detail)
    await context.abort(
        Code.UNKNOWN, message, trailing_metadata=(("grpc-status-details-bin", status.SerializeToString()),)
    )
    raise AssertionError("abort always raises")


def _take(struct: struct_pb2.Struct) -> Properties:
    """Properties off the wire, their secrets registered for redaction."""
    properties = from_struct(struct)
    _register(properties)
    return properties


def _register(properties: Properties) -> None:
    for text in secret_texts(properties):
        register_secret(text)


def _urns(told: str | bytes) -> frozenset[str]:
    """A list of URNs from an engine's metadata; empty where it is none."""
    try:
        found = json.loads(told or b"[]")
    except ValueError:
        return frozenset()
    return frozenset(urn for urn in found if isinstance(urn, str)) if isinstance(found, list) else frozenset()


def _property_diff(change: Change) -> provider_pb2.PropertyDiff:
    return provider_pb2.PropertyDiff(kind=_KINDS[(change.kind, change.replace)], inputDiff=change.between_inputs)


def _type_and_name(urn: str) -> tuple[str, str]:
    parts = urn.split("::", 3)
    if len(parts) != 4:
        raise ProviderError(f"not the URN of a resource: {urn}", Code.INVALID_ARGUMENT)
    return parts[2].rsplit("$", 1)[-1], parts[3]
