"""The engine service: where the program and the plugins send their messages."""

# ruff: noqa: ARG002, N802 - the signatures and names are the protocol's

import re
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

from pulumi_embedded._checkpoint import ENGINE_VERSION
from pulumi_embedded._deployment_base import DeploymentBase

_SEVERITY = {0: "debug", 1: "info", 2: "warning", 3: "error"}
_COMPARATOR = re.compile(r"(>=|<=|>|<|=|==|!=)?\s*v?(\d+)(?:\.(\d+|x))?(?:\.(\d+|x))?\S*\Z")


class EngineService(engine_pb2_grpc.EngineServicer):
    """Messages go to the operation's events. An error message alone fails nothing (recorded: `program_logs_error`)."""

    def __init__(self) -> None:
        self._root = ""
        self.deployment: DeploymentBase | None = None
        self.muted = False
        """Set when the program is being ended: what it says then is not its own doing."""

    async def Log(self, request: Any, context: Any) -> Any:
        if self.deployment is not None and not self.muted:
            severity = _SEVERITY.get(request.severity, "info")
            self.deployment.events.diagnostic(severity, request.urn, request.message, request.ephemeral)
        return Empty()

    async def GetRootResource(self, request: Any, context: Any) -> Any:
        return engine_pb2.GetRootResourceResponse(urn=self._root)

    async def SetRootResource(self, request: Any, context: Any) -> Any:
        self._root = request.urn
        return engine_pb2.SetRootResourceResponse()

    async def StartDebugging(self, request: Any, context: Any) -> Any:
        return Empty()

    async def RequirePulumiVersion(self, request: Any, context: Any) -> Any:
        wanted = request.pulumi_version_range
        if not version_matches(ENGINE_VERSION, wanted):
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"Pulumi CLI version {ENGINE_VERSION} does not satisfy the version range {wanted!r}",
            )
        return engine_pb2.RequirePulumiVersionResponse()


def version_matches(version: str, wanted: str) -> bool:
    """Whether a version lies in a range such as `>=3.100.0 <4 || 5.x`. An unreadable range matches nothing."""
    have = tuple(int(part) for part in version.lstrip("v").split("."))
    return any(all(_holds(have, term) for term in _terms(alternative)) for alternative in wanted.split("||"))


def _terms(alternative: str) -> list[str]:
    return re.sub(r"(>=|<=|>|<|==|!=|=)\s+", r"\1", alternative.replace(",", " ")).split() or ["!"]


def _holds(have: tuple[int, ...], term: str) -> bool:
    match = _COMPARATOR.match(term)
    if match is None:
        return False
    operator = match[1] or "="
    parts = [int(part) for part in (match[2], match[3], match[4]) if part and part != "x"]
    if operator in ("=", "==", "!="):
        return (list(have[: len(parts)]) == parts) == (operator != "!=")
    given = tuple(parts + [0] * (3 - len(parts)))
    return {">=": have >= given, ">": have > given, "<=": have <= given, "<": have < given}[operator]
