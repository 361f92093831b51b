"""Ask a deployed model, through the official OpenAI client."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import openai

from redaction import redact
from vllm_runpod.errors import NoAnswer


@dataclass(frozen=True)
class Answer:
    """What the model said and how long it took. Seconds; `tokens` as the server counted them."""

    text: str
    first_token_s: float
    total_s: float
    tokens: int | None

    @property
    def tokens_per_second(self) -> float | None:
        """Rate after the first token; None when the server gave no count or there was only one token."""
        if not self.tokens or self.tokens < 2 or self.total_s <= self.first_token_s:
            return None
        return (self.tokens - 1) / (self.total_s - self.first_token_s)


def ask(
    base_url: str,
    api_key: str,
    model: str,
    prompt: str,
    *,
    temperature: float = 0.0,
    max_tokens: int = 256,
    timeout_s: float = 600.0,
    show: Callable[[str], None] = lambda _: None,
) -> Answer:
    """Send one chat message and stream the answer; `show` gets each piece of text as it comes. Raises NoAnswer."""
    began = time.monotonic()
    first = None
    pieces: list[str] = []
    tokens = None
    try:
        with openai.OpenAI(base_url=base_url, api_key=api_key, timeout=timeout_s, max_retries=0) as client:
            stream = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": prompt}],
                temperature=temperature,
                max_tokens=max_tokens,
                stream=True,
                stream_options={"include_usage": True},
            )
            for chunk in stream:
                if chunk.usage is not None:
                    tokens = chunk.usage.completion_tokens
                text = chunk.choices[0].delta.content if chunk.choices else None
                if text:
                    if first is None:
                        first = time.monotonic() - began
                    pieces.append(text)
                    show(text)
    except openai.APIStatusError as error:
        raise NoAnswer(f"{base_url} answered {error.status_code}: {redact(_detail(error))}") from error
    except openai.APITimeoutError as error:
        raise NoAnswer(f"{base_url} gave no answer within {timeout_s:.0f} s") from error
    except openai.APIConnectionError as error:
        raise NoAnswer(
            f"cannot reach {base_url}: {redact(str(error.__cause__ or error))}\n\n"
            "hint: is the stack up? `make up` starts it"
        ) from error
    except openai.APIError as error:
        raise NoAnswer(f"{base_url} ended the answer with an error: {redact(str(error))}") from error
    total = time.monotonic() - began
    if first is None:
        raise NoAnswer(f"{base_url} ended its answer without a word")
    return Answer("".join(pieces), first, total, tokens)


def _detail(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict):
        inner = body.get("error", body)
        if isinstance(inner, dict):
            return str(inner.get("message") or inner.get("detail") or inner)
        return str(inner)
    return error.message
