"""The one place where secrets are taken out of anything shown, logged or stored.

Two ways at once: by value (whatever was registered as a secret in this process) and by pattern (RunPod and Hugging
Face tokens, user information in URLs, signed query strings, Authorization headers). A leaf: it imports nothing of
the project, and every room may import it.
"""

from redaction._redact import REDACTED, RedactingFilter, forget_secrets, redact, register_secret

__all__ = ["REDACTED", "RedactingFilter", "forget_secrets", "redact", "register_secret"]
