"""Who a request is for: a feature and a user, as its sender says. They steer counting, never what vLLM answers.

Jobs carry them in `tags` beside the input's other keys, HTTP requests in the headers X-Feature and X-User. They are
claims, not proofs: whoever may send requests may send any tag.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllm_worker._errors import ApiError

TAG_CHARACTERS = 64
_NAMES = ("feature", "user")
_HEADERS = {"feature": "X-Feature", "user": "X-User"}


@dataclass(frozen=True)
class Tags:
    """Short printable strings, or None for what the sender does not say."""

    feature: str | None = None
    user: str | None = None


def take_tags(job_input: Any) -> tuple[Any, Tags]:
    """Part a job's input into what it asks for, in whatever form, and its tags.

    Raises ApiError for tags that are none.
    """
    if not isinstance(job_input, dict) or "tags" not in job_input:
        return job_input, Tags()
    rest = {key: value for key, value in job_input.items() if key != "tags"}
    given = job_input["tags"]
    if given is None:
        return rest, Tags()
    if not isinstance(given, dict) or not set(given) <= set(_NAMES):
        raise ApiError(400, "`tags` must be an object with `feature` and `user`, or one of them", param="tags")
    return rest, Tags(**{name: _tag(f"tags.{name}", value) for name, value in given.items()})


def tags_of_headers(headers: Mapping[str, str]) -> Tags:
    """The tags of an HTTP request; an empty header says nothing.

    Raises ApiError for tags that are none.
    """
    given = {name: headers.get(header, "").strip() for name, header in _HEADERS.items()}
    return Tags(**{name: _tag(_HEADERS[name], value) for name, value in given.items() if value})


def _tag(where: str, value: Any) -> str | None:
    if value is None:
        return None
    # Half of a surrogate pair is not printable either: what passes can be logged and sent.
    if not isinstance(value, str) or not 0 < len(value) <= TAG_CHARACTERS or not value.isprintable():
        raise ApiError(400, f"`{where}` must be a printable text of 1 to {TAG_CHARACTERS} characters", param=where)
    return value
