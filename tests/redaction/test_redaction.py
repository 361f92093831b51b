"""Secrets leave no trace in text, however they got there."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redaction import REDACTED, RedactingFilter, forget_secrets, redact, register_secret


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    forget_secrets()
    yield
    forget_secrets()


@given(st.text(min_size=4, max_size=40), st.text(max_size=60), st.text(max_size=60))
def test_a_registered_value_never_survives(secret: str, before: str, after: str) -> None:
    """Whatever stands around it, a registered secret is gone from the text."""
    forget_secrets()
    register_secret(secret)
    shown = redact(before + secret + after)
    assert secret not in shown.replace(REDACTED, "")


def test_a_secret_that_contains_another_is_replaced_whole() -> None:
    """Replacing the short one first would leave the rest of the long one behind."""
    register_secret("abcd")
    register_secret("abcdefgh")
    assert redact("x abcdefgh y") == f"x {REDACTED} y"


def test_short_values_are_not_blanked_out() -> None:
    """Hiding `1` would make every message unreadable and hide nothing."""
    register_secret("1")
    register_secret(None)
    assert redact("1 worker") == "1 worker"


@pytest.mark.parametrize(
    "text",
    [
        "key rpa_ABCDEFGHIJKLMNOP1234",
        "token hf_abcdefghijklmnop",
        "Authorization: Bearer abc.def-ghi",
        "https://user:pass" + "word@example.com/x",
        "https://cdn.example/x?X-Amz-Signature=0123abcd&y=1",
    ],
)
def test_what_looks_like_a_credential_is_hidden(text: str) -> None:
    """Tokens of a known form are hidden even when nobody registered them."""
    assert REDACTED in redact(text)
    assert "password" not in redact(text)
    assert "0123abcd" not in redact(text)


def test_words_about_credentials_stay() -> None:
    """A refusal that speaks of a bearer token is readable."""
    assert redact("invalid bearer token") == "invalid bearer token"


def test_json_and_url_forms_are_hidden_too() -> None:
    """A secret with quotes or slashes appears encoded in bodies and URLs."""
    register_secret('pa"ss/word')
    assert "ss" not in redact('{"p": "pa\\"ss/word"} ?p=pa%22ss%2Fword').replace(REDACTED, "")


def test_logging_arguments_and_exceptions_are_redacted(caplog: pytest.LogCaptureFixture) -> None:
    """A filter on a handler cleans the message, its arguments and the traceback."""
    register_secret("hunter2secret")
    logger = logging.getLogger("tests.redaction")
    caplog.handler.addFilter(RedactingFilter())
    try:
        raise ValueError("bad hunter2secret")
    except ValueError:
        logger.exception("with %s", "hunter2secret")
    assert "hunter2secret" not in caplog.text
    assert REDACTED in caplog.text
