"""The shapes that a job's input may have, each turned into requests to vLLM.

    {"openai_route": "/v1/chat/completions", "openai_input": {...}}    as RunPod's /openai routes send it
    {"route": "/v1/embeddings", "body": {...}, "method": "POST"}
    {"prompt": "..." | "messages": [...], "sampling_params": {...}, "stream": true}
    {"prompts": ["...", ...], "temperature": 0, "top_p": 1, "max_tokens": 64}

A route is looked up in a table and never put together from what the caller sent, so no input reaches another host or
one of vLLM's administrative routes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vllm_worker._errors import ApiError

ROUTES: Mapping[str, str] = {
    "/v1/models": "GET",
    "/version": "GET",
    "/v1/chat/completions": "POST",
    "/v1/completions": "POST",
    "/v1/responses": "POST",
    "/v1/messages": "POST",
    "/v1/messages/count_tokens": "POST",
    "/v1/embeddings": "POST",
    "/v1/score": "POST",
    "/score": "POST",
    "/v1/rerank": "POST",
    "/v2/rerank": "POST",
    "/rerank": "POST",
    "/classify": "POST",
    "/pooling": "POST",
    "/tokenize": "POST",
    "/detokenize": "POST",
}
"""Every route of vLLM that a job may use, and its method."""

# Keys of older workers that only steered how answers were cut into pieces.
_WITHOUT_EFFECT = frozenset(
    {"batch_size", "max_batch_size", "min_batch_size", "batch_size_growth_factor", "apply_chat_template"}
)
_LEGACY = frozenset({"prompt", "messages", "sampling_params", "stream", "model"}) | _WITHOUT_EFFECT
_BATCH = frozenset({"prompts", "temperature", "top_p", "max_tokens", "model"})
BATCH_MAX_TOKENS = 256
MAX_PROMPTS = 10_000


@dataclass(frozen=True)
class Call:
    """One request to vLLM."""

    method: str
    route: str
    body: Mapping[str, Any] | None

    @property
    def payload(self) -> bytes | None:
        """The body as JSON."""
        if self.body is None:
            return None
        try:
            return json.dumps(self.body, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # half of a surrogate pair: only its escape can be sent
            return json.dumps(self.body).encode()


@dataclass(frozen=True)
class Batch:
    """Many prompts, answered together and in order."""

    prompts: tuple[str, ...]
    parameters: Mapping[str, Any]


def parse_input(value: object) -> Call | Batch:
    """Read one job's input; raises ApiError with status 400 (404, 405 for routes) for anything else."""
    if not isinstance(value, dict):
        raise ApiError(400, f"`input` must be an object, not {_kind(value)}")
    if "openai_route" in value:
        return _route(value, "openai_route", "openai_input")
    if "route" in value:
        return _route(value, "route", "body")
    if "prompts" in value:
        return _batch(value)
    if "prompt" in value or "messages" in value:
        return _legacy(value)
    raise ApiError(
        400,
        "`input` has none of `openai_route`, `route`, `messages`, `prompt` and `prompts`; "
        f"it has {_names(value) or 'no keys'}",
    )


def _kind(value: object) -> str:
    names: dict[type, str] = {str: "a string", list: "a list", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), "an object")


def _names(value: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key}`" for key in sorted(value)[:10])


def _only(value: Mapping[str, Any], allowed: frozenset[str]) -> None:
    if unknown := {key: None for key in value if key not in allowed}:
        expected = _names(dict.fromkeys(allowed - _WITHOUT_EFFECT))
        raise ApiError(400, f"`input` has unknown keys {_names(unknown)}; this form takes {expected}")


def _route(value: Mapping[str, Any], route_key: str, body_key: str) -> Call:
    _only(value, frozenset({route_key, body_key} | ({"method"} if route_key == "route" else set())))
    route, body = value[route_key], value.get(body_key)
    if not isinstance(route, str) or route not in ROUTES:
        shown = route if isinstance(route, str) else _kind(route)
        raise ApiError(404, f"`{route_key}` {shown[:200]!r} is not served; known: {', '.join(ROUTES)}", param=route_key)
    method = ROUTES[route]
    asked = value.get("method", method)
    if not isinstance(asked, str) or asked.upper() != method:
        raise ApiError(405, f"{route} takes {method}", param="method")
    if method == "GET":
        return Call(method, route, None)
    if not isinstance(body, dict):
        raise ApiError(400, f"`{body_key}` must be an object for {route}, not {_kind(body)}", param=body_key)
    return Call(method, route, body)


def _legacy(value: Mapping[str, Any]) -> Call:
    _only(value, _LEGACY)
    if "prompt" in value and "messages" in value:
        raise ApiError(400, "give either `prompt` or `messages`, not both")
    parameters = value.get("sampling_params") or {}
    if not isinstance(parameters, dict):
        raise ApiError(400, f"`sampling_params` must be an object, not {_kind(parameters)}", param="sampling_params")
    if taken := [key for key in ("prompt", "messages", "stream") if key in parameters]:
        raise ApiError(400, f"`{taken[0]}` belongs beside `sampling_params`, not inside", param="sampling_params")
    stream = value.get("stream", False)
    if not isinstance(stream, bool):
        raise ApiError(400, f"`stream` must be true or false, not {_kind(stream)}", param="stream")
    body = {**parameters, **({"model": value["model"]} if "model" in value else {}), "stream": stream}
    if "messages" in value:
        if not isinstance(value["messages"], list):
            raise ApiError(400, f"`messages` must be a list, not {_kind(value['messages'])}", param="messages")
        return Call("POST", "/v1/chat/completions", {**body, "messages": value["messages"]})
    prompt = value["prompt"]
    if isinstance(prompt, str) and value.get("apply_chat_template") is True:
        return Call("POST", "/v1/chat/completions", {**body, "messages": [{"role": "user", "content": prompt}]})
    if not isinstance(prompt, str):
        raise ApiError(
            400, f"`prompt` must be a string, not {_kind(prompt)}; for several use `prompts`", param="prompt"
        )
    return Call("POST", "/v1/completions", {**body, "prompt": prompt})


def _batch(value: Mapping[str, Any]) -> Batch:
    _only(value, _BATCH)
    prompts = value["prompts"]
    if not isinstance(prompts, list) or not all(isinstance(prompt, str) for prompt in prompts):
        raise ApiError(400, "`prompts` must be a list of strings", param="prompts")
    if len(prompts) > MAX_PROMPTS:
        raise ApiError(413, f"`prompts` has {len(prompts)} entries, the limit is {MAX_PROMPTS}", param="prompts")
    parameters = {key: value[key] for key in _BATCH - {"prompts"} if value.get(key) is not None}
    return Batch(tuple(prompts), {"max_tokens": BATCH_MAX_TOKENS, **parameters})
