"""The provider's own errors, and the one place where any error becomes a gRPC status.

    ProviderError              code and one clean message
    ├── InitFailed             made or changed, but not ready: id, properties, reasons and inputs travel with it
    └── Cancelled              the engine asked us to stop

A message names the property or setting and the way out. It is one line: the engine prints it below the resource.
"""

import json

import grpc

from pulumi_runpod.provider.codec import CodecError
from pulumi_runpod.provider.values import Properties
from redaction import redact
from runpod_rest import (
    ApiError,
    BadRequest,
    Conflict,
    EdgeRejected,
    Forbidden,
    KeyRefused,
    NetworkError,
    NotFound,
    PaymentRequired,
    RateLimited,
    RunPodError,
    ServerError,
    TooLarge,
    Unauthorized,
    UnusableArgument,
    Validation,
)

# An error is named for its cause, so the suffix would only repeat the base class.

Code = grpc.StatusCode

_CODES: tuple[tuple[type[RunPodError], grpc.StatusCode], ...] = (
    (NotFound, Code.NOT_FOUND),
    (Conflict, Code.ALREADY_EXISTS),
    (Unauthorized, Code.UNAUTHENTICATED),
    (KeyRefused, Code.PERMISSION_DENIED),
    (Forbidden, Code.PERMISSION_DENIED),
    (EdgeRejected, Code.UNAVAILABLE),
    (PaymentRequired, Code.FAILED_PRECONDITION),
    (RateLimited, Code.RESOURCE_EXHAUSTED),
    (TooLarge, Code.INVALID_ARGUMENT),
    (Validation, Code.INVALID_ARGUMENT),
    (UnusableArgument, Code.INVALID_ARGUMENT),
    (BadRequest, Code.FAILED_PRECONDITION),
    (ServerError, Code.UNAVAILABLE),
    (NetworkError, Code.UNAVAILABLE),
)


class ProviderError(Exception):
    """Something the user has to know, with the code the engine should see."""

    code: grpc.StatusCode = Code.FAILED_PRECONDITION

    def __init__(self, message: str, code: grpc.StatusCode | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class InitFailed(ProviderError):
    """The resource exists, but did not become what was asked for. The engine keeps it, and tries again next time."""

    code = Code.UNKNOWN

    def __init__(self, resource_id: str, properties: Properties, inputs: Properties, reasons: list[str]) -> None:
        self.resource_id, self.properties, self.inputs, self.reasons = resource_id, properties, inputs, reasons
        super().__init__("; ".join(reasons))


class Cancelled(ProviderError):
    code = Code.CANCELLED

    def __init__(self) -> None:
        super().__init__("cancelled")


def status_of(error: Exception, key_source: str) -> tuple[grpc.StatusCode, str]:
    """Code and message for the engine. `key_source` says where the API key came from, for the errors it explains."""
    if isinstance(error, ProviderError):
        return error.code, one_line(str(error))
    if isinstance(error, CodecError):
        return Code.INVALID_ARGUMENT, one_line(str(error))
    if isinstance(error, Unauthorized):
        return Code.UNAUTHENTICATED, one_line(f"RunPod does not accept the API key from {key_source}: {said(error)}")
    if isinstance(error, RunPodError):
        code = next((code for kind, code in _CODES if isinstance(error, kind)), Code.FAILED_PRECONDITION)
        return code, one_line(str(error))
    bug = f"{type(error).__name__}: {error}"
    return Code.INTERNAL, one_line(f"a bug in the runpod provider, please report it: {bug}")


def said(error: RunPodError) -> str:
    """RunPod's own words for a refusal, without the route."""
    if not isinstance(error, ApiError):
        return one_line(str(error))
    words = error.detail or error.title
    if error.errors:
        words += " (" + "; ".join(error.errors) + ")"
    return one_line(words)


def one_line(text: str) -> str:
    """`text` on one line and without secrets; a remedy after a blank line is joined on."""
    parts = [part.strip() for part in redact(text).splitlines()]
    return "; ".join(part for part in parts if part)


def excerpt(value: object, limit: int = 300) -> str:
    """A value that RunPod or a worker sent, fit for a message."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    text = one_line(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
