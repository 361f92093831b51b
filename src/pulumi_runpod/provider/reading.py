"""From RunPod's answer to outputs, and from outputs back to inputs.

Outputs are what *is*. Inputs are what a program would have to say to get it: equal to what Check would make of that
program, so that an import or a refresh without drift is followed by an empty preview. RunPod's own spelling of the
same thing (another order, a default filled in, an empty list) is no drift.
"""

from collections.abc import Sequence
from typing import Any

from pulumi_runpod.declarations import NOT_CLEARABLE, Field, ListOf, MapOf, Object, Type, nothing
from pulumi_runpod.provider.diffing import same
from pulumi_runpod.provider.values import Properties, Secret, Value, looks_like_credential, plain, secret_like


def outputs_from_answer(fields: Sequence[Field], answer: dict[str, Any]) -> Properties:
    """The declared outputs in RunPod's answer. What it does not mention, or gives as null, is left out."""
    outputs: Properties = {}
    for field in fields:
        value = answer.get(field.wire)
        if field.is_output and value is not None:
            outputs[field.wire] = normal(field.type, value)
    return outputs


def mark_secrets(fields: Sequence[Field], properties: Properties, *patterns: Properties) -> Properties:
    """Wrap what the declaration, the old state or a credential's look makes secret."""
    marked: Properties = {}
    for key, value in properties.items():
        field = next((f for f in fields if f.wire == key), None)
        if field is not None and field.secret:
            marked[key] = Secret(plain(value))
            continue
        if field is not None and isinstance(field.type, MapOf) and field.type.may_hold_secrets:
            value = _mark_map(value)
        marked[key] = secret_like(value, *(pattern[key] for pattern in patterns if key in pattern))
    return marked


def inputs_from_outputs(
    fields: Sequence[Field], outputs: Properties, old_inputs: Properties, *, importing: bool
) -> Properties:
    """The inputs that `outputs` correspond to.

    `old_inputs` decide between equal spellings, and supply what RunPod never tells. When `importing`, what RunPod
    picked by itself is included, so that generated code says it.
    """
    inputs: Properties = {}
    for field in fields:
        if not field.is_input:
            continue
        key = field.wire
        old, actual = old_inputs.get(key), outputs.get(key)
        value: Value
        if field.provider_only:
            value = field.default if old is None else old
        elif field.write_only or (old is not None and same(field, old, actual)):
            value = old
        elif field.stays and old is None and not importing:
            value = None  # chosen by RunPod, or left from a time when the program said it
        elif isinstance(field.type, Object) and isinstance(plain(actual), dict):
            nested = plain(old)
            value = inputs_from_outputs(
                field.type.fields,
                plain(actual),
                nested if isinstance(nested, dict) else {},
                importing=importing or not isinstance(nested, dict),
            )
        elif isinstance(field.type, ListOf) and isinstance(field.type.item, Object) and isinstance(plain(actual), list):
            item = field.type.item
            value = [inputs_from_outputs(item.fields, entry, {}, importing=True) for entry in plain(actual)]
        elif field.default is None and nothing(field, actual):
            value = None
        else:
            value = actual
        if value is not None:
            inputs[key] = value
    return inputs


def normal(kind: Type, value: Value) -> Value:
    """RunPod's value in our form: whole numbers as int, null members left out."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(kind, Object) and isinstance(value, dict):
        said = ((field, value.get(field.wire)) for field in kind.fields)
        return {field.wire: normal(field.type, member) for field, member in said if not _says_nothing(field, member)}
    if isinstance(kind, ListOf) and isinstance(value, list):
        return [normal(kind.item, item) for item in value]
    return value


def _says_nothing(field: Field, value: Value) -> bool:
    return value is None or (field.clear is not NOT_CLEARABLE and nothing(field, value))


def _mark_map(value: Value) -> Value:
    if not isinstance(value, dict):
        return value
    return {key: Secret(item) if looks_like_credential(key, item) else item for key, item in value.items()}
