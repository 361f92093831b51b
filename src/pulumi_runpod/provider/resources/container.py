"""What a template and an endpoint share: a container whose command has several equal spellings."""

from typing import Any

from pulumi_runpod.provider.checking import Failure
from pulumi_runpod.provider.command import (
    KEYS,
    command_body,
    command_inputs,
    command_of,
    decode_args,
    same_command,
)
from pulumi_runpod.provider.creating import holds_secret
from pulumi_runpod.provider.diffing import Changes
from pulumi_runpod.provider.resources.base import Call, Controller, Json
from pulumi_runpod.provider.resources.cloud_rules import CloudRules
from pulumi_runpod.provider.resources.container_rules import check_container
from pulumi_runpod.provider.values import UNKNOWN, Properties, Secret, has_unknown, plain


class ContainerController(Controller):
    """A resource with `args`, `entrypoint` and `cmd`."""

    async def rules(self, call: Call, inputs: Properties, failures: list[Failure]) -> Properties:
        del call
        check_container(inputs, failures)
        args = plain(inputs.get("args"))
        lists_given = {key: plain(inputs[key]) for key in ("entrypoint", "cmd") if key in inputs}
        given_lists = [key for key, words in lists_given.items() if isinstance(words, list) and words]
        unknown = any(words is UNKNOWN for words in lists_given.values())
        # What is wrong by itself says no command to compare.
        if isinstance(args, str) and args and given_lists and not any(failure.path == "args" for failure in failures):
            lists = None if unknown else command_of({key: inputs[key] for key in given_lists})
            if lists is not None and lists != decode_args(args):
                where = " and ".join(given_lists)
                failures.append(Failure("args", f"says another command than {where}; give either args or the lists"))
        return inputs

    async def cloud_rules(self, rules: CloudRules) -> None:
        await rules.registry()

    def normalise(
        self, olds: Properties, old_inputs: Properties, news: Properties
    ) -> tuple[Properties, Properties, Properties]:
        if same_command(olds, news):
            drop: tuple[str, ...] = KEYS
        elif news.get("entrypoint") is not None or news.get("cmd") is not None:
            drop = ("args",)
        elif news.get("args") is not None:
            drop = ("entrypoint", "cmd")
        else:
            # The command goes; show it under the name that the program had for it.
            drop = ("args",) if plain(old_inputs.get("entrypoint") or old_inputs.get("cmd")) else ("entrypoint", "cmd")
        return _without(olds, drop), _without(old_inputs, drop), _without(news, drop)

    def outputs(self, answer: Json, *patterns: Properties) -> Properties:
        outputs = super().outputs(answer, *patterns)
        if any(holds_secret(pattern.get(key)) for pattern in patterns for key in KEYS):
            outputs = {**outputs, **_all_secret(outputs)}
        return outputs

    def planned_computed(self, outputs: Properties, olds: Properties | None) -> Properties:
        """RunPod answers with all three spellings; say those that are known."""
        if olds is not None and same_command(olds, outputs):
            return {**outputs, **{key: olds[key] for key in KEYS if key in olds}}
        args, lists = outputs.get("args"), {key: outputs.get(key) for key in ("entrypoint", "cmd")}
        if has_unknown(args) or has_unknown(lists):
            return {**outputs, **dict.fromkeys(KEYS, UNKNOWN)}
        secret = any(holds_secret(outputs.get(key)) for key in KEYS)
        if any(plain(value) for value in lists.values()):
            spelled: Properties = {"args": UNKNOWN}
        else:
            text = plain(args)
            entrypoint, cmd = decode_args(text if isinstance(text, str) else "")
            spelled = {"entrypoint": list(entrypoint), "cmd": list(cmd)}
        return {**outputs, **{key: Secret(value) if secret else value for key, value in spelled.items()}}

    def read_inputs(self, outputs: Properties, old_inputs: Properties) -> Properties:
        inputs = super().read_inputs(outputs, old_inputs)
        return {**_without(inputs, KEYS), **command_inputs(outputs, old_inputs)}

    def create_body(self, inputs: Properties) -> Json:
        body = super().create_body(inputs)
        return {**_without(body, KEYS), **command_body(inputs, clear=False)}

    def update_body(self, changes: Changes, news: Properties) -> Json:
        body = super().update_body(changes, news)
        if any(key in body for key in KEYS):
            body = {**_without(body, KEYS), **command_body(news, clear=True)}
        return body

    def hidden(self, inputs: Properties) -> frozenset[str]:
        hidden = super().hidden(inputs)
        # The three spellings say the same, so one that is secret makes all of them so.
        return hidden | frozenset(KEYS) if hidden & frozenset(KEYS) else hidden

    def made_by(self, item: Json, body: Json) -> bool:
        return same_command(_filled(item), body) and super().made_by(item, _without(body, KEYS))


def _all_secret(properties: Properties) -> Properties:
    """The spellings of the command, all secret: each says what the others say."""
    given = {key: properties[key] for key in KEYS if key in properties}
    return {key: value if holds_secret(value) else Secret(plain(value)) for key, value in given.items()}


def secret_env_keys(env: Any) -> list[str]:
    """Names in an `env` whose values are secret."""
    if isinstance(env, Secret):
        inner = env.value
        return sorted(inner) if isinstance(inner, dict) else []
    if not isinstance(env, dict):
        return []
    return sorted(key for key, value in env.items() if isinstance(value, Secret))


def _without(properties: Properties, keys: tuple[str, ...]) -> Properties:
    return {key: value for key, value in properties.items() if key not in keys}


def _filled(item: Json) -> Json:
    """A listed item; an API without the two lists gives only `args`."""
    return {key: item.get(key) for key in KEYS}
