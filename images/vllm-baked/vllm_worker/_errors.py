"""What can go wrong, in the two ways that somebody hears of it: the log, and the answer to a job."""

import json
from typing import Any

from vllm_worker._remedies import Remedy

STATUS_TYPES = {
    400: "BadRequestError",
    401: "AuthenticationError",
    404: "NotFoundError",
    405: "MethodNotAllowedError",
    413: "RequestTooLargeError",
    422: "UnprocessableEntityError",
    500: "InternalServerError",
    502: "BadGatewayError",
    503: "ServiceUnavailableError",
    504: "TimeoutError",
}


class WorkerError(Exception):
    """Base of everything this program raises."""


class EngineError(WorkerError):
    """vLLM does not start, or died; the message is the one line that the log closes with."""

    def __init__(self, message: str, remedy: Remedy | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy
        """What was recognised in it."""

    @property
    def facts(self) -> dict[str, str]:
        """The same, for programs that read the log."""
        return {} if self.remedy is None else {"cause": self.remedy.cause, "remedy": self.remedy.remedy}


class ApiError(WorkerError):
    """The answer to one job is an error, in OpenAI's form and with its HTTP status."""

    def __init__(
        self, status: int, message: str, kind: str | None = None, param: str | None = None, code: Any = None
    ) -> None:
        self.status, self.message, self.param = status, message, param
        self.kind = kind or STATUS_TYPES.get(status, "APIError")
        self.code = status if code is None else code
        super().__init__(message)

    @classmethod
    def from_body(cls, status: int, body: bytes) -> "ApiError":
        """Read vLLM's own error body; what is not one is quoted."""
        text = body.decode("utf-8", errors="replace").strip()
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if isinstance(document, dict):
            error = document.get("error", document)
            if isinstance(error, dict) and isinstance(error.get("message"), str):
                param = error.get("param")
                return cls(
                    status,
                    error["message"],
                    kind=error["type"] if isinstance(error.get("type"), str) else None,
                    param=param if isinstance(param, str) else None,
                    code=error.get("code"),
                )
            if isinstance(error, str):
                return cls(status, error)
            if "detail" in document:
                return cls(status, json.dumps(document["detail"], ensure_ascii=False).strip('"'))
        return cls(status, text[:2000] or f"vLLM answered with HTTP {status} and no text")

    def as_object(self) -> dict[str, Any]:
        """The error object as OpenAI's clients read it."""
        return {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}

    def as_job_error(self) -> str:
        """The text of a failed job's `error`: the error object and `status`, as one line of JSON.

        It is a string because RunPod's SDK calls str() on whatever a handler yields as an error.
        """
        return json.dumps({**self.as_object(), "status": self.status}, ensure_ascii=True)

    def as_event(self) -> str:
        """The error as the last events of a stream that has begun."""
        return f"data: {json.dumps({'error': self.as_object()}, ensure_ascii=True)}\n\ndata: [DONE]\n\n"
