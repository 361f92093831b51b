"""The state directory: who owns it, and the key that opens the emulator.

    api-key            the caller's key, made at the first start, 0600
    emulator.lock      held with flock by the running emulator, its pid inside; kill -9 leaves no stale lock
    emulator.sqlite3   everything else (0600: registry passwords and worker keys stand in it)
    volumes/ cache/ workers/

The directory itself is 0700.
"""

import fcntl
import os
import secrets
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redaction import register_secret
from runpod_emulator.config import Config
from runpod_emulator.errors import StateInUse, StateUnusable

_KEY_ALPHABET = string.ascii_letters + string.digits


@contextmanager
def owned(config: Config) -> Iterator[None]:
    """Hold the state directory while the block runs. Raises StateInUse naming the owner's pid, or StateUnusable."""
    try:
        config.state_dir.mkdir(parents=True, exist_ok=True)
        config.state_dir.chmod(0o700)
        # Not inherited by workers: Python opens files close-on-exec.
        descriptor = os.open(config.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StateUnusable(config.state_dir, error.strerror or str(error)) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StateInUse(config.state_dir, _pid_in(descriptor)) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _pid_in(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return int(text) if text.isdecimal() else None


def api_key(config: Config) -> str:
    """The caller's key: the configured one, or the one in the state directory, made there at the first start."""
    key = config.api_key or _stored_key(config.key_file)
    register_secret(key)
    return key


def _stored_key(path: Path) -> str:
    try:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            path.chmod(0o600)
            key = path.read_text(encoding="utf-8").strip()
        else:
            key = "rpa_" + "".join(secrets.choice(_KEY_ALPHABET) for _ in range(40))
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(key + "\n")
    except (OSError, UnicodeDecodeError) as error:
        raise StateUnusable(path, str(error)) from error
    if not key:
        raise StateUnusable(path, "it is empty; delete it and a new key is made")
    return key
