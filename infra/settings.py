"""The stack's configuration: every key, its meaning, and every mistake in one go.

The table of keys is the dataclass `Settings` itself: name, kind, default and documentation stand beside each field,
and docs/reference/stack-configuration.md is written from them (`python infra/settings.py`; a test compares). Nothing
here talks to an engine or a network, so a configuration can be checked anywhere.
"""

# `key()` makes a dataclass field; ruff takes it for a call whose result is shared.
# ruff: noqa: RUF009

import sys
from collections.abc import Collection, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from values import Fields, Flag, Integer, Kind, Number, Secret, Strings, Text, Texts, Unreadable, did_you_mean
from vllm_options import latest_version, options
from vllm_sizing import GpuSelection, SizingError, check_pools, gpu_types_to_pools, snapshot

DIGEST = r"sha256:[0-9a-f]{64}"
DEFAULT_LOCK = "weights.lock"

BAKE = Fields(
    {
        "to": Text(
            pattern=r"(oci:[^\s:@]+|[\w.-]+(:\d+)?(/[\w.-]+)+):[\w.-]+",
            example="ghcr.io/you/model:v1 or oci:.local/images/model:v1",
        ),
        "lock": Text(),
        "from": Text(),
        "base": Text(),
        "source": Text(choices=("auto", "hub", "hf-cache")),
        "include": Texts(),
        "exclude": Texts(),
        "maxLayerSize": Text(pattern=r"\d+(\.\d+)? ?[kKmMgGtT]?i?[bB]?", example="5GB or 4GiB"),
        "flows": Integer(1, 16),
        "attest": Flag(),
    },
    required=("to",),
)
SCALING = Fields(
    {
        "type": Text(choices=("QUEUE_DELAY", "REQUEST_COUNT")),
        "queueDelay": Number(above=0.499, high=86400),
        "requestCount": Integer(1),
    },
    required=("type",),
)


def _choices(option: str) -> tuple[str, ...]:
    """What the newest vLLM we know accepts for an option."""
    return tuple(str(choice) for choice in options(latest_version()).by_env[option].choices or ())


def key(kind: Kind, doc: str, default: Any = None, *, shown: str = "") -> Any:
    """One key of the stack. `shown` says in words what the default is where its value alone would not."""
    metadata = {"kind": kind, "doc": doc, "shown": shown}
    return field(default=default, metadata=metadata, repr=not isinstance(kind, Secret))


@dataclass(frozen=True)
class Settings:
    """A stack's configuration, read and found to hold together. Secrets do not show in `repr`."""

    name: str | None = key(Text(), "Display name of the endpoint on RunPod.", shown="`<project>-<stack>`")
    model: str | None = key(
        Text(pattern=r"[\w.-]+/[\w.-]+", example="HuggingFaceTB/SmolLM2-135M-Instruct"),
        "Model id on the Hugging Face Hub.",
    )
    revision: str | None = key(Text(), "Branch, tag or commit of the model.", shown="the default branch")
    served_model_name: str | None = key(Text(), "Name that requests call the model by.", shown="`model`")
    image: str | None = key(
        Text(pattern=r"\S+", example="host/repository:tag@sha256:..."),
        "Worker image: `oci:<dir>:<tag>`, or a registry reference. Excludes `bake`.",
    )
    bake: dict[str, Any] | None = key(
        BAKE,
        f"Worker image that `up` bakes: `to` is where, `lock` the lock file (`{DEFAULT_LOCK}` if left out), `from` a "
        "folder, a bucket (`s3://...`) or an image (`image:...`) with the weights (else the Hub's `model`), `base` the "
        "image it stands on (for a registry the one pinned in images/vllm-baked/pins.json; while that pin is empty, "
        "the digest comes from the lock file alone, and `vllm-runpod bake` makes the image). `source`, `include`, "
        "`exclude`, `maxLayerSize`, `flows` and `attest` are those of `vllm-runpod bake`, and of "
        "[BakedImage](../resources/baked_image.md). Excludes `image`.",
    )
    weights: str | None = key(
        Text(choices=("baked", "download")),
        "Whether the image holds the weights or the worker downloads `model` at every start.",
        shown="`baked` with `bake`, with `oci:`, or without `model`; else `download`",
    )
    require_digest: bool = key(Flag(), "Refuse an image that is not pinned by digest.", False)
    registry_username: str | None = key(Text(), "User name with which workers pull the image.")
    registry_password: str | None = key(Secret(), "Its password or token.")
    hf_token: str | None = key(Secret(), "Hugging Face token for gated models.")

    max_model_len: int | None = key(
        Integer(1), "Longest prompt and answer together, in tokens.", shown="the model's own"
    )
    max_num_seqs: int | None = key(Integer(1), "Requests that vLLM works on at once.", shown="vLLM's own")
    quantization: str | None = key(Text(), "How the weights are quantized.", shown="as the model says")
    dtype: str | None = key(
        Text(choices=_choices("DTYPE")), "Number format of weights and activations.", shown="`auto`"
    )
    gpu_memory_utilization: float | None = key(
        Number(above=0, high=1), "Share of the GPU's memory that vLLM takes.", shown="vLLM's own"
    )
    trust_remote_code: bool = key(Flag(), "Run code that the model's repository brings.", False)
    max_concurrency: int | None = key(Integer(1), "Requests a worker takes at once.", shown="`maxNumSeqs`, else 30")
    env: dict[str, str] = key(Strings(), "Further environment variables for the worker.", shown="none")

    gpu_types: tuple[str, ...] = key(
        Texts(), "GPU types by RunPod's ids; turned into pools and exclusions. Excludes `gpuPools`.", ()
    )
    gpu_pools: tuple[str, ...] = key(Texts(), "GPU pools by RunPod's ids. Excludes `gpuTypes`.", ())
    gpu_count: int = key(Integer(1, 64), "GPUs per worker.", 1)
    min_cuda_version: str | None = key(
        Text(pattern=r"\d+\.\d+", example='"13.0", in quotes'), "Lowest CUDA version a host may have.", shown="any"
    )
    allowed_cuda_versions: tuple[str, ...] = key(Texts(), "CUDA versions a host may have, matched exactly.", ())
    data_centers: tuple[str, ...] = key(Texts(), "Data centers in which workers may run.", (), shown="all")
    container_disk: int | None = key(
        Integer(1, 4096), "Size of a worker's own disk in GB.", shown="20 if baked, else 150"
    )

    min_workers: int = key(Integer(0, 1000), "Workers that are always on, and billed while idle.", 0)
    max_workers: int = key(Integer(0, 1000), "The most workers there may be.", 1)
    idle_timeout: int | None = key(
        Integer(1, 3600), "Seconds an idle worker stays. Not with scaling by `REQUEST_COUNT`.", shown="60"
    )
    scaling: dict[str, Any] | None = key(
        SCALING,
        "When workers are added: a request has waited `queueDelay` seconds, or one worker per `requestCount` requests.",
        shown="`QUEUE_DELAY` of 4 s",
    )
    execution_timeout: int = key(Integer(5, 604_800), "Seconds one request may take.", 600)
    init_timeout: int | None = key(
        Integer(1, 604_800), "Seconds a worker may take to start.", shown="RunPod's 420 if baked, else 1200"
    )
    flashboot: str = key(
        Text(choices=("OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT")), "RunPod's revival of stopped workers.", "OFF"
    )
    wait_for_ready: bool = key(Flag(), "Let `up` end only when a request has been answered.", True)

    volume_size: int | None = key(
        Integer(10, 4096), "Size in GB of a network volume, seen by workers at /runpod-volume.", shown="no volume"
    )
    volume_type: str | None = key(
        Text(choices=("STANDARD", "HIGH_PERFORMANCE")), "Its storage tier.", shown="the data center's primary one"
    )
    protect_volume: bool = key(Flag(), "Refuse to delete or replace the volume.", True)

    @property
    def baked(self) -> bool:
        """Whether the weights come with the image."""
        if self.weights is not None:
            return self.weights == "baked"
        return self.bake is not None or self.model is None or (self.image or "").startswith("oci:")

    @property
    def gpus(self) -> GpuSelection:
        """The pools, and the types in them that are not wanted. Raises SizingError for names nobody knows."""
        if self.gpu_types:
            return gpu_types_to_pools(self.gpu_types, snapshot())
        return GpuSelection(check_pools(self.gpu_pools, snapshot()))


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong, with the key it is about."""

    key: str
    reason: str


class InvalidSettings(Exception):
    """The configuration does not hold together; `mistakes` has everything that is wrong with it."""

    def __init__(self, mistakes: Collection[Mistake], namespace: str, stack: str) -> None:
        self.mistakes = tuple(mistakes)
        lines = [f"  {namespace}:{mistake.key} {mistake.reason}" for mistake in mistakes]
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        super().__init__(f"{count} in the configuration of stack {stack} (Pulumi.{stack}.yaml):\n" + "\n".join(lines))


def read_settings(
    config: Mapping[str, str], secret_keys: Collection[str], *, namespace: str = "vllm-runpod", stack: str = "dev"
) -> Settings:
    """Read a stack's whole configuration (`namespace:key` -> text). Raises InvalidSettings with every mistake.

    Keys of other namespaces are somebody else's and are left alone.
    """
    known = {camel(entry.name): entry for entry in fields(Settings)}
    mistakes: list[Mistake] = []
    given: dict[str, Any] = {}
    for full_name, text in config.items():
        space, _, name = full_name.partition(":")
        if space != namespace:
            continue
        if name not in known:
            near = did_you_mean(name, known)
            mistakes.append(Mistake(name, f"is not a key{near}; docs/reference/stack-configuration.md has them all"))
            continue
        kind: Kind = known[name].metadata["kind"]
        if isinstance(kind, Secret) and full_name not in secret_keys:
            command = f"pulumi config set --secret {name} --stack {stack}"
            mistakes.append(Mistake(name, f"stands in the stack file in clear; set it with `{command}`, and revoke it"))
            continue
        try:
            given[known[name].name] = kind.read(text)
        except Unreadable as error:
            reason = (
                "does not fit its kind; its value is secret and not shown" if full_name in secret_keys else str(error)
            )
            mistakes.append(Mistake(name, reason))
    if "env" in given:
        given["env"] = dict(given["env"])
    settings = Settings(**{"env": {}, **given})
    unreadable = {mistake.key for mistake in mistakes}
    mistakes += [
        mistake
        for mistake in contradictions(settings)
        if not unreadable & {mistake.key, _EITHER.get(mistake.key, mistake.key)}
    ]
    if mistakes:
        raise InvalidSettings(mistakes, namespace, stack)
    return settings


_EITHER = {"image": "bake", "gpuTypes": "gpuPools"}
"""Of two keys one is needed: where the other is there and cannot be read, this one is not missing."""


def contradictions(settings: Settings) -> list[Mistake]:
    """Keys that exclude or need each other."""
    return [*_image_contradictions(settings), *_placement_contradictions(settings), *_scaling_contradictions(settings)]


def _image_contradictions(settings: Settings) -> list[Mistake]:
    found = []
    if settings.image is not None and settings.bake is not None:
        found.append(Mistake("image", "excludes bake; keep one of them"))
    if settings.image is None and settings.bake is None:
        found.append(
            Mistake(
                "image", "is missing, and so is bake; name a worker image, or `bake: {to: ...}` for one of your own"
            )
        )
    if settings.bake is not None and settings.model is None:
        found.append(Mistake("model", "is missing; bake needs to know which one"))
    if settings.bake is not None and settings.weights == "download":
        found.append(Mistake("weights", "is download, but bake makes an image that holds them; leave it out"))
    if not settings.baked and settings.bake is None and settings.model is None:
        found.append(Mistake("model", "is missing; a worker that downloads needs to know which one"))
    if settings.revision is not None and settings.baked and settings.bake is None:
        found.append(Mistake("revision", "has no effect on an image that holds its weights already; leave it out"))
    if settings.require_digest and settings.image is not None and "@sha256:" not in settings.image:
        found.append(Mistake("image", "is not pinned by digest, which requireDigest asks for; append @sha256:..."))
    if (settings.registry_username is None) != (settings.registry_password is None):
        missing, there = ("registryUsername", "registryPassword")
        if settings.registry_password is None:
            missing, there = there, missing
        found.append(Mistake(missing, f"is missing, but {there} is set; a registry wants both"))
    return found


def _placement_contradictions(settings: Settings) -> list[Mistake]:
    found = []
    if settings.gpu_types and settings.gpu_pools:
        found.append(Mistake("gpuTypes", "excludes gpuPools; keep one of them"))
    if not settings.gpu_types and not settings.gpu_pools:
        found.append(Mistake("gpuTypes", "is missing, and so is gpuPools; name what the model may run on"))
    if bool(settings.gpu_types) != bool(settings.gpu_pools):
        try:
            _ = settings.gpus
        except SizingError as error:
            reason = " ".join(str(error).split())
            found.append(Mistake("gpuTypes" if settings.gpu_types else "gpuPools", f"has {reason}"))
    if settings.min_cuda_version and settings.allowed_cuda_versions:
        found.append(Mistake("minCudaVersion", "excludes allowedCudaVersions; keep one of them"))
    if settings.volume_size is not None and len(settings.data_centers) != 1:
        found.append(Mistake("dataCenters", "must name exactly one, the data center that the volume lives in"))
    if settings.volume_size is None and settings.volume_type is not None:
        found.append(Mistake("volumeType", "has no effect without volumeSize"))
    return found


def _scaling_contradictions(settings: Settings) -> list[Mistake]:
    found = []
    if settings.min_workers > settings.max_workers:
        reason = f"is {settings.min_workers}, above maxWorkers ({settings.max_workers}); lower it or raise that"
        found.append(Mistake("minWorkers", reason))
    scaling = settings.scaling or {"type": "QUEUE_DELAY"}
    by_count = scaling["type"] == "REQUEST_COUNT"
    if by_count and settings.idle_timeout is not None:
        found.append(Mistake("idleTimeout", "excludes scaling by REQUEST_COUNT: RunPod then decides it itself"))
    if by_count and "requestCount" not in scaling:
        found.append(Mistake("scaling", "lacks requestCount, which the type REQUEST_COUNT needs"))
    if ("queueDelay" if by_count else "requestCount") in scaling:
        other = "queueDelay" if by_count else "requestCount"
        found.append(Mistake("scaling", f"has {other}, which does not belong to the type {scaling['type']}"))
    return found


def camel(name: str) -> str:
    """The key's name in the stack file."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def documentation() -> str:
    """docs/reference/stack-configuration.md, from the fields above."""
    lines = [
        "# Stack configuration",
        "",
        "Keys of `Pulumi.<stack>.yaml` under `vllm-runpod:`. An unknown key, a value that does not fit and keys that",
        "contradict each other are refused before anything happens, all in one message.",
        "",
        "This page is written by `python infra/settings.py`; a test compares it.",
        "",
        "| key | value | default | meaning |",
        "|---|---|---|---|",
        *(_row(entry) for entry in fields(Settings)),
    ]
    return "\n".join(lines) + "\n"


def _row(entry: "Field[Any]") -> str:
    kind: Kind = entry.metadata["kind"]
    default = entry.metadata["shown"]
    if not default and entry.default not in (None, (), MISSING):
        default = f"`{str(entry.default).lower() if isinstance(entry.default, bool) else entry.default}`"
    return f"| `{camel(entry.name)}` | {kind.words} | {default or 'none'} | {entry.metadata['doc']} |"


if __name__ == "__main__":
    sys.stdout.write(documentation())
