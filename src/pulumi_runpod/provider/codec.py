"""The wire form of properties (protobuf Struct with Pulumi's signatures) and our values, both ways.

Accepted: every kind of unknown (the sentinel of each type), secrets, output values, resource references (which become
their id). Sent: the string sentinel only, since the Python SDK recognises no other, and secrets. RunPod has no
assets, so an asset or archive is refused with its property path. Numbers are doubles on the wire; one without a
fraction is an `int` here, so `3` never turns into `3.0`.
"""

import math
from collections.abc import Mapping

from google.protobuf import struct_pb2

from pulumi_runpod.provider.values import UNKNOWN, Properties, Secret, Value, join_path, plain

SIGNATURE_KEY = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a wire signature
OUTPUT_VALUE = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
RESOURCE_REFERENCE = "5cf8f73096256a8f31e491e813e4eb8e"
ASSET = "c44067f5952c0a294b673a41bacd8c17"
ARCHIVE = "0def7320c3a5731c473e5ecbe6d01bc7"

UNKNOWN_STRING = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
UNKNOWN_SENTINELS = frozenset(
    {
        UNKNOWN_STRING,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",  # bool
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",  # number
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",  # array
        "030794c1-ac77-496b-92df-f27374a8bd58",  # asset
        "e48ece36-62e2-4504-bad9-02848725956a",  # archive
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",  # object
    }
)


class CodecError(ValueError):
    """A property that cannot be taken off the wire. `path` says which."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path}: {reason}" if path else reason)


def from_struct(struct: struct_pb2.Struct | None) -> Properties:
    """Take properties off the wire."""
    if struct is None:
        return {}
    return {key: _decode(value, join_path("", key)) for key, value in struct.fields.items()}


def to_struct(properties: Mapping[str, Value]) -> struct_pb2.Struct:
    """Put properties on the wire. Keys whose value is None are left out: Pulumi has no use for a null property."""
    struct = struct_pb2.Struct()
    for key, value in properties.items():
        if value is not None:
            _encode(struct.fields[key], value)
    return struct


def _decode(value: struct_pb2.Value, path: str) -> Value:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return UNKNOWN if value.string_value in UNKNOWN_SENTINELS else value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if math.isfinite(number) and number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_decode(item, join_path(path, index)) for index, item in enumerate(value.list_value.values)]
    if kind == "struct_value":
        return _decode_struct(value.struct_value, path)
    return None


def _decode_struct(struct: struct_pb2.Struct, path: str) -> Value:
    fields = struct.fields
    signature = fields[SIGNATURE_KEY].string_value if SIGNATURE_KEY in fields else ""
    if signature == SECRET:
        return Secret(plain(_decode(fields["value"], path)))
    if signature == OUTPUT_VALUE:
        value = _decode(fields["value"], path) if "value" in fields else UNKNOWN
        return Secret(plain(value)) if "secret" in fields and fields["secret"].bool_value else value
    if signature == RESOURCE_REFERENCE:
        return _decode(fields["id"], path) if "id" in fields else UNKNOWN
    if signature in (ASSET, ARCHIVE):
        raise CodecError(path, "is an asset or archive, which RunPod has no use for; pass a string")
    if signature:
        raise CodecError(path, f"has a kind of value this provider does not know ({signature})")
    return {key: _decode(item, join_path(path, key)) for key, item in fields.items()}


def _encode(target: struct_pb2.Value, value: Value) -> None:
    if value is None:
        target.null_value = struct_pb2.NULL_VALUE
    elif value is UNKNOWN:
        target.string_value = UNKNOWN_STRING
    elif isinstance(value, Secret):
        fields = target.struct_value.fields
        fields[SIGNATURE_KEY].string_value = SECRET
        _encode(fields["value"], plain(value.value))
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, (int, float)):
        target.number_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, Mapping):
        target.struct_value.SetInParent()
        for key, item in value.items():
            _encode(target.struct_value.fields[key], item)
    elif isinstance(value, (list, tuple)):
        target.list_value.SetInParent()
        for item in value:
            _encode(target.list_value.values.add(), item)
    else:
        raise TypeError(f"cannot put a {type(value).__name__} on the wire")
