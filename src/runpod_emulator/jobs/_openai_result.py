"""What an OpenAI client gets for a finished job: a status and a JSON body, or an error in OpenAI's form.

RunPod's own vLLM worker yields one JSON object (so its output is a list of one) or raises `{"error": {message, type,
code}}`, which the SDK turns into the text of that Python dict (runpod-api.md §3.2, §3.5). RunPod does not document how
its edge maps those to HTTP: the statuses here are our assumption.
"""

import ast
import json
from dataclasses import dataclass
from typing import Any

from runpod_emulator.jobs._model import Job, JobStatus
from runpod_emulator.model import Json

_LONGEST_ERROR = 64 * 1024
_STATUS_BY_TYPE = {
    "badrequesterror": 400,
    "invalid_request_error": 400,
    "authentication_error": 401,
    "authenticationerror": 401,
    "permission_error": 403,
    "notfounderror": 404,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "ratelimiterror": 429,
    "unprocessableentityerror": 422,
    "service_unavailable": 503,
    "overloaded_error": 503,
}
_NAME_BY_STATUS = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error",
                   404: "not_found_error", 413: "invalid_request_error", 422: "invalid_request_error",
                   429: "rate_limit_error"}  # fmt: skip


@dataclass(frozen=True)
class OpenAiAnswer:
    status: int
    body: Any
    """A JSON value, or text that is not JSON."""

    @property
    def text(self) -> str:
        return self.body if isinstance(self.body, str) else json.dumps(self.body, ensure_ascii=False)

    @property
    def content_type(self) -> str:
        return "text/plain" if isinstance(self.body, str) else "application/json"


def error_answer(
    status: int, message: str, kind: str | None = None, code: Any = None, param: Any = None
) -> OpenAiAnswer:
    error = {"message": message, "type": kind or _NAME_BY_STATUS.get(status, "server_error"), "param": param,
             "code": code if code is not None else status}  # fmt: skip
    return OpenAiAnswer(status, {"error": error})


def failure_of(job: Job | None) -> OpenAiAnswer | None:
    """The error answer of a job that did not complete; None for a COMPLETED one."""
    if job is None:
        return error_answer(504, "the job expired before it was done", "timeout")
    if job.status is JobStatus.COMPLETED:
        return None
    if job.status is JobStatus.TIMED_OUT:
        return error_answer(504, job.error or "the job timed out", "timeout")
    if job.status is JobStatus.CANCELLED:
        return error_answer(499, "the job was cancelled", "cancelled")
    return worker_error(job.error or "the worker failed without a message")


def success_of(output: Any, pieces: list[Any]) -> OpenAiAnswer:
    """The worker's JSON object, with its status where it names one. `pieces` count when there is no output."""
    value = output if output not in (None, []) else pieces
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    elif isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        value = "".join(value)
    if isinstance(value, str):
        value = _json_or_text(value)
    if isinstance(value, dict) and (isinstance(value.get("error"), dict) or value.get("object") == "error"):
        details = value["error"] if isinstance(value.get("error"), dict) else value
        return OpenAiAnswer(_status_of(details), value)
    return OpenAiAnswer(200, value)


def worker_error(error: str) -> OpenAiAnswer:
    """An error as a worker reports it: JSON, the text of a Python dict, or plain text."""
    details = _details(error)
    if details is None:
        return error_answer(500, error)
    if "error_message" in details:  # the SDK's report of an exception; its traceback stays in the job's status
        return error_answer(500, str(details["error_message"]), code=None)
    message = details.get("message")
    status = _status_of(details)
    return error_answer(
        status,
        message if isinstance(message, str) else json.dumps(details, ensure_ascii=False, default=str),
        details.get("type") if isinstance(details.get("type"), str) else None,
        details.get("code"),
        details.get("param"),
    )


def _details(error: str) -> Json | None:
    if len(error) > _LONGEST_ERROR or not error.lstrip().startswith("{"):
        return None
    value: Any = None
    try:
        value = json.loads(error)
    except ValueError:
        try:
            value = ast.literal_eval(error.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    if isinstance(value, dict) and isinstance(value.get("error"), dict):
        value = value["error"]
    return value if isinstance(value, dict) else None


def _status_of(details: Json) -> int:
    for name in ("status", "status_code", "code"):
        value = details.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599:
            return value
    return _STATUS_BY_TYPE.get(str(details.get("type", "")).lower(), 500)


def _json_or_text(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, dict | list) else text
