"""A real resource plugin for the engine's tests, `pulumi-resource-demo`, on the raw servicer of the SDK.

Its cloud is one JSON file, every call it gets is a line in another, and faults are read from a third:

    $DEMO_STATE/cloud.json    {id: {"name":…, "inputs":…, "serial":…}}
    $DEMO_STATE/calls.jsonl   {"rpc":…, "name":…, "preview":…}
    $DEMO_STATE/faults.json   [{"rpc": "create", "name": "a", "kind": "error", "message":…, "times": 1}]
                              kinds: error, init, internal, unreachable, hang, exit, slow

Resources: `demo:index:Thing` (answers Diff in detail) and `demo:index:Plain` (answers DIFF_UNKNOWN). Input `fixed`
replaces, `dbr` asks for delete-before-replace, `value: "bad"` fails Check, `password` is always secret, `autoLabel`
makes a name. Outputs: the inputs, `serial` (writes so far), `url`. It shares no code with the engine under test.
Of the SDK it loads the generated modules alone, a third of the time: every command of every scenario starts it.
"""

# ruff: noqa: E402 - the stand-ins come before the imports

import asyncio
import fcntl
import importlib.util
import json
import os
import signal
import sys
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any


def _generated_modules_only() -> None:
    """Stand bare packages in for `pulumi` and `pulumi.runtime`: what they would load is for programs."""
    found = importlib.util.find_spec("pulumi")
    if found is None or not found.submodule_search_locations:
        sys.exit("demo: the pulumi SDK is not installed in the plugin's environment")
    root = Path(next(iter(found.submodule_search_locations)))
    for name in ("pulumi", "pulumi.runtime"):
        module = ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = module


if "pulumi" not in sys.modules:
    _generated_modules_only()

import grpc
from google.protobuf import any_pb2, struct_pb2
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import (
    engine_pb2,
    engine_pb2_grpc,
    plugin_pb2,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
SIG = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"

Props = dict[str, Any]


def decode(value: struct_pb2.Value) -> Any:
    """One wire value as plain Python; secrets stay the wire's own dict, unknowns the sentinel."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return decode_struct(value.struct_value)
    if kind == "list_value":
        return [decode(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "null_value" or kind is None:
        return None
    return getattr(value, kind)


def decode_struct(struct: struct_pb2.Struct) -> Props:
    """A wire object as a dict."""
    return {key: decode(value) for key, value in struct.fields.items()}


def encode(props: Props) -> struct_pb2.Struct:
    """A dict as a wire object."""
    struct = struct_pb2.Struct()
    struct.update(props)
    return struct


def is_secret(value: Any) -> bool:
    """Whether this is the wire's secret wrapper."""
    return isinstance(value, dict) and value.get(SIG) == SECRET


def plain(value: Any) -> Any:
    """The value without secret wrappers."""
    if is_secret(value):
        return plain(value["value"])
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def secret(value: Any) -> Any:
    """The value in the wire's secret wrapper."""
    return value if is_secret(value) else {SIG: SECRET, "value": value}


def has_unknown(value: Any) -> bool:
    """Whether an unknown is anywhere in it."""
    if isinstance(value, dict):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    return bool(value == UNKNOWN)


def detailed_diff(old: Any, new: Any, path: str, found: dict[str, str]) -> None:
    """Collect {property path: add|delete|update} between two plain values."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            where = f"{path}.{key}" if path else key
            if key not in old:
                found[where] = "add"
            elif key not in new:
                found[where] = "delete"
            else:
                detailed_diff(old[key], new[key], where, found)
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            where = f"{path}[{index}]"
            if index >= len(old):
                found[where] = "add"
            elif index >= len(new):
                found[where] = "delete"
            else:
                detailed_diff(old[index], new[index], where, found)
    elif old != new:
        found[path] = "update"


class Cloud:
    """The JSON files, one writer at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def _load(self, name: str, default: Any) -> Any:
        path = self.root / name
        return json.loads(path.read_text()) if path.exists() else default

    def read(self) -> Props:
        return dict(self._load("cloud.json", {}))

    def write(self, things: Props) -> None:
        path = self.root / "cloud.json.new"
        path.write_text(json.dumps(things, indent=1))
        path.rename(self.root / "cloud.json")

    def log(self, rpc: str, name: str, preview: bool = False, **more: Any) -> None:
        with (self.root / "calls.jsonl").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(json.dumps({"rpc": rpc, "name": name, "preview": preview, **more}) + "\n")

    def take_fault(self, rpc: str, name: str) -> Props | None:
        faults = self._load("faults.json", [])
        for fault in faults:
            if fault["rpc"] == rpc and fault["name"] == name and fault.get("times", 1) > 0:
                fault["times"] = fault.get("times", 1) - 1
                (self.root / "faults.json").write_text(json.dumps(faults))
                return dict(fault)
        return None


class Demo(provider_pb2_grpc.ResourceProviderServicer):
    """The plugin. What it answers is what a careful provider answers."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.cancelled = asyncio.Event()
        self.engine: Any = None

    # Start-up and configuration

    def _connect(self, address: str) -> None:
        self.engine = engine_pb2_grpc.EngineStub(grpc.aio.insecure_channel(address))

    async def Handshake(self, request: Any, context: Any) -> Any:
        self._connect(request.engine_address)
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, accept_resources=True, accept_outputs=False)

    async def Attach(self, request: Any, context: Any) -> Any:
        self._connect(request.address)
        return Empty()

    async def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version="1.0.0")

    async def GetSchema(self, request: Any, context: Any) -> Any:
        return provider_pb2.GetSchemaResponse(schema=json.dumps({"name": "demo", "version": "1.0.0"}))

    async def CheckConfig(self, request: Any, context: Any) -> Any:
        self.cloud.log("check-config", request.urn.split("::")[-1])
        response = provider_pb2.CheckResponse(inputs=request.news)
        if decode_struct(request.news).get("region") == "nowhere":
            response.failures.append(provider_pb2.CheckFailure(property="region", reason="there is no such region"))
        return response

    async def DiffConfig(self, request: Any, context: Any) -> Any:
        self.cloud.log("diff-config", request.urn.split("::")[-1])
        old, new = decode_struct(request.old_inputs), decode_struct(request.news)
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        some = provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(changes=some, diffs=changed, replaces=[k for k in changed if k == "region"])

    async def Configure(self, request: Any, context: Any) -> Any:
        self.cloud.log("configure", "", config=plain(decode_struct(request.args)))
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, acceptResources=True, acceptOutputs=False
        )

    async def Cancel(self, request: Any, context: Any) -> Any:
        self.cloud.log("cancel", "")
        self.cancelled.set()
        return Empty()

    # Faults and messages

    async def _say(self, urn: str, message: str, ephemeral: bool = False) -> None:
        if self.engine is not None:
            await self.engine.Log(
                engine_pb2.LogRequest(severity=engine_pb2.INFO, message=message, urn=urn, ephemeral=ephemeral)
            )

    async def _fault(self, rpc: str, name: str, context: Any, found: Props | None = None, id_: str = "") -> None:
        fault = self.cloud.take_fault(rpc, name)
        if fault is None:
            return
        message = fault.get("message", f"{rpc} of {name} failed on demand")
        kind = fault["kind"]
        if kind == "exit":
            os._exit(3)
        if kind == "slow":
            await asyncio.sleep(fault.get("seconds", 0.5))
            return
        if kind == "hang":
            await self.cancelled.wait()
            await context.abort(grpc.StatusCode.CANCELLED, f"{rpc} of {name} was cancelled")
        if kind == "unreachable":
            await context.abort(grpc.StatusCode.UNAVAILABLE, message)
        if kind == "internal":
            await context.abort(grpc.StatusCode.UNKNOWN, message)
        if kind == "init":
            detail = any_pb2.Any()
            detail.Pack(
                provider_pb2.ErrorResourceInitFailed(
                    id=id_, properties=encode(found or {}), reasons=[message], inputs=encode({})
                )
            )
            status = status_pb2.Status(code=2, message=message, details=[detail])
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            await context.abort(grpc.StatusCode.UNKNOWN, message)
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)

    # The life of a resource

    async def Check(self, request: Any, context: Any) -> Any:
        self.cloud.log("check", request.name)
        await self._fault("check", request.name, context)
        news, olds = decode_struct(request.news), decode_struct(request.olds)
        failures = []
        if plain(news.get("value")) == "bad":
            failures.append(provider_pb2.CheckFailure(property="value", reason="must not be bad"))
        if request.type == "demo:index:Thing":
            news.setdefault("tier", "basic")
        if news.get("autoLabel") and "label" not in news:
            news["label"] = olds.get("label") or f"{request.name}-{request.randomSeed[:4].hex()}"
        if news.get("password") is not None:
            news["password"] = secret(news["password"])
        return provider_pb2.CheckResponse(inputs=encode(news), failures=failures)

    async def Diff(self, request: Any, context: Any) -> Any:
        olds, news = plain(decode_struct(request.old_inputs)), plain(decode_struct(request.news))
        self.cloud.log("diff", request.name, unknowns=has_unknown(news))
        await self._fault("diff", request.name, context)
        if request.type == "demo:index:Plain":
            return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_UNKNOWN)
        found: dict[str, str] = {}
        detailed_diff(olds, news, "", found)
        detail = {}
        for path, kind in found.items():
            name = kind.upper() + ("_REPLACE" if path.split(".")[0].split("[")[0] == "fixed" else "")
            detail[path] = provider_pb2.PropertyDiff(kind=provider_pb2.PropertyDiff.Kind.Value(name), inputDiff=True)
        top = sorted({path.split(".")[0].split("[")[0] for path in found})
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if found else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=top,
            replaces=[key for key in top if key == "fixed"],
            stables=["url"],
            deleteBeforeReplace=bool(news.get("dbr")),
            detailedDiff=detail,
            hasDetailedDiff=True,
        )

    @staticmethod
    def _outputs(inputs: Props, id_: str, serial: Any) -> Props:
        return {**inputs, "serial": serial, "url": f"demo://{id_}" if id_ else UNKNOWN}

    async def Create(self, request: Any, context: Any) -> Any:
        inputs = decode_struct(request.properties)
        self.cloud.log("create", request.name, request.preview, timeout=request.timeout)
        if request.preview:
            return provider_pb2.CreateResponse(properties=encode(self._outputs(inputs, "", UNKNOWN)))
        await self._say(request.urn, f"making {request.name}", ephemeral=True)
        id_ = f"{request.name}-{uuid.uuid4().hex[:8]}"
        outputs = self._outputs(inputs, id_, 1)
        fault_kind = next(
            (
                f["kind"]
                for f in self.cloud._load("faults.json", [])
                if f["rpc"] == "create" and f["name"] == request.name and f.get("times", 1) > 0
            ),
            "",
        )
        if fault_kind in ("init", ""):
            self._store(id_, request.name, inputs, 1)
        await self._fault("create", request.name, context, outputs, id_)
        if fault_kind not in ("init", ""):
            self._store(id_, request.name, inputs, 1)
        await self._say(request.urn, f"made {request.name}")
        return provider_pb2.CreateResponse(id=id_, properties=encode(outputs))

    def _store(self, id_: str, name: str, inputs: Props, serial: int) -> None:
        things = self.cloud.read()
        things[id_] = {"name": name, "inputs": plain(inputs), "serial": serial}
        self.cloud.write(things)

    async def Update(self, request: Any, context: Any) -> Any:
        inputs, olds = decode_struct(request.news), decode_struct(request.olds)
        self.cloud.log("update", request.name, request.preview, timeout=request.timeout)
        if request.preview:
            return provider_pb2.UpdateResponse(properties=encode(self._outputs(inputs, request.id, UNKNOWN)))
        serial = int(plain(olds.get("serial") or 0)) + 1
        outputs = self._outputs(inputs, request.id, serial)
        await self._fault("update", request.name, context, outputs, request.id)
        self._store(request.id, request.name, inputs, serial)
        return provider_pb2.UpdateResponse(properties=encode(outputs))

    async def Read(self, request: Any, context: Any) -> Any:
        self.cloud.log("read", request.name, id=request.id)
        thing = self.cloud.read().get(request.id)
        if thing is None:
            await self._fault("read", request.name, context)
            return provider_pb2.ReadResponse()
        inputs = dict(thing["inputs"])
        for key, value in decode_struct(request.inputs).items():
            if is_secret(value) and key in inputs:
                inputs[key] = secret(inputs[key])
        if inputs.get("password") is not None:
            inputs["password"] = secret(inputs["password"])
        outputs = self._outputs(inputs, request.id, thing["serial"])
        await self._fault("read", request.name, context, outputs, request.id)
        return provider_pb2.ReadResponse(id=request.id, properties=encode(outputs), inputs=encode(inputs))

    async def Delete(self, request: Any, context: Any) -> Any:
        self.cloud.log("delete", request.name, timeout=request.timeout)
        await self._fault("delete", request.name, context)
        things = self.cloud.read()
        things.pop(request.id, None)
        self.cloud.write(things)
        return Empty()

    async def Invoke(self, request: Any, context: Any) -> Any:
        args = decode_struct(request.args)
        self.cloud.log("invoke", str(plain(args.get("name", ""))))
        if plain(args.get("name")) == "bad":
            return provider_pb2.InvokeResponse(
                failures=[provider_pb2.CheckFailure(property="name", reason="must not be bad")]
            )
        names = {thing["name"] for thing in self.cloud.read().values()}
        answer = provider_pb2.InvokeResponse()
        getattr(answer, "return").update({"found": plain(args.get("name")) in names, "echo": args.get("name")})
        return answer


async def main() -> None:
    """Serve on a loopback port, print it, and stay until interrupted."""
    root = os.environ.get("DEMO_STATE")
    if not root:
        sys.exit("demo: set DEMO_STATE to the folder of the demo cloud")
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 400 * 1024 * 1024)])
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Demo(Cloud(Path(root))), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await stop.wait()
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
