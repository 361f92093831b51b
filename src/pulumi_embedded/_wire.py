"""Property values over gRPC: `google.protobuf.Struct` with Pulumi's signatures, both ways.

What a peer does not understand is simplified on the way out (secrets to what they hold, resource references to their
id); what this engine does not carry (assets, archives, byte strings) is refused with the property's path.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import struct_pb2

from pulumi_embedded._errors import WireError
from pulumi_embedded._paths import format_path
from pulumi_embedded._values import UNKNOWN, PropertyMap, ResourceRef, Secret, Unknown

SIG_KEY = "4dabf18193072939515e22adb298388d"
SECRET_SIG = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the protocol's marker, not a secret
ASSET_SIG = "c44067f5952c0a294b673a41bacd8c17"
ARCHIVE_SIG = "0def7320c3a5731c473e5ecbe6d01bc7"
RESOURCE_SIG = "5cf8f73096256a8f31e491e813e4eb8e"
OUTPUT_SIG = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
UNKNOWN_STRING = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"

# The protocol has one sentinel per type; everybody sends the string's, and all mean "unknown".
_UNKNOWNS = frozenset({
    UNKNOWN_STRING,
    "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
    "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
    "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
    "030794c1-ac77-496b-92df-f27374a8bd58",
    "e48ece36-62e2-4504-bad9-02848725956a",
    "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
})  # fmt: skip

_REFUSED = {ASSET_SIG: "assets", ARCHIVE_SIG: "archives"}


@dataclass(frozen=True)
class Peer:
    """What the other side of the wire understands."""

    secrets: bool = True
    resources: bool = True


PLAIN = Peer(secrets=False, resources=False)


def decode(struct: struct_pb2.Struct, where: str = "") -> PropertyMap:
    """The wire object as a property map. `where` names it in an error."""
    return {key: _decode(value, where, (key,)) for key, value in struct.fields.items()}


def decode_value(value: struct_pb2.Value, where: str = "") -> Any:
    """One wire value."""
    return _decode(value, where, ())


def _decode(value: struct_pb2.Value, where: str, path: tuple[str | int, ...]) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        text = value.string_value
        return UNKNOWN if text in _UNKNOWNS else text
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) < 2**53 else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_decode(item, where, (*path, i)) for i, item in enumerate(value.list_value.values)]
    if kind == "struct_value":
        fields = value.struct_value.fields
        if SIG_KEY in fields:
            return _decode_signed(fields, where, path)
        return {key: _decode(item, where, (*path, key)) for key, item in fields.items()}
    return None


def _decode_signed(fields: Mapping[str, struct_pb2.Value], where: str, path: tuple[str | int, ...]) -> Any:
    signature = fields[SIG_KEY].string_value
    if signature == SECRET_SIG:
        return Secret(_decode(fields["value"], where, path) if "value" in fields else None)
    if signature == OUTPUT_SIG:
        inner = _decode(fields["value"], where, path) if "value" in fields else UNKNOWN
        return Secret(inner) if "secret" in fields and fields["secret"].bool_value else inner
    if signature == RESOURCE_SIG:
        id_ = _decode(fields["id"], where, path) if "id" in fields else None
        version = fields["packageVersion"].string_value if "packageVersion" in fields else ""
        return ResourceRef(fields["urn"].string_value, UNKNOWN if id_ == "" else id_, version)
    what = _REFUSED.get(signature, f"values with the signature {signature}")
    raise WireError(f"{where}: property `{format_path(path)}`: pulumi_embedded does not support {what}")


def encode(props: Mapping[str, Any], peer: Peer) -> struct_pb2.Struct:
    """A property map as a wire object the peer understands."""
    struct = struct_pb2.Struct()
    for key, value in props.items():
        _encode(value, peer, struct.fields[key])
    return struct


def _encode(value: Any, peer: Peer, into: struct_pb2.Value) -> None:
    if isinstance(value, str):
        into.string_value = value
    elif isinstance(value, bool):
        into.bool_value = value
    elif isinstance(value, int | float):
        into.number_value = value
    elif value is None:
        into.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, dict):
        into.struct_value.SetInParent()
        for key, item in value.items():
            _encode(item, peer, into.struct_value.fields[key])
    elif isinstance(value, list):
        into.list_value.SetInParent()
        for item in value:
            _encode(item, peer, into.list_value.values.add())
    elif isinstance(value, Unknown):
        into.string_value = UNKNOWN_STRING
    elif isinstance(value, Secret):
        if peer.secrets:
            fields = into.struct_value.fields
            fields[SIG_KEY].string_value = SECRET_SIG
            _encode(value.value, peer, fields["value"])
        else:
            _encode(value.value, peer, into)
    elif isinstance(value, ResourceRef):
        _encode_ref(value, peer, into)
    else:
        raise WireError(f"a {type(value).__name__} is not a property value")


def _encode_ref(ref: ResourceRef, peer: Peer, into: struct_pb2.Value) -> None:
    if not peer.resources:
        _encode(ref.urn if ref.id is None else ref.id, peer, into)
        return
    fields = into.struct_value.fields
    fields[SIG_KEY].string_value = RESOURCE_SIG
    fields["urn"].string_value = ref.urn
    if ref.id is not None:
        _encode("" if ref.id is UNKNOWN else ref.id, peer, fields["id"])
    if ref.package_version:
        fields["packageVersion"].string_value = ref.package_version
