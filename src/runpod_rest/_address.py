"""Paths and query strings, written the way RunPod reads them."""

from collections.abc import Iterable, Mapping
from urllib.parse import quote, urlencode

from runpod_rest._errors import UnusableArgument


def segment(value: str) -> str:
    """`value` as one path segment. An empty id would name the whole list, and dots another route."""
    if not value or value in (".", ".."):
        raise UnusableArgument(f"{value!r} is not an id")
    return quote(value, safe="")


def query(params: Mapping[str, object] | None) -> str:
    """The query string; a list becomes one comma-joined value, because RunPod refuses repeated keys.

    Empty values are left out. Source: runpod-api-live.md §3 row 13.
    """
    pairs = [(key, text) for key, value in (params or {}).items() if (text := _text(value))]
    return f"?{urlencode(pairs, safe=',', quote_via=quote)}" if pairs else ""


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ",".join(str(entry) for entry in value)
    return str(value)
