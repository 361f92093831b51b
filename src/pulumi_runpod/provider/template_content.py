"""A template's content becomes part of its endpoint.

RunPod copies a template once and keeps no link, so the provider merges the content itself and never sends a
template id. The endpoint's own fields win; `env` is merged name by name; the own `args` replace the whole command,
the own `entrypoint` or `cmd` only their half. CUDA versions are taken over by a GPU endpoint that names none.
The rules are those of RunPod's own one-time expansion (runpod-api.md §1.2, templateId).
"""

from collections.abc import Mapping
from typing import Any

from pulumi_runpod.provider.codec import CodecError
from pulumi_runpod.provider.command import KEYS, command_of
from pulumi_runpod.provider.values import UNKNOWN, Properties, Secret, Value, plain

CONTENT = ("image", "args", "entrypoint", "cmd", "disk", "env", "ports", "registry")


def unknown_content() -> Properties:
    """What stands in for a template that cannot be read now."""
    return {**dict.fromkeys(CONTENT, UNKNOWN), "allowedCudaVersions": UNKNOWN}


def unresolved(inputs: Mapping[str, Any]) -> bool:
    """Whether checked inputs name a template whose content could not be had.

    Check then leaves `template` in with nothing but the id: a preview shows the content as unknown, a real run asks
    again. Resolved inputs have no `template`.
    """
    return inputs.get("template") is not None


def content_of(value: Value) -> Properties:
    """The nested `template` input as the SDK builds it from a Template's outputs."""
    whole_secret = isinstance(value, Secret)
    content = value.value if isinstance(value, Secret) else value
    if content is UNKNOWN:
        return {"id": UNKNOWN, **unknown_content()}
    if not isinstance(content, dict):
        raise CodecError("template", "must be a Template resource; for an id use template_id")
    if whole_secret:
        return {key: Secret(item) for key, item in content.items()}
    return {**content, "env": _narrowed(content.get("env"), content.get("secretEnvKeys"))}


def merge(own: Properties, content: Mapping[str, Any]) -> Properties:
    """The endpoint's inputs with the template's content under them. Neither `template` nor its id is touched."""
    merged = dict(own)
    for key in ("image", "disk", "ports", "registry"):
        if merged.get(key) is None and not _nothing(content.get(key)):
            merged[key] = content[key]
    merged.update(_merged_command(own, content))
    env = _merged_env(own.get("env"), content.get("env"))
    if env is not None:
        merged["env"] = env
    gpu = own.get("gpu")
    bare_gpu = gpu.value if isinstance(gpu, Secret) else gpu
    versions = content.get("allowedCudaVersions")
    names_cuda = isinstance(bare_gpu, dict) and (bare_gpu.keys() & {"allowedCudaVersions", "minCudaVersion"})
    if isinstance(bare_gpu, dict) and not names_cuda and not _nothing(versions):
        # RunPod seeds the list only where no CUDA field is given: a set beside a floor would be refused.
        seeded = {**bare_gpu, "allowedCudaVersions": versions}
        merged["gpu"] = Secret(seeded) if isinstance(gpu, Secret) else seeded
    return merged


def _merged_command(own: Properties, content: Mapping[str, Any]) -> Properties:
    if own.get("args") is not None:
        return {}
    theirs = {key: content.get(key) for key in KEYS}
    if own.get("entrypoint") is None and own.get("cmd") is None:
        lists = {key: value for key, value in theirs.items() if key != "args" and not _nothing(value)}
        args = theirs["args"]
        # The lists are what `args` decodes to; a plain shell string is kept as it was written.
        if isinstance(plain(args), str) and plain(args) and not plain(args).strip().startswith("{"):
            return {"args": args}
        if lists:
            return lists
        return {} if _nothing(args) else {"args": args}
    command = command_of(theirs)
    merged: Properties = {}
    for index, key in enumerate(("entrypoint", "cmd")):
        if own.get(key) is not None:
            continue
        if command is None:
            merged[key] = UNKNOWN
        elif command[index]:
            secret = any(isinstance(value, Secret) for value in theirs.values())
            merged[key] = Secret(list(command[index])) if secret else list(command[index])
    return merged


def _merged_env(own: Value, theirs: Value) -> Value:
    if _nothing(theirs):
        return own
    if _nothing(own):
        return theirs
    own_map, their_map = _spread(own), _spread(theirs)
    if own_map is None or their_map is None:
        secret = isinstance(own, Secret) or isinstance(theirs, Secret)
        return Secret(UNKNOWN) if secret else UNKNOWN
    return {**their_map, **own_map}


def _spread(env: Value) -> Properties | None:
    """A map whose secret mark is on its values, or None where its names are unknown."""
    if isinstance(env, Secret):
        return {key: Secret(item) for key, item in env.value.items()} if isinstance(env.value, dict) else None
    return env if isinstance(env, dict) else None


def _narrowed(env: Value, secret_names: Value) -> Value:
    """The SDK makes a whole map secret when one value is; the template says which ones really are."""
    names = plain(secret_names)
    if not isinstance(env, Secret) or not isinstance(env.value, dict) or not isinstance(names, list):
        return env
    return {key: Secret(item) if key in names else item for key, item in env.value.items()}


def _nothing(value: Value) -> bool:
    if value is UNKNOWN:
        return False
    bare = plain(value)
    return bare is None or (isinstance(bare, (str, list, dict)) and not bare)
