"""Stack configuration: `Pulumi.<stack>.yaml`, comments and order kept, secrets encrypted.

Reading never writes. `encryptionsalt` is written only when it is absent and something must be encrypted.
"""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from pulumi_embedded._errors import ConfigError, DamagedSecret, NotSupported, unreadable
from pulumi_embedded._files import write_atomically
from pulumi_embedded._project import Project
from pulumi_embedded._statejson import Crypter, NoSecrets
from redaction import register_secret

_EXPONENT = re.compile(r"e([+-])0*(\d)")
_KEY = re.compile(r"[^:\s]+:[^:\s]+\Z")


@dataclass(frozen=True)
class ConfigValue:
    """One value as text; objects are JSON text. `secret` values are encrypted in the file."""

    text: str
    secret: bool = False
    is_object: bool = False


class StackConfig:
    """One stack's file. Values stay encrypted until they are asked for."""

    def __init__(self, project: Project, stack: str) -> None:
        self._project = project
        self.file = project.stack_file(stack)
        self._yaml = YAML()
        self._yaml.preserve_quotes = True
        self._yaml.width = 4096
        self._data = self._load()

    def _load(self) -> CommentedMap:
        if not self.file.exists():
            return CommentedMap()
        try:
            data = self._yaml.load(self.file.read_text())
        except (OSError, UnicodeError, YAMLError) as error:
            raise ConfigError(unreadable(self.file, error)) from error
        if data is None:
            return CommentedMap()
        if not isinstance(data, CommentedMap) or not isinstance(data.get("config") or {}, dict):
            raise ConfigError(f"{self.file}: expected a mapping with `config:`")
        if data.get("environment"):
            raise NotSupported(f"`environment` ({self.file})")
        provider = data.get("secretsprovider") or ""
        if provider not in ("", "default", "passphrase"):
            raise NotSupported(f"the secrets provider `{provider}` ({self.file}: secretsprovider)")
        return data

    @property
    def salt(self) -> str:
        """`encryptionsalt`, or empty."""
        return str(self._data.get("encryptionsalt") or "")

    def set_salt(self, salt: str) -> None:
        """Write `encryptionsalt`; it must be absent."""
        if self.salt:
            raise ConfigError(f"{self.file}: encryptionsalt is already set")
        self._data.insert(0, "encryptionsalt", salt)
        self.save()

    def qualify(self, key: str) -> str:
        """`name` as `<project>:name`."""
        full = key if ":" in key else f"{self._project.name}:{key}"
        if not _KEY.match(full):
            raise ConfigError(f"`{key}` is not a configuration key: expected `name` or `namespace:name`")
        return full

    def _entries(self) -> dict[str, Any]:
        defaults = {}
        for key, declared in self._project.config.items():
            value = declared
            if isinstance(declared, dict):
                value = declared.get("value", declared.get("default")) if declared.keys() & {
                    "value", "default", "type", "description", "secret", "items",
                } else declared  # fmt: skip
            if value is not None:
                defaults[self.qualify(str(key))] = value
        own = {self.qualify(str(key)): value for key, value in (self._data.get("config") or {}).items()}
        return defaults | own

    @property
    def has_secrets(self) -> bool:
        """Whether any value is encrypted."""
        return any(_has_secure(value) for value in self._entries().values())

    def values(self, crypter: Crypter) -> dict[str, ConfigValue]:
        """Every value, decrypted; secrets become known to the redaction."""
        return {key: self._opened(key, value, crypter) for key, value in self._entries().items()}

    def get(self, key: str, crypter: Crypter) -> ConfigValue:
        """One value; ConfigError names a key that is not there."""
        full = self.qualify(key)
        entries = self._entries()
        if full not in entries:
            raise ConfigError(
                f"configuration key '{key}' not found for stack '{self.file.stem.removeprefix('Pulumi.')}'"
            )
        return self._opened(full, entries[full], crypter)

    def _opened(self, key: str, value: Any, crypter: Crypter) -> ConfigValue:
        try:
            return _open(value, crypter)
        except DamagedSecret as error:
            raise ConfigError(f"{self.file}: {key}: {error}; set it again with `config set --secret {key}`") from error

    def masked(self) -> dict[str, ConfigValue]:
        """Every value, secrets as `[secret]`; needs no passphrase."""
        return {key: _masked(value) for key, value in self._entries().items()}

    def history_form(self) -> dict[str, Any]:
        """The values as a history file records them: secrets stay encrypted."""
        return {key: _recorded(value) for key, value in self._entries().items()}

    def set(self, key: str, text: str, crypter: Crypter | None = None, path: bool = False) -> None:
        """Set a value; with a crypter it is stored encrypted."""
        if path:
            raise NotSupported("`config set --path`")
        value: Any = text
        if crypter is not None:
            register_secret(text)
            value = CommentedMap({"secure": crypter.encrypt(text)})
        config = self._data.get("config")
        if config is None:
            config = self._data["config"] = CommentedMap()
        full = self.qualify(key)
        existing = next((k for k in config if self.qualify(str(k)) == full), full)
        config[existing] = value
        self.save()

    def remove(self, key: str) -> None:
        """Remove a value; removing what is not there is not an error, as in the CLI."""
        config = self._data.get("config") or {}
        full = self.qualify(key)
        for existing in [k for k in config if self.qualify(str(k)) == full]:
            del config[existing]
            self.save()

    def save(self) -> None:
        """Write the file."""
        buffer = io.StringIO()
        self._yaml.dump(self._data, buffer)
        write_atomically(self.file, buffer.getvalue().encode())


def _has_secure(value: Any) -> bool:
    if isinstance(value, dict):
        return set(value) == {"secure"} or any(_has_secure(item) for item in value.values())
    return isinstance(value, list) and any(_has_secure(item) for item in value)


def _open(value: Any, crypter: Crypter) -> ConfigValue:
    if isinstance(value, dict) and set(value) == {"secure"}:
        text = crypter.decrypt(str(value["secure"]))
        register_secret(text)
        return ConfigValue(text, secret=True)
    if isinstance(value, dict | list):
        text = json.dumps(_open_object(value, crypter), separators=(",", ":"), ensure_ascii=False, default=_scalar)
        return ConfigValue(text, secret=_has_secure(value), is_object=True)
    return ConfigValue(_scalar(value))


def _open_object(value: Any, crypter: Crypter) -> Any:
    if isinstance(value, dict):
        if set(value) == {"secure"}:
            text = crypter.decrypt(str(value["secure"]))
            register_secret(text)
            return text
        return {str(key): _open_object(item, crypter) for key, item in value.items()}
    if isinstance(value, list):
        return [_open_object(item, crypter) for item in value]
    return _whole(value)


def _masked(value: Any) -> ConfigValue:
    if _has_secure(value):
        return ConfigValue("[secret]", secret=True, is_object=set(value) != {"secure"})
    if isinstance(value, dict | list):
        return ConfigValue(_open(value, NoSecrets()).text, is_object=True)
    return ConfigValue(_scalar(value))


def _recorded(value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.loads(json.dumps(value, default=_scalar))
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        return _time(value)
    value = _whole(value)
    if isinstance(value, float):
        return _EXPONENT.sub(r"e\1\2", format(Decimal(repr(value)), "f") if 1e-6 <= abs(value) < 1e21 else repr(value))
    return "" if value is None else str(value)


def _whole(value: Any) -> Any:
    """YAML's 3.0 is 3 for the CLI, which keeps every value as JSON."""
    if not isinstance(value, float):
        return value
    if not isfinite(value):
        raise ConfigError(f"{value} is no number that a configuration can hold; put it in quotes")
    return int(value) if value.is_integer() and abs(value) < 1e21 else float(value)


def _time(value: date) -> str:
    """YAML's dates and times as the CLI tells them to the program."""
    if not isinstance(value, datetime):
        return f"{value:%Y-%m-%d} 00:00:00 +0000 UTC"
    offset = f"{value:%z}" or "+0000"
    part = f".{value.microsecond:06}".rstrip("0") if value.microsecond else ""
    return f"{value:%Y-%m-%d %H:%M:%S}{part} {offset} {'UTC' if offset == '+0000' else offset}"


def package_config(values: Mapping[str, ConfigValue], package: str) -> dict[str, ConfigValue]:
    """The values of one namespace, without their prefix: a default provider's inputs."""
    prefix = f"{package}:"
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


def stack_files(project: Project) -> list[Path]:
    """Every Pulumi.<stack>.yaml of the project."""
    return sorted((project.root / project.stack_config_dir).glob("Pulumi.*.yaml"))
