"""Redaction by value and by pattern."""

import json
import logging
import re
import threading
from urllib.parse import quote

REDACTED = "[secret]"

# Shorter values ("a", "true", "80") would blank out ordinary text without hiding anything.
_MIN_LENGTH = 4

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # RunPod API keys (rpa_), S3 secrets (rps_), Hugging Face tokens (hf_).
    (re.compile(r"\b(?:rpa|rps|hf)_[A-Za-z0-9]{8,}"), REDACTED),
    # "bearer token" is what one says of a credential, not one.
    (re.compile(r"(?i)\b(bearer|basic)\s+(?!tokens?\b)[A-Za-z0-9._~+/=-]{4,}"), rf"\1 {REDACTED}"),
    (re.compile(r"(?i)(://)[^/\s:@]+:[^/\s@]+@"), rf"\1{REDACTED}@"),
    (
        re.compile(r"(?i)([?&](?:x-amz-[a-z-]+|signature|sig|api_key|apikey|token|key-pair-id|policy)=)[^&\s\"']+"),
        rf"\1{REDACTED}",
    ),
)

_lock = threading.Lock()
_values: set[str] = set()


def register_secret(value: str | None) -> None:
    """Hide `value`, and its JSON- and URL-encoded forms, in everything passed to `redact` from now on.

    Values shorter than four characters are ignored: hiding them would blank out ordinary text.
    """
    if not value or len(value) < _MIN_LENGTH:
        return
    forms = {value, json.dumps(value)[1:-1], quote(value, safe="")}
    # A multi-line secret (a key file) is often shown line by line.
    forms.update(line for line in value.splitlines() if len(line) >= 12)
    with _lock:
        _values.update(forms)


def forget_secrets() -> None:
    """Forget every registered value (between tests, or when a long-lived process changes hands)."""
    with _lock:
        _values.clear()


def redact(text: str) -> str:
    """Return `text` with every registered secret and everything that looks like a credential replaced."""
    with _lock:
        # Longest first, so that a secret that contains another one is replaced whole.
        values = sorted(_values, key=len, reverse=True)
    for value in values:
        text = text.replace(value, REDACTED)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


class RedactingFilter(logging.Filter):
    """A logging filter that redacts the finished message, arguments and exception text included."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = redact(record.getMessage())
        record.args = None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        return True
