"""From chosen files to planned layers: which files share a layer, and in which order layers stand.

Order: base, weights (biggest first, so that a host's few download slots stay full), small files, dependencies, code.
What changes most often stands last, so that a change of code never touches the layers before it; engines that
identify a layer by the chain below it re-extract only what follows the change.
"""

from collections.abc import Sequence
from pathlib import Path

from weight_bakery._errors import BadRequest, BakeryError
from weight_bakery._layer_rule import layer_size
from weight_bakery._layers import Layer, LayerFile, Role
from weight_bakery._selection import LARGE_FILE, Selection
from weight_bakery._source_folder import FolderSource
from weight_bakery._sources import FileSource, SourceFile

MAX_LAYERS = 120
"""Engines stop at 125 to 127 layers; the rest is left to whoever builds on the image."""
WEIGHT_LAYERS = 80
"""More weight files than this share layers. A fixed number, so that another base does not regroup the weights."""

CODE_ROOT = "opt/vllm-worker/code"
DEPS_ROOT = "opt/vllm-worker/deps"

# What installers leave behind that differs between two installations of the same packages.
_INSTALLER_TRACES = frozenset({"RECORD", "direct_url.json", "uv_cache.json", "REQUESTED", "INSTALLER"})


def model_layers(
    selection: Selection, source: FileSource, name: str, *, base_layers: int, extra: int, limit: int | None = None
) -> list[Layer]:
    """Plan the layers of the model: one per weight file while there is room, and one for all small files.

    Where files share layers and these would be larger than `limit`, fewer files share one, as far as there is room.
    """
    large = [file for file in selection.others if file.size >= LARGE_FILE]
    small = [file for file in selection.others if file.size < LARGE_FILE]
    weights = sorted([*selection.weights, *large], key=lambda file: file.path)
    most = MAX_LAYERS - base_layers - extra - bool(small)
    room = min(WEIGHT_LAYERS, most)
    if room < 1:
        raise BadRequest(
            f"the base image has {base_layers} layers, which leaves no room below {MAX_LAYERS}",
            "squash the base image first",
        )
    per_layer, fewest = -(-len(weights) // room), -(-len(weights) // most)
    layers = _grouped(weights, per_layer, source, name)
    while limit is not None and per_layer > fewest and any(layer.size > limit for layer in layers):
        per_layer -= 1
        layers = _grouped(weights, per_layer, source, name)
    layers.sort(key=lambda layer: (-layer.size, layer.files[0].path))
    if small:
        layers.append(_layer("files", small, source, f"models/{name}"))
    return layers


def _grouped(weights: Sequence[SourceFile], per_layer: int, source: FileSource, name: str) -> list[Layer]:
    groups = [weights[start : start + per_layer] for start in range(0, len(weights), per_layer)]
    return [_layer("weights", group, source, f"models/{name}") for group in groups]


def deps_layer(folder: Path) -> Layer:
    """Plan the dependency layer from a `pip install --target` folder, without what makes two installs differ."""
    source = FolderSource(folder, option="--worker-deps")
    files = [file for file in source.inventory().files if not _is_trace(file.path)]
    if not files:
        raise BadRequest(f"--worker-deps {str(folder)!r} holds no packages", "install the worker's packages there")
    return _layer("deps", files, source, DEPS_ROOT)


def code_layer(folders: Sequence[Path]) -> Layer:
    """Plan the code layer from package folders; each becomes a package of its own name."""
    files: list[LayerFile] = []
    for folder in folders:
        source = FolderSource(folder, option="--worker-code")
        name = folder.resolve().name
        if not (folder / "__init__.py").is_file():
            raise BadRequest(f"--worker-code {str(folder)!r} is not a Python package", "name a folder with __init__.py")
        if any(file.path.startswith(f"{CODE_ROOT}/{name}/") for file in files):
            raise BadRequest(f"--worker-code names two packages called {name!r}", "leave one of them out")
        kept = [file for file in source.inventory().files if not _is_bytecode(file.path)]
        files.extend(_layer("code", kept, source, f"{CODE_ROOT}/{name}").files)
    return Layer("code", tuple(sorted(files, key=lambda file: file.path)))


def _layer(role: Role, files: Sequence[SourceFile], source: FileSource, root: str) -> Layer:
    # Weights and their small files are data: 0644, whatever the disk says. Packages keep their execute bit.
    bits = role in ("deps", "code")
    layer = Layer(
        role,
        tuple(LayerFile(f"{root}/{file.path}", file.size, bits and file.executable, source, file) for file in files),
    )
    try:
        layer_size(layer.files)
    except BakeryError as error:
        raise BadRequest(error.message, error.remedy) from error
    return layer


def _is_trace(path: str) -> bool:
    parts = path.split("/")
    in_metadata = len(parts) == 2 and parts[0].endswith(".dist-info")
    return parts[0] == "bin" or _is_bytecode(path) or (in_metadata and parts[1] in _INSTALLER_TRACES)


def _is_bytecode(path: str) -> bool:
    return "__pycache__" in path.split("/") or path.endswith((".pyc", ".pyo", "~"))
