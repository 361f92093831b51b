"""Which of a model's files go into the image, and why each other one does not.

Safetensors, and weights in other formats only by name: pickles can run code, and of a dozen GGUF files one is meant.
Configuration, tokenizer, chat template, processor and licence files stay. A file this module has never heard of stays
too: a missing tokenizer file breaks a model, a spare text file does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from weight_bakery._errors import BadRequest, LayerRuleError, MissingShard, NoConfig, NoWeights, UnsafePath
from weight_bakery._layer_rule import check_path
from weight_bakery._sources import Inventory, SourceFile

LARGE_FILE = 64 * 1024 * 1024
"""From this size on a file has a layer of its own, whatever it is."""

_EXCLUDED = "excluded"
_NARROW = "narrow or drop the glob"
_FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("safetensors", (".safetensors",)),
    ("pytorch", (".bin", ".pt", ".pth")),
    ("gguf", (".gguf",)),
)
_OTHER_WEIGHTS = (
    ".onnx", ".onnx_data", ".h5", ".msgpack", ".ot", ".tflite", ".mlmodel", ".mlpackage", ".ckpt", ".npz", ".pdparams",
    ".nemo", ".engine", ".safetensors.incomplete", ".gguf.incomplete", ".xml.bin",
)  # fmt: skip
_NOT_NEEDED = (
    ".md", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".pdf", ".ipynb", ".mp3", ".mp4", ".wav", ".flac",
    ".html", ".zip", ".tar", ".gz", ".log", ".csv", ".parquet", ".lock",
)  # fmt: skip
_TRAINING = ("optimizer.", "scheduler.", "training_args.", "rng_state", "trainer_state.", "events.out.tfevents")
_LEGAL = ("licen", "notice", "use_policy", "copying")


@dataclass(frozen=True)
class LeftOut:
    """A file that stays behind, with the reason."""

    file: SourceFile
    reason: str


@dataclass(frozen=True)
class Selection:
    """What goes in (weights and the rest, each sorted by path) and what does not."""

    weights: tuple[SourceFile, ...]
    others: tuple[SourceFile, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """Everything that goes in, sorted by path."""
        return tuple(sorted((*self.weights, *self.others), key=lambda file: file.path))


def select(inventory: Inventory, *, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Selection:
    """Choose files.

    `include` globs take a file in whatever the rules say; when they match weight files, those are the only weights
    (so `--include '*Q4_K_M.gguf'` picks one of many). `exclude` globs win over everything. Globs are matched against
    the whole path and against its last part.
    """
    for option, globs in (("--include", include), ("--exclude", exclude)):
        for glob in globs:
            if not any(_matches(file.path, [glob]) for file in inventory.files):
                raise BadRequest(f"{option} {glob!r} matches no file of {inventory.model}", "correct or drop the glob")
    left: list[LeftOut] = []
    candidates = []
    for file in inventory.files:
        try:
            check_path(file.path)
        except LayerRuleError as error:
            raise UnsafePath(error.message, error.remedy) from error
        if _matches(file.path, exclude):
            left.append(LeftOut(file, _EXCLUDED))
        else:
            candidates.append(file)
    weights = _choose_weights([file for file in candidates if _is_weight(file)], include, left)
    others = _choose_others([file for file in candidates if not _is_weight(file)], weights, include, left)
    excluded = [item.file for item in left if item.reason == _EXCLUDED]
    if not any(file.path == "config.json" for file in others):
        if any(file.path == "config.json" for file in excluded):
            raise NoConfig("config.json is left out by --exclude, and nothing loads without it", _NARROW)
        raise NoConfig(
            f"{inventory.model} has no config.json",
            "give the folder of a whole model in the Hugging Face layout"
            if inventory.kind == "folder"
            else "choose a repository that holds a whole model in the Hugging Face layout",
        )
    if not weights:
        if dropped := [file for file in excluded if _is_weight(file)]:
            raise NoWeights(f"--exclude leaves out {dropped[0].path}, and no other weights are taken", _NARROW)
        raise _no_weights(inventory.model, candidates)
    return Selection(tuple(weights), tuple(others), tuple(sorted(left, key=lambda item: item.file.path)))


def check_shards(index_path: str, shards: set[str], selection: Selection) -> None:
    """Refuse an index that names a shard which is not among the chosen files."""
    folder = PurePosixPath(index_path).parent
    present = {file.path for file in selection.files}
    missing = sorted(shard for shard in shards if (folder / shard).as_posix() not in present)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        reasons = {item.file.path: item.reason for item in selection.left_out}
        if reason := reasons.get((folder / missing[0]).as_posix()):
            raise MissingShard(
                f"{index_path} names {missing[0]!r}{more}, which is left out ({reason})",
                "take it too, with --include and --exclude, or leave the index out as well",
            )
        raise MissingShard(f"{index_path} names {missing[0]!r}{more}, which is not there", "download the missing files")


def _choose_weights(candidates: list[SourceFile], include: Sequence[str], left: list[LeftOut]) -> list[SourceFile]:
    named = [file for file in candidates if _matches(file.path, include)]
    if named:
        left.extend(LeftOut(file, "not named by --include") for file in candidates if file not in named)
        return named
    usable = [file for file in candidates if not _is_training(file.path)]
    left.extend(LeftOut(file, "training state") for file in candidates if _is_training(file.path))
    chosen = _without_consolidated([file for file in usable if _family(file) == "safetensors"], left)
    reason = "the weights are taken as safetensors" if chosen else "not named by --include"
    for file in usable:
        if file not in chosen and not any(item.file is file for item in left):
            left.append(LeftOut(file, reason if _family(file) else "not a format vLLM loads"))
    return chosen


def _family(file: SourceFile) -> str | None:
    return next((family for family, suffixes in _FAMILIES if file.path.lower().endswith(suffixes)), None)


def _no_weights(model: str, candidates: Sequence[SourceFile]) -> NoWeights:
    loadable = [file for file in candidates if _family(file) and _is_weight(file) and not _is_training(file.path)]
    if not loadable:
        return NoWeights(
            f"{model} has no weight files that vLLM loads (safetensors, bin, pt, gguf)",
            "choose another model or revision",
        )
    first = loadable[0].path
    more = f" and {len(loadable) - 1} more" if len(loadable) > 1 else ""
    return NoWeights(
        f"{model} has no safetensors, only {first}{more}",
        f"choose a repository or revision with safetensors, or name what to take: "
        f"--include '*{PurePosixPath(first).suffix}' for example",
    )


def _without_consolidated(files: list[SourceFile], left: list[LeftOut]) -> list[SourceFile]:
    """Mistral's repositories hold every tensor twice: `consolidated*` beside the Hugging Face shards."""
    doubled = [file for file in files if PurePosixPath(file.path).name.startswith("consolidated")]
    if not doubled or len(doubled) == len(files):
        return files
    left.extend(LeftOut(file, "the same tensors are in the Hugging Face shards") for file in doubled)
    return [file for file in files if file not in doubled]


def _choose_others(
    candidates: list[SourceFile], weights: list[SourceFile], include: Sequence[str], left: list[LeftOut]
) -> list[SourceFile]:
    kept = []
    for file in candidates:
        reason = None if _matches(file.path, include) else _reason_against(file.path, weights)
        if reason is None:
            kept.append(file)
        else:
            left.append(LeftOut(file, reason))
    return kept


def _reason_against(path: str, weights: list[SourceFile]) -> str | None:
    name = PurePosixPath(path).name.lower()
    if any(part.startswith(".") for part in path.split("/")):
        return "hidden"
    if name.startswith(_LEGAL):
        return None
    if _is_training(path):
        return "training state"
    if name.endswith(_NOT_NEEDED):
        return "not needed to serve"
    if name.endswith(".index.json"):
        family = name.removesuffix(".index.json").rpartition(".")[2]
        here = [PurePosixPath(file.path).name.lower() for file in weights]
        doubled = name.startswith("consolidated") and not any(other.startswith("consolidated") for other in here)
        if doubled or not any(other.endswith(f".{family}") for other in here):
            return "index of weights that are left out"
    return None


def _is_weight(file: SourceFile) -> bool:
    suffixes = tuple(suffix for _, family in _FAMILIES for suffix in family) + _OTHER_WEIGHTS
    return file.path.lower().endswith(suffixes) and not any(part.startswith(".") for part in file.path.split("/"))


def _is_training(path: str) -> bool:
    return PurePosixPath(path).name.lower().startswith(_TRAINING)


def _matches(path: str, globs: Sequence[str]) -> bool:
    name = PurePosixPath(path).name
    return any(fnmatchcase(path, glob) or fnmatchcase(name, glob) for glob in globs)
