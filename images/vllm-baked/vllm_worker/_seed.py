"""What vLLM would find out about a model's class, put into its cache before it looks.

With an empty cache vLLM starts one more Python, which imports all of vLLM, only to look at a class: 8 s on an idle
machine with two cores. Each entry carries vLLM's own hash of the model's source, and vLLM ignores what does not match.
"""

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any


def cache_root(environment: Mapping[str, str]) -> Path:
    """Where a vLLM with this environment keeps its caches."""
    if root := environment.get("VLLM_CACHE_ROOT"):
        return Path(root.replace("~", environment["HOME"], 1) if root.startswith("~") else root)
    base = environment.get("XDG_CACHE_HOME") or f"{environment['HOME']}/.cache"
    return Path(base) / "vllm"


def seed_model_infos(version: str, model: str, root: Path) -> int:
    """Write the cache files for a model folder's architectures, or all of them where those are not known yet.

    Returns how many were written; files that are there stay as they are. Raises OSError where the cache cannot be
    written.
    """
    data = resources.files("vllm_worker").joinpath("data", f"modelinfos-{version}.json")
    if not data.is_file():
        return 0
    document: dict[str, Any] = json.loads(data.read_text(encoding="utf-8"))
    wanted = _architectures(Path(model))
    folder = root / "modelinfos"
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for name, entry in document["files"].items():
        path = folder / name
        if path.exists() or (wanted is not None and entry["architecture"] not in wanted):
            continue
        info = {**document["usual"], **{key: value for key, value in entry.items() if key != "hash"}}
        path.write_text(json.dumps({"hash": entry["hash"], "modelinfo": info}), encoding="utf-8")
        written += 1
    return written


def _architectures(folder: Path) -> frozenset[str] | None:
    try:
        names = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"]
        return frozenset(names)
    except (OSError, ValueError, KeyError, TypeError):
        return None
