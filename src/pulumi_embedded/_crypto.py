"""Passphrase secrets, byte for byte as the pulumi CLI writes them.

Key: PBKDF2-HMAC-SHA256, 1,000,000 rounds over an 8-byte salt; values: AES-256-GCM with a 12-byte nonce, written
`v1:<nonce>:<ciphertext and tag>` in base64. The salt is kept as `v1:<salt>:<encrypted "pulumi">`: decrypting that is
how a wrong passphrase is found. A key costs most of a second, so it is derived at most once per process, and only
when something is to be encrypted or decrypted.
"""

import base64
import binascii
import contextlib
import hashlib
import os
import threading
from pathlib import Path

from pulumi_embedded._errors import DamagedSecret, PassphraseError

_ROUNDS = 1_000_000
_PROOF = "pulumi"
_ENV = "PULUMI_CONFIG_PASSPHRASE"

_keys: dict[tuple[str, str], bytes] = {}
_deriving: dict[tuple[str, str], threading.Lock] = {}
_keys_lock = threading.Lock()


def passphrase_from_environment() -> str | None:
    """The passphrase in PULUMI_CONFIG_PASSPHRASE or the file PULUMI_CONFIG_PASSPHRASE_FILE names; None if neither."""
    value = os.environ.get(_ENV)
    if value is not None:
        return value
    file = os.environ.get(f"{_ENV}_FILE")
    if not file:
        return None
    try:
        return Path(file).read_text().strip()
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise PassphraseError(f"{_ENV}_FILE: cannot read {file}: {why}") from None


def derive_key(passphrase: str, salt: str) -> bytes:
    """The key for a base64 salt; derived once per process, and by one thread: others wait for it."""
    with _keys_lock:
        deriving = _deriving.setdefault((passphrase, salt), threading.Lock())
    with deriving:
        known = _keys.get((passphrase, salt))
        if known is None:
            known = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), base64.b64decode(salt), _ROUNDS, 32)
            _keys[passphrase, salt] = known
    return known


class PassphraseCrypter:
    """Encrypts and decrypts with one passphrase and one salt.

    `state` is the stack's `encryptionsalt`; made fresh by `PassphraseCrypter.create`. Nothing is derived before the
    first use, so a stack without secrets needs no passphrase.
    """

    def __init__(self, state: str, passphrase: str | None) -> None:
        version, _, rest = state.partition(":")
        salt, _, proof = rest.partition(":")
        if version != "v1" or not salt or not proof:
            raise PassphraseError("encryptionsalt is malformed: expected v1:<salt>:<proof>")
        self.state = state
        self._salt = salt
        self._proof = proof
        self._passphrase = passphrase
        self._key: bytes | None = None
        self._lock = threading.Lock()

    @classmethod
    def create(cls, passphrase: str | None) -> "PassphraseCrypter":
        """A crypter with a fresh salt."""
        if passphrase is None:
            raise _missing()
        salt = base64.b64encode(os.urandom(8)).decode()
        proof = _encrypt(derive_key(passphrase, salt), _PROOF)
        return cls(f"v1:{salt}:{proof}", passphrase)

    @property
    def has_passphrase(self) -> bool:
        """Whether a passphrase was given at all (right or wrong)."""
        return self._passphrase is not None

    def _derived(self) -> bytes:
        with self._lock:
            if self._key is None:
                if self._passphrase is None:
                    raise _missing()
                key = derive_key(self._passphrase, self._salt)
                if _decrypt(key, self._proof) != _PROOF:
                    raise PassphraseError(
                        f"incorrect passphrase: {_ENV} (or {_ENV}_FILE) does not open this stack's secrets"
                    )
                self._key = key
            return self._key

    def begin(self) -> None:
        """Begin to derive the key, beside whatever else is to be done; `check` and all others wait for it."""
        if self._passphrase is not None:
            threading.Thread(target=self._begin, daemon=True).start()

    def _begin(self) -> None:
        with contextlib.suppress(PassphraseError, ValueError):  # whoever uses the key is told
            self._derived()

    def check(self) -> None:
        """Raise PassphraseError unless the passphrase opens this stack."""
        self._derived()

    def encrypt(self, plaintext: str) -> str:
        """`v1:<nonce>:<ciphertext>`, different at every call."""
        return _encrypt(self._derived(), plaintext)

    def decrypt(self, ciphertext: str) -> str:
        """The plaintext; PassphraseError when the value was not encrypted with this key."""
        plaintext = _decrypt(self._derived(), ciphertext)
        if plaintext is None:
            raise DamagedSecret("a secret cannot be decrypted: it was encrypted for another stack, or is damaged")
        return plaintext


def _missing() -> PassphraseError:
    return PassphraseError(f"passphrase must be set with {_ENV} or {_ENV}_FILE")


def _encrypt(key: bytes, plaintext: str) -> str:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 0.1 s that a stack without secrets need not pay

    nonce = os.urandom(12)
    sealed = AESGCM(key).encrypt(nonce, plaintext.encode(), None)
    return f"v1:{base64.b64encode(nonce).decode()}:{base64.b64encode(sealed).decode()}"


def _decrypt(key: bytes, ciphertext: str) -> str | None:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    version, _, rest = ciphertext.partition(":")
    nonce, _, sealed = rest.partition(":")
    if version != "v1":
        return None
    try:
        return AESGCM(key).decrypt(base64.b64decode(nonce), base64.b64decode(sealed), None).decode()
    except (InvalidTag, binascii.Error, ValueError):
        return None
