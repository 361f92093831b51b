"""Failures of vLLM that the worker recognises, in vLLM's own words."""

import sys
import time
from dataclasses import dataclass

import pytest

from tests.vllm_worker.support import ROOT
from vllm_worker._engine import Engine
from vllm_worker._remedies import ROWS, find_remedy

SITE = next(iter((ROOT / ".local" / "envs" / "vllm" / "lib").glob("python*/site-packages")), None)
HUB, TORCH = "transformers/utils/hub.py", "torch/lib/libc10_cuda.so"
DRIVER = "(NVIDIA's driver)"
"""Texts that come from outside of the Python packages, and cannot be looked up there."""


@dataclass(frozen=True)
class Case:
    """What vLLM writes, where that text comes from (file, and a part of it), and what is made of it."""

    source: str
    anchor: str
    said: str
    cause: str
    remedy: str
    """A part of the advice: the variable, and the value where there is one."""


CASES = (
    Case(
        "vllm/v1/core/kv_cache_utils.py", "the estimated maximum model length is",
        "ValueError: To serve at least one request with the model's max seq len (131072), (16.0 GiB KV cache is "
        "needed, which is larger than the available KV cache memory (3.82 GiB). Based on the available "
        "memory, the estimated maximum model length is 31280. Try increasing `gpu_memory_utilization` (which also "
        "controls CPU memory on the CPU backend) or decreasing `max_model_len` when initializing the engine.",
        "kv_cache_too_small", "lower MAX_MODEL_LEN to 31280",
    ),
    Case(
        "vllm/v1/core/kv_cache_utils.py", "To serve at least one request with the model's max seq len",
        "ValueError: To serve at least one request with the model's max seq len (4096), (16.0 GiB KV cache is needed, "
        "which is larger than the available KV cache memory (0.01 GiB). Try increasing `gpu_memory_utilization`",
        "kv_cache_too_small", "lower MAX_MODEL_LEN, raise GPU_MEMORY_UTILIZATION",
    ),
    Case(
        "vllm/v1/core/kv_cache_utils.py", "No available memory for the cache blocks",
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when "
        "initializing the engine",
        "no_kv_cache", "raise GPU_MEMORY_UTILIZATION",
    ),
    Case(
        "vllm/v1/core/kv_cache_utils.py", "Cannot auto-fit max_model_len: not enough GPU memory",
        "ValueError: Cannot auto-fit max_model_len: not enough GPU memory available to serve even a single token.",
        "no_kv_cache", "raise GPU_MEMORY_UTILIZATION",
    ),
    Case(
        "vllm/v1/worker/utils.py", "is less than desired GPU memory utilization",
        "ValueError: Free memory on device cuda:0 (17.53/23.52 GiB) on startup is less than desired GPU memory "
        "utilization (0.92, 21.64 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
        "gpu_memory_taken", "lower GPU_MEMORY_UTILIZATION to 0.74",
    ),
    Case(
        "vllm/v1/worker/utils.py", "Free memory on device",
        "ValueError: Free memory on device cuda:0 (0.9/23.52 GiB) on startup is less than desired GPU memory "
        "utilization (0.92, 21.64 GiB).",
        "gpu_memory_taken", "another worker",
    ),
    Case(
        "vllm/v1/worker/gpu_model_runner.py", "CUDA out of memory occurred when warming up sampler with",
        "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests. Please try "
        "lowering `max_num_seqs` or `gpu_memory_utilization` when initializing the engine.",
        "warm_up_out_of_memory", "lower MAX_NUM_SEQS to 512",
    ),
    Case(
        "vllm/v1/worker/gpu_model_runner.py", "Failed to load model - not enough GPU memory",
        "Failed to load model - not enough GPU memory. Try lowering --gpu-memory-utilization (original error: CUDA out "
        "of memory. Tried to allocate 462.00 MiB.)\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate",
        "weights_too_large", "TENSOR_PARALLEL_SIZE",
    ),
    Case(
        TORCH, "CUDA out of memory",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23 GiB",
        "gpu_out_of_memory", "MAX_NUM_SEQS",
    ),
    Case(DRIVER, "", "RuntimeError: CUDA error: out of memory", "gpu_out_of_memory", "MAX_NUM_SEQS"),
    Case(
        "torch/lib/libc10.so", "DefaultCPUAllocator: can't allocate memory",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you "
        "tried to allocate 68719476736 bytes. Error code 12 (Cannot allocate memory)",
        "out_of_memory", "VLLM_CPU_KVCACHE_SPACE",
    ),
    Case(
        "vllm/config/parallel.py", "is larger than the number of",
        "  Value error, World size (4) is larger than the number of available GPUs (1) in this node. If this is "
        "intentional and you are using:\n- ray, set '--distributed-executor-backend ray'.",
        "too_few_gpus", "lower TENSOR_PARALLEL_SIZE (times PIPELINE_PARALLEL_SIZE) to 1",
    ),
    Case(
        "vllm/config/model.py", " must be divisible by tensor parallel size ",
        "  Value error, Total number of attention heads (9) must be divisible by tensor parallel size (2).",
        "heads_not_divisible", "one of 1, 3",
    ),
    Case(
        HUB, "You are trying to access a gated repo",
        "OSError: You are trying to access a gated repo.\nMake sure to have access to it at "
        "https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct.\n401 Client Error.",
        "gated_model", "set HF_TOKEN",
    ),
    Case(
        "huggingface_hub/utils/_http.py", "Cannot access gated repo for url",
        "huggingface_hub.errors.GatedRepoError: 403 Client Error.\n\nCannot access gated repo for url https://h/api/m.",
        "gated_model", "set HF_TOKEN",
    ),
    Case(
        HUB, "is not a local folder and is not a valid model identifier",
        "OSError: org/no-such is not a local folder and is not a valid model identifier listed on 'https://h/models'",
        "model_not_found", "check MODEL_NAME",
    ),
    Case(
        HUB, "is not a valid git identifier",
        "OSError: v9 is not a valid git identifier (branch name, tag name or commit id) that exists for this model",
        "revision_not_found", "check MODEL_REVISION",
    ),
    Case(
        HUB, "couldn't find them in the",
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the "
        "cached files.",
        "hub_unreachable", "bake the weights",
    ),
    Case(
        "vllm/model_executor/model_loader/default_loader.py", "Cannot find any model weights with",
        "RuntimeError: Cannot find any model weights with `/models/x`",
        "no_weights", "LOAD_FORMAT",
    ),
    Case(
        "vllm/transformers_utils/config.py", "Failed to load the model config. If the model ",
        "RuntimeError: Failed to load the model config. If the model is a custom model not yet available in the "
        "HuggingFace transformers library, consider setting `trust_remote_code=True` in LLM",
        "remote_code", "TRUST_REMOTE_CODE=true",
    ),
    Case(
        "vllm/model_executor/models/registry.py", "are not supported for now. ",
        "  Value error, Model architectures ['NewForCausalLM'] are not supported for now. Supported architectures: ...",
        "architecture_unknown", "newer vLLM",
    ),
    Case(
        "vllm/model_executor/models/registry.py", "and is not supported anymore. ",
        "ValueError: Model architecture OldForCausalLM was supported in vLLM until v0.10.2, and is not supported "
        "anymore. Please use an older version of vLLM",
        "architecture_removed", "vLLM v0.10.2",
    ),
    Case(
        "vllm/config/model.py", "than the derived max_model_len (",
        "  Value error, User-specified max_model_len (99999) is greater than the derived max_model_len "
        "(max_position_embeddings=8192 or model_max_length=None in model's config.json).",
        "context_too_long", "lower MAX_MODEL_LEN to 8192",
    ),
    Case(
        "vllm/transformers_utils/config.py", "Invalid repository ID or local directory specified",
        "ValueError: Invalid repository ID or local directory specified: 'org/x'.",
        "model_not_found", "check MODEL_NAME",
    ),
    Case(
        "vllm/config/model.py", "Quantization method specified in the model config ",
        "  Value error, Quantization method specified in the model config (awq) does not match the quantization method "
        "specified in the `quantization` argument (gptq).",
        "quantization_mismatch", "set QUANTIZATION to awq",
    ),
    Case(
        "vllm/config/vllm.py", "is not supported for the current GPU. Minimum ",
        "ValueError: The quantization method fp8 is not supported for the current GPU. Minimum capability: 89. "
        "Current capability: 80.",
        "quantization_unsupported", "compute capability 8.9 or above",
    ),
    Case(
        "vllm/config/model.py", "Unknown quantization method: ",
        "  Value error, Unknown quantization method: awqq. Must be one of ['awq', 'fp8'].",
        "quantization_unknown", "correct QUANTIZATION",
    ),
    Case(
        "vllm/platforms/interface.py", " quantization is currently not supported in ",
        "  Value error, fp8 quantization is currently not supported in cpu.",
        "quantization_unsupported", "another format",
    ),
    Case(
        "vllm/config/model.py", "set `--allow-deprecated-quantization`.",
        "ValueError: ('The quantization method %s is deprecated and will be removed in future versions of vLLM. To "
        "bypass, set `--allow-deprecated-quantization`.', 'tpu_int8')",
        "quantization_deprecated", "ALLOW_DEPRECATED_QUANTIZATION=true",
    ),
    Case(
        "vllm/config/vllm.py", " is not supported for quantization ",
        "ValueError: torch.bfloat16 is not supported for quantization method gptq. Supported dtypes: [torch.float16]",
        "dtype_unsupported", "set DTYPE to float16",
    ),
    Case(
        "vllm/platforms/cuda.py", "Bfloat16 is only supported on GPUs ",
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has "
        "compute capability 7.5. You can use float16 instead",
        "dtype_unsupported", "set DTYPE to half",
    ),
    Case(
        "vllm/config/model.py", "does not support float16. Reason: ",
        "  Value error, The model type 'gemma3' does not support float16. Reason: Numerical instability.",
        "dtype_unsupported", "set DTYPE to bfloat16",
    ),
    Case(
        TORCH, "The NVIDIA driver on your system is too old",
        "RuntimeError: The NVIDIA driver on your system is too old (found version 12040). Please update your",
        "driver_too_old", "minCudaVersion",
    ),
    Case(
        DRIVER, "",
        "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 804: forward compatibility was attempted on "
        "non supported HW",
        "driver_too_old", "minCudaVersion",
    ),
    Case(
        DRIVER, "", "RuntimeError: CUDA error: no kernel image is available for execution on the device",
        "gpu_unsupported", "another kind of GPU",
    ),
    Case(DRIVER, "", "RuntimeError: x. Error 802: system not yet initialized", "gpu_broken", "another worker"),
    Case(DRIVER, "", "CUDA error: uncorrectable ECC error encountered", "gpu_broken", "another worker"),
    Case(TORCH, "No CUDA GPUs are available", "RuntimeError: No CUDA GPUs are available", "no_gpu", "give the worker"),
    Case(
        "vllm/config/device.py", "Failed to infer device type",
        "RuntimeError: Failed to infer device type, please set the environment variable `VLLM_LOGGING_LEVEL=DEBUG`",
        "no_gpu", "CUDA_VISIBLE_DEVICES",
    ),
    Case(
        DRIVER, "", "Error while creating shared memory segment /dev/shm/nccl-Ab1 (size 9637888)",
        "shared_memory", "NCCL_SHM_DISABLE=1",
    ),
    Case(DRIVER, "", "OSError: [Errno 28] No space left on device: '/root/.cache/x'", "disk_full", "container disk"),
    Case(DRIVER, "", "OSError: [Errno 98] Address already in use", "port_taken", "leave VLLM_PORT out"),
    Case(
        "vllm/distributed/device_communicators/pynccl_wrapper.py", "NCCL error: ",
        "RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)",
        "nccl", "NCCL_P2P_DISABLE=1",
    ),
    Case(
        "vllm/v1/engine/utils.py", "Failed core proc(s): ",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): "
        "{'EngineCore_DP0': -9}",
        "killed", "more memory",
    ),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.said[:40])
def test_a_known_failure_gets_its_remedy(case: Case) -> None:
    """In the text as vLLM says it, between others: the cause, and one line with what to change."""
    found = find_remedy(f"Starting to load model x\n{case.said}\nRuntimeError: Engine core initialization failed.")
    assert found is not None
    assert found.cause == case.cause
    assert case.remedy in found.remedy
    assert "\n" not in str(found)
    assert "{" not in str(found)
    assert "()" not in str(found)


def test_every_row_has_a_case() -> None:
    """As many cases as rows at least, and nothing is recognised in a healthy start or in an unknown error."""
    assert len(CASES) >= ROWS
    for text in (
        "",
        "INFO Available KV cache memory: 3.82 GiB\nINFO Loading weights took 0.1 seconds",
        "ValueError: something new",
        "No available shared memory broadcast block found in 60 seconds. This typically happens when",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}",
    ):
        assert find_remedy(text) is None


@pytest.mark.skipif(SITE is None, reason="vLLM's environment is not installed")
@pytest.mark.parametrize("source", sorted({case.source for case in CASES} - {DRIVER}))
def test_the_texts_are_still_those_of_vllm(source: str) -> None:
    """Each text stands in the file that its case names."""
    assert SITE is not None
    text = (SITE / source).read_bytes()
    missing = [case.anchor for case in CASES if case.source == source and case.anchor.encode() not in text]
    assert not missing


def test_the_root_cause_is_told_and_not_what_it_led_to() -> None:
    """Between the log's prefixes, long before the end: what to change stands in the one line, with vLLM's own words."""
    lines = [
        f"(EngineCore pid=71) ERROR 11-21 09:41:45 [core.py:9] {CASES[0].said}",
        *(f"(EngineCore pid=71) ERROR 11-21 09:41:45 [core.py:9]   File core.py, line {n}" for n in range(450)),
        "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.",
    ]
    child = Engine([sys.executable, "-c", f"print({chr(10).join(lines)!r})"], {})
    deadline = time.monotonic() + 5
    while child.returncode is None and time.monotonic() < deadline:
        time.sleep(0.01)
    child.stop()
    failure = child.failure("vLLM ended")
    assert str(failure).startswith(
        "vLLM ended: one request of 131072 tokens needs 16.0 GiB of KV cache and 3.82 GiB are free; "
        "lower MAX_MODEL_LEN to 31280, or "
    )
    assert "(its last errors: " in str(failure)
    assert failure.facts["cause"] == "kv_cache_too_small"
