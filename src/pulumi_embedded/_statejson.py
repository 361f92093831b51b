"""Property values in the checkpoint's JSON, with secrets encrypted.

A value that is written again unchanged keeps its old ciphertext: `Sealer` remembers, per place in the state, what it
read there. So an update that changes nothing changes no byte of a secret.
"""

import json
import math
import struct
from collections.abc import Mapping
from typing import Any, Protocol

from pulumi_embedded._errors import NotSupported, PassphraseError, StateError
from pulumi_embedded._values import UNKNOWN, PropertyMap, ResourceRef, Secret, Unknown, secret_strings
from pulumi_embedded._wire import RESOURCE_SIG, SECRET_SIG, SIG_KEY, UNKNOWN_STRING
from redaction import register_secret

FLOAT_SIG = "8ad145fe-0d11-4827-bfd7-1abcbf086f5c"


class Crypter(Protocol):
    """What encrypts and decrypts single values."""

    def encrypt(self, plaintext: str, /) -> str: ...
    def decrypt(self, ciphertext: str, /) -> str: ...


class NoSecrets:
    """A crypter for where there is nothing secret; being asked is a mistake of ours."""

    def encrypt(self, _plaintext: str, /) -> str:
        raise PassphraseError("no secret was expected here")

    def decrypt(self, _ciphertext: str, /) -> str:
        raise PassphraseError("no secret was expected here")


class Sealer:
    """Turns property maps into checkpoint JSON and back."""

    def __init__(self, crypter: Crypter) -> None:
        self.crypter = crypter
        self._known: dict[str, tuple[str, str]] = {}
        self.used = False
        """Whether any secret was read or written."""

    def open(self, data: Mapping[str, Any], place: str) -> PropertyMap:
        """A property map from its JSON. `place` must be the same when it is written again."""
        return {key: self._open(value, f"{place}/{key}") for key, value in data.items()}

    def open_value(self, value: Any, place: str) -> Any:
        """One value from its JSON."""
        return self._open(value, place)

    def _open(self, value: Any, place: str) -> Any:
        if isinstance(value, str):
            return UNKNOWN if value == UNKNOWN_STRING else value
        if isinstance(value, list):
            return [self._open(item, f"{place}/{i}") for i, item in enumerate(value)]
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            return int(value)
        if not isinstance(value, dict):
            return value
        signature = value.get(SIG_KEY)
        if signature is None:
            return {key: self._open(item, f"{place}/{key}") for key, item in value.items()}
        try:
            return self._open_signed(value, signature, place)
        except (AttributeError, KeyError, TypeError, ValueError, struct.error):  # its text may be the secret
            raise StateError(f"the value at {place} in the state is damaged; restore the .bak beside it") from None

    def _open_signed(self, value: Mapping[str, Any], signature: Any, place: str) -> Any:
        if signature == SECRET_SIG:
            self.used = True
            plaintext = value.get("plaintext")
            if plaintext is None:
                plaintext = self.crypter.decrypt(value["ciphertext"])
                self._known[place] = (_canonical(json.loads(plaintext)), value["ciphertext"])
            secret = Secret(_open_plain(json.loads(plaintext)))
            for text in secret_strings(secret):
                register_secret(text)
            return secret
        if signature == RESOURCE_SIG:
            return _open_ref(value)
        if signature == FLOAT_SIG:
            return struct.unpack(">d", bytes.fromhex(value["value"]))[0]
        raise NotSupported(
            f"the value at {place} in the state (signature {signature}: an asset, archive or byte string)"
        )

    def seal(self, props: Mapping[str, Any], place: str) -> dict[str, Any]:
        """The JSON of a property map."""
        return {key: self._seal(props[key], f"{place}/{key}") for key in sorted(props)}

    def seal_value(self, value: Any, place: str) -> Any:
        """The JSON of one value."""
        return self._seal(value, place)

    def _seal(self, value: Any, place: str) -> Any:
        if isinstance(value, Secret):
            self.used = True
            plaintext = _canonical(_plain_json(value.value))
            old, ciphertext = self._known.get(place, ("", ""))
            if not ciphertext or old != plaintext:
                ciphertext = self.crypter.encrypt(plaintext)
                self._known[place] = (plaintext, ciphertext)
            return {SIG_KEY: SECRET_SIG, "ciphertext": ciphertext}
        if isinstance(value, dict):
            return self.seal(value, place)
        if isinstance(value, list):
            return [self._seal(item, f"{place}/{i}") for i, item in enumerate(value)]
        return _leaf_json(value)


def _canonical(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def _open_ref(value: Mapping[str, Any]) -> ResourceRef:
    id_ = value.get("id")
    return ResourceRef(value["urn"], UNKNOWN if id_ == UNKNOWN_STRING else id_, value.get("packageVersion", ""))


def _open_plain(value: Any) -> Any:
    """What stands inside a secret: nested secrets there are marked, but not encrypted again."""
    if isinstance(value, str):
        return UNKNOWN if value == UNKNOWN_STRING else value
    if isinstance(value, list):
        return [_open_plain(item) for item in value]
    if isinstance(value, dict):
        if value.get(SIG_KEY) == SECRET_SIG:
            return Secret(_open_plain(json.loads(value["ciphertext"])))
        if value.get(SIG_KEY) == RESOURCE_SIG:
            return _open_ref(value)
        return {key: _open_plain(item) for key, item in value.items()}
    return value


def _plain_json(value: Any) -> Any:
    if isinstance(value, Secret):
        return {SIG_KEY: SECRET_SIG, "ciphertext": _canonical(_plain_json(value.value))}
    if isinstance(value, dict):
        return {key: _plain_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain_json(item) for item in value]
    return _leaf_json(value)


def _leaf_json(value: Any) -> Any:
    if isinstance(value, Unknown):
        return UNKNOWN_STRING
    if isinstance(value, ResourceRef):
        reference: dict[str, Any] = {SIG_KEY: RESOURCE_SIG, "urn": value.urn, "packageVersion": value.package_version}
        if value.id is not None:
            reference["id"] = UNKNOWN_STRING if value.id is UNKNOWN else value.id
        return reference
    if isinstance(value, float) and not math.isfinite(value):
        return {SIG_KEY: FLOAT_SIG, "value": struct.pack(">d", value).hex()}
    return value
