"""What vLLM's last words mean, and what to change: one line, with the variable and the value where they are known.

The texts are those of the vLLM and torch that this image runs; tests/vllm_worker/test_remedies.py names the file that
each comes from, and looks there whether it still does. What no row knows is reported as vLLM said it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

Match = re.Match[str]


@dataclass(frozen=True)
class Remedy:
    """One recognised failure."""

    cause: str
    """A short name that does not change, for programs."""
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


@dataclass(frozen=True)
class _Row:
    cause: str
    pattern: re.Pattern[str]
    what: str
    """May name groups of the pattern, as the remedy may: {1}."""
    remedy: str | Callable[[Match], str]

    def read(self, text: str) -> Remedy | None:
        match = self.pattern.search(text)
        if match is None:
            return None
        groups = ("", *(group or "" for group in match.groups()))
        remedy = self.remedy.format(*groups) if isinstance(self.remedy, str) else self.remedy(match)
        return Remedy(self.cause, " ".join(self.what.format(*groups).split()), " ".join(remedy.split()))


def find_remedy(text: str) -> Remedy | None:
    """Recognise the failure in vLLM's log, given without the log's own prefixes; None for an unknown one."""
    for row in _ROWS:
        if (found := row.read(text)) is not None:
            return found
    return None


def _row(cause: str, pattern: str, what: str, remedy: str | Callable[[Match], str]) -> _Row:
    return _Row(cause, re.compile(pattern), what, remedy)


# Values that can be worked out


def _memory_share(match: Match) -> str:
    free, total = float(match[1]), float(match[2])
    share = int(free / total * 100 if total else 0) / 100
    if share < 0.1:
        return "something else fills this GPU: end it, or let another worker take its place"
    return f"lower GPU_MEMORY_UTILIZATION to {share:.2f}, or end what else uses this GPU"


def _fewer_sequences(match: Match) -> str:
    fewer = max(1, int(match[2]) // 2)
    return f"lower MAX_NUM_SEQS to {fewer}, or GPU_MEMORY_UTILIZATION by 0.05"


def _fewer_gpus(match: Match) -> str:
    wanted, there = int(match[1]), int(match[2])
    return f"lower TENSOR_PARALLEL_SIZE (times PIPELINE_PARALLEL_SIZE) to {there}, or give each worker {wanted} GPUs"


def _dividing_heads(match: Match) -> str:
    heads, asked = int(match[1]), int(match[2])
    fitting = [str(size) for size in range(1, min(heads, max(asked, 8)) + 1) if heads % size == 0]
    return f"set TENSOR_PARALLEL_SIZE to one of {', '.join(fitting)}"


def _other_quantization(match: Match) -> str:
    if match[1] == "None":
        return "leave QUANTIZATION out: the weights name no method"
    return f"set QUANTIZATION to {match[1]}, or leave it out: vLLM reads the method from the model"


def _first_dtype(match: Match) -> str:
    found = re.findall(r"torch\.(\w+)", match[3])
    return f"set DTYPE to {found[0]}" if found else "set another DTYPE"


def _capability(match: Match) -> str:
    return f"take a GPU of compute capability {int(match[2]) / 10:.1f} or above, or a model in another format"


_SMALLER = "take a GPU with more memory, more of them (TENSOR_PARALLEL_SIZE), or a quantized model"
_OTHER_DRIVER = (
    "allow only machines with a newer CUDA (minCudaVersion or allowedCudaVersions of the endpoint), or use an image of "
    "vLLM for an older one"
)
_OTHER_MACHINE = "the machine is at fault, not the configuration: let another worker take its place"

# The first row that fits counts: what says more stands before what says less, and what a failure leads to stands last.
_ROWS: tuple[_Row, ...] = (
    # Memory
    _row(
        "kv_cache_too_small",
        r"model's max seq len \((\d+)\), \(([\d.]+) GiB KV cache is needed, which is larger than the available KV "
        r"cache memory \((-?[\d.]+) GiB\)\. Based on the available memory, the estimated maximum model length is (\d+)",
        "one request of {1} tokens needs {2} GiB of KV cache and {3} GiB are free",
        "lower MAX_MODEL_LEN to {4}, or " + _SMALLER,
    ),
    _row(
        "kv_cache_too_small",
        r"model's max seq len \((\d+)\), \(([\d.]+) GiB KV cache is needed, which is larger than the available KV "
        r"cache memory \((-?[\d.]+) GiB\)",
        "one request of {1} tokens needs {2} GiB of KV cache and {3} GiB are free",
        "lower MAX_MODEL_LEN, raise GPU_MEMORY_UTILIZATION, or " + _SMALLER,
    ),
    _row(
        "no_kv_cache",
        r"No available memory for the cache blocks|Cannot auto-fit max_model_len: not enough GPU memory",
        "the weights leave no memory for the KV cache",
        "raise GPU_MEMORY_UTILIZATION (vLLM's default is 0.92), or " + _SMALLER,
    ),
    _row(
        "gpu_memory_taken",
        r"Free memory on device \S+ \(([\d.]+)/([\d.]+) GiB\) on startup is less than desired GPU memory utilization",
        "only {1} of the GPU's {2} GiB are free",
        _memory_share,
    ),
    _row(
        "warm_up_out_of_memory",
        r"CUDA out of memory occurred when warming up (sampler|pooler) with (\d+) dummy requests",
        "the GPU ran out of memory in warming up the {1} with {2} requests",
        _fewer_sequences,
    ),
    _row(
        "weights_too_large",
        r"Failed to load model - not enough GPU memory",
        "the weights do not fit into the GPU's memory",
        _SMALLER,
    ),
    _row(
        "gpu_out_of_memory",
        r"CUDA out of memory\. Tried to allocate ([\d.]+ \w+)",
        "the GPU ran out of memory ({1} more were asked for)",
        "lower GPU_MEMORY_UTILIZATION (what vLLM reserves beforehand), MAX_NUM_SEQS or MAX_NUM_BATCHED_TOKENS, or "
        + _SMALLER,
    ),
    _row(
        "gpu_out_of_memory",
        r"torch\.(?:cuda\.)?OutOfMemoryError|CUDA error: out of memory|CUDA out of memory",
        "the GPU ran out of memory",
        "lower GPU_MEMORY_UTILIZATION (what vLLM reserves beforehand), MAX_NUM_SEQS or MAX_NUM_BATCHED_TOKENS, or "
        + _SMALLER,
    ),
    _row(
        "out_of_memory",
        r"DefaultCPUAllocator: can't allocate memory: you tried to allocate (\d+) bytes",
        "the machine's own memory is full ({1} bytes more were asked for)",
        "give the worker more memory, lower VLLM_CPU_KVCACHE_SPACE or CPU_OFFLOAD_GB, or take a smaller model",
    ),
    # Parallelism
    _row(
        "too_few_gpus",
        r"World size \((\d+)\) is larger than the number of available GPUs \((\d+)\)",
        "{1} GPUs are asked for and this worker has {2}",
        _fewer_gpus,
    ),
    _row(
        "heads_not_divisible",
        r"Total number of attention heads \((\d+)\) must be divisible by tensor parallel size \((\d+)\)",
        "the model's {1} attention heads cannot be shared among {2} GPUs",
        _dividing_heads,
    ),
    # The model
    _row(
        "gated_model",
        r"trying to access a gated repo\.\s+Make sure to have access to it at https?://[^/\s]+/([\w.-]+/[\w.-]*\w)",
        "the model {1} is gated",
        "accept its terms on its page, and set HF_TOKEN to a token of that account",
    ),
    _row(
        "gated_model",
        r"Cannot access gated repo for url|is a gated repository|trying to access a gated repo",
        "the model is gated",
        "accept its terms on its page, and set HF_TOKEN to a token of that account",
    ),
    _row(
        "model_not_found",
        r"(\S+) is not a local folder and is not a valid model identifier",
        "there is no model {1} on the Hub, or it is private",
        "check MODEL_NAME, and set HF_TOKEN if it is private",
    ),
    _row(
        "revision_not_found",
        r"(\S+) is not a valid git identifier",
        "the model has no revision {1}",
        "check MODEL_REVISION (and TOKENIZER_REVISION)",
    ),
    _row(
        "hub_unreachable",
        r"We couldn't connect to '([^']+)' to load the files, and couldn't find them in the\s*cached files",
        "{1} cannot be reached, and the model is not in the image's cache",
        "bake the weights into the image, or mount the volume that holds them",
    ),
    _row(
        "no_weights",
        r"Cannot find any model weights with `([^`]+)`",
        "{1} holds no weights that vLLM can load",
        "bake its safetensors files, or name their form with LOAD_FORMAT",
    ),
    _row(
        "remote_code",
        r"Failed to load the model config\. If the model is a custom model",
        "the model brings its own code",
        "read that code, then set TRUST_REMOTE_CODE=true",
    ),
    _row(
        "architecture_unknown",
        r"Model architectures \[([^\]]*)\] are not supported for now",
        "this vLLM does not know the architecture {1}",
        "use an image with a newer vLLM, or another model",
    ),
    _row(
        "architecture_removed",
        r"Model architecture (\S+) was supported in vLLM until (\S+), and is not supported anymore",
        "this vLLM no longer knows the architecture {1}",
        "use an image with vLLM {2}, or another model",
    ),
    _row(
        "context_too_long",
        r"User-specified max_model_len \((\d+)\) is greater than the derived max_model_len \(\w+=(\d+)(?:\.0)? or",
        "MAX_MODEL_LEN={1} is more than the model was made for",
        "lower MAX_MODEL_LEN to {2}, or leave it out",
    ),
    _row(
        "model_not_found",
        r"Invalid repository ID or local directory specified: '([^']*)'",
        "{1} is neither a model on the Hub nor a folder with a config.json",
        "check MODEL_NAME, and set HF_TOKEN if it is private",
    ),
    # Formats
    _row(
        "quantization_mismatch",
        r"specified in the model config \((\S+)\) does not match the quantization method specified in the "
        r"`quantization` argument \((\S+)\)",
        "QUANTIZATION={2} is not how the weights are quantized",
        _other_quantization,
    ),
    _row(
        "quantization_unsupported",
        r"The quantization method (\S+) is not supported for the current GPU\. Minimum capability: (\d+)",
        "this GPU is too old for the quantization {1}",
        _capability,
    ),
    _row(
        "quantization_unknown",
        r"Unknown quantization method: (\S+)\. Must",
        "this vLLM does not know the quantization {1}",
        "correct QUANTIZATION, or leave it out: vLLM reads the method from the model",
    ),
    _row(
        "quantization_unsupported",
        r"(\S+) quantization is currently not supported in (\S+)\.",
        "the quantization {1} does not run on {2}",
        "take a model in another format, or another kind of GPU",
    ),
    _row(
        "quantization_deprecated",
        r"The quantization method .* is deprecated and will be removed in future versions of vLLM\. To bypass",
        "the model's quantization is deprecated in this vLLM",
        "set ALLOW_DEPRECATED_QUANTIZATION=true, or take a model in another format",
    ),
    _row(
        "dtype_unsupported",
        r"torch\.(\w+) is not supported for quantization method (\S+)\. Supported dtypes: (\[[^\]]*\])",
        "the quantization {2} cannot calculate in {1}",
        _first_dtype,
    ),
    _row(
        "dtype_unsupported",
        r"Bfloat16 is only supported on GPUs with compute capability of at least 8\.0\. Your (.+?) GPU",
        "the {1} cannot calculate in bfloat16",
        "set DTYPE to half, or take a GPU of compute capability 8.0 or above",
    ),
    _row(
        "dtype_unsupported",
        r"The model type '([^']+)' does not support float16",
        "a model of the type {1} goes wrong in float16",
        "set DTYPE to bfloat16, or to float32 on a GPU without it",
    ),
    # Drivers and devices
    _row(
        "driver_too_old",
        r"The NVIDIA driver on your system is too old \(found version (\d+)\)",
        "the machine's NVIDIA driver (CUDA {1}) is too old for this image",
        _OTHER_DRIVER,
    ),
    _row(
        "driver_too_old",
        r"CUDA driver version is insufficient|forward compatibility was attempted on non supported HW|"
        r"the provided PTX was compiled with an unsupported toolchain",
        "the machine's NVIDIA driver is too old for this image",
        _OTHER_DRIVER,
    ),
    _row(
        "gpu_unsupported",
        r"no kernel image is available for execution on the device",
        "this vLLM was not built for this kind of GPU",
        "choose another kind of GPU, or an image of vLLM that knows this one",
    ),
    _row(
        "gpu_broken",
        r"(?:CUDA error|Error \d+): (an illegal memory access was encountered|device-side assert triggered|"
        r"unspecified launch failure|uncorrectable ECC error encountered|system not yet initialized|unknown error|"
        r"CUDA-capable device\(s\) is/are busy or unavailable)",
        "the GPU failed ({1})",
        "if other workers fail alike, try ENFORCE_EAGER=true or another vLLM; if not, " + _OTHER_MACHINE,
    ),
    _row(
        "no_gpu",
        r"No CUDA GPUs are available|Failed to infer device type|Found no NVIDIA driver on your system",
        "vLLM sees no GPU",
        "give the worker a GPU, and check CUDA_VISIBLE_DEVICES; if both are right, " + _OTHER_MACHINE,
    ),
    # Around vLLM
    _row(
        "shared_memory",
        r"Bus error|/dev/shm/\S*.*No space left on device|No space left on device.*/dev/shm|"
        r"Error while creating shared memory segment",
        "the container's shared memory (/dev/shm) is full",
        "give the container more of it, or set NCCL_SHM_DISABLE=1",
    ),
    _row(
        "disk_full",
        r"\[Errno 28\] No space left on device|No space left on device \(os error 28\)",
        "a disk is full",
        "raise the container disk's size, or bake the weights instead of downloading them",
    ),
    _row(
        "port_taken",
        r"\[Errno 98\] [Aa]ddress already in use|EADDRINUSE",
        "the port is taken by something else",
        "leave VLLM_PORT out (vLLM then listens on a private socket), or set it to a free port",
    ),
    _row(
        "nccl",
        r"NCCL error: ([^\n]{1,120})",
        "the GPUs cannot talk to each other ({1})",
        "try NCCL_P2P_DISABLE=1; NCCL_DEBUG=INFO tells more",
    ),
    # What is left when a process was ended from outside
    _row(
        "killed",
        r"Failed core proc\(s\): \{[^}]*: -9\b",
        "a process of vLLM was killed, most likely because the machine's own memory was full",
        "give the worker more memory, or take a smaller model",
    ),
)

ROWS = len(_ROWS)
