"""Start-up caches for tests: small made-up trees, laid out as vLLM, Triton, FlashInfer and the driver lay out theirs.

No GPU wrote them: names and folders are the real ones, contents are a few bytes. The worker's own writer archives them.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.weight_bakery.support import CONFIG, payload
from vllm_worker._caches_archive import write_archive
from vllm_worker._caches_key import key_id

CONFIG_SHA256 = hashlib.sha256(json.dumps(CONFIG).encode()).hexdigest()

A100 = {"name": "NVIDIA A100-SXM4-80GB", "capability": "8.0", "memory_gib": 80}
H100 = {"name": "NVIDIA H100 80GB HBM3", "capability": "9.0", "memory_gib": 80}


def key_for(
    gpu: Mapping[str, Any] = A100, *, vllm: str = "0.33.0", model: str = "tiny", **flags: str
) -> dict[str, Any]:
    """A key as the worker makes it."""
    return {
        "gpu": dict(gpu),
        "software": {"vllm": vllm, "torch": "2.14.0", "triton": "3.8.0", "flashinfer": "0.7.2.post1",
                     "cuda": "12.9", "python": "3.12"},
        "model": {"path": f"/models/{model}", "config": f"sha256:{CONFIG_SHA256}"},
        "flags": sorted([[f"--{name.replace('_', '-')}", value] for name, value in flags.items()]),
        "environment": {},
    }  # fmt: skip


def tree_for(gpu: Mapping[str, Any], *, seed: int = 0) -> dict[str, bytes]:
    """The cache folder of a worker on this GPU after its first start."""
    architecture = str(gpu["capability"]).replace(".", "")
    aot = f"vllm/torch_compile_cache/torch_aot_compile/{payload(32, seed).hex()}"
    triton = "triton/MUGXKZZYGFD3IX4HXFMFQF3AOQUXM2ZVY2NL3Q6TKYJZDX6QKWNA"
    target = {"target": {"backend": "cuda", "arch": int(architecture), "warp_size": 32}, "name": "kernel"}
    return {
        f"{aot}/rank_0_0/model": payload(9000, seed + 1),
        f"{aot}/inductor_cache/fxgraph/ab/fabc/entry": payload(700, seed + 2),
        "vllm/torch_compile_cache/5d41402abc/rank_0_0/backbone/cache_key_factors.json": b'{"hf_overrides": {}}',
        "vllm/modelinfos/vllm-model_executor-models-llama-LlamaForCausalLM.json": b"{}",
        "vllm/startup_plan/startup_plan_0123456789abcdef.json": b'{"schema": 1, "kv_cache_memory_bytes": 1}',
        "vllm/flashinfer_autotune_cache/0.7.2/80/0ab1/autotune_configs.json": b"{}",
        "vllm/deep_gemm/cache/kernel.gemm.0ab1/kernel.cubin": payload(300, seed + 3),
        f"{triton}/_fwd_kernel.cubin": payload(2000, seed + 4),
        f"{triton}/_fwd_kernel.json": json.dumps(target).encode(),
        f"{triton}/__grp__triton_red_fused_{'add_mean_mul_pow_rsqrt_' * 7}0.json": b"{}",
        f"flashinfer/.cache/flashinfer/0.7.2/{architecture}/cached_ops/batch_decode/batch_decode.so": payload(
            1500, seed
        ),
        f"flashinfer/.cache/flashinfer/0.7.2/{architecture}/cached_ops/batch_decode/.ninja_log": b"# ninja log v6\n",
        "nv/570.86.15/9/7/0a1b2c3d": payload(400, seed + 5),
    }


def write_tree(root: Path, files: Mapping[str, bytes]) -> Path:
    """Put a tree into a folder."""
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def archive_for(
    folder: Path, key: Mapping[str, Any], *, seed: int = 0, extra: Mapping[str, bytes] | None = None
) -> Path:
    """The archive that a worker with this key leaves in a folder."""
    tree = write_tree(folder / f".tree-{key_id(key)}-{seed}", {**tree_for(key["gpu"], seed=seed), **(extra or {})})
    target = folder / f"{key_id(key)}.tar"
    target.unlink(missing_ok=True)
    write_archive(tree, target, key, {"driver": "570.86.15"})
    return target
