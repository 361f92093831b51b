"""Which environment variables are whose: the worker's own, vLLM's under another name, or somebody else's."""

ALIASES = {
    "MODEL_NAME": "MODEL",
    "MODEL_REVISION": "REVISION",
    "TOKENIZER_NAME": "TOKENIZER",
    "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "SERVED_MODEL_NAME",
    "OPENAI_RESPONSE_ROLE": "RESPONSE_ROLE",
    "CUSTOM_CHAT_TEMPLATE": "CHAT_TEMPLATE",
    "VLLM_CONFIG_FILE": "CONFIG",
}
"""RunPod's names for options whose own names are too general for an environment."""

IGNORED = {
    "HOST": "vLLM listens for this worker alone",
    "API_KEY": "RunPod checks the callers' keys; vLLM has no open port",
    "VLLM_API_KEY": "RunPod checks the callers' keys; vLLM has no open port",
    "CONFIG": "use VLLM_CONFIG_FILE",
    "HELP": "it is not an option of a server",
}
"""Reserved names that a platform or an older set-up may have left behind: no effect, and said so."""

REFUSED = {
    "MODEL": "set MODEL_NAME",
    "UDS": "the worker chooses vLLM's address itself; leave it out",
    "GRPC": "the worker speaks HTTP to vLLM; leave it out",
    "GRPC_PORT": "the worker speaks HTTP to vLLM; leave it out",
    "HEADLESS": "the worker needs vLLM's HTTP server; leave it out",
    "SSL_KEYFILE": "nobody but the worker talks to vLLM; leave it out",
    "SSL_CERTFILE": "nobody but the worker talks to vLLM; leave it out",
    "SSL_CA_CERTS": "nobody but the worker talks to vLLM; leave it out",
    "SSL_CERT_REQS": "nobody but the worker talks to vLLM; leave it out",
    "SSL_CIPHERS": "nobody but the worker talks to vLLM; leave it out",
    "ENABLE_SSL_REFRESH": "nobody but the worker talks to vLLM; leave it out",
    "ROOT_PATH": "the worker asks vLLM for its plain routes; leave it out",
}
"""Options that would make vLLM unreachable for the worker."""

ZERO_MEANS_UNSET = frozenset({"MAX_NUM_BATCHED_TOKENS"})

SECRETS = frozenset({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"})
"""Passed to vLLM by environment only, never as an argument, never shown."""

CHILD_NAMES = frozenset(
    {
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TZ", "TMPDIR", "HOSTNAME", "LANG", "LANGUAGE",
        "LD_LIBRARY_PATH", "LD_PRELOAD", "LIBRARY_PATH", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "PYTHONHASHSEED",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "CC", "CXX", "MAX_JOBS",
        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
        "DO_NOT_TRACK", "NO_COLOR", "FORCE_COLOR",
    }
)  # fmt: skip

CHILD_PREFIXES = (
    "LC_", "CUDA_", "CUDNN_", "CUBLAS_", "NVIDIA_", "NV_", "NCCL_", "GLOO_", "UCX_", "HIP_", "ROCM_", "HSA_", "AITER_",
    "TORCH_", "TORCHINDUCTOR_", "PYTORCH_", "TRITON_", "INDUCTOR_", "FLASHINFER_", "DG_", "DEEP_GEMM_", "OMP_", "MKL_",
    "KMP_", "GOMP_", "HF_", "HUGGINGFACE_", "HUGGING_FACE_", "TRANSFORMERS_", "TOKENIZERS_", "SAFETENSORS_",
    "INSTANTTENSOR_", "RUNAI_", "LMCACHE_", "AWS_", "OTEL_", "RAY_",
)  # fmt: skip
"""What vLLM may see of the worker's environment, beside the VLLM_ variables that it knows."""

FOREIGN_PREFIXES = (
    "RUNPOD_",
    "PYTHON",
    "PIP_",
    "UV_",
    "VIRTUAL_ENV",
    "CONDA_",
    "DEBIAN_",
    "SSH_",
    "JUPYTER_",
    "PUBLIC_",
)
"""Other people's variables that are never taken for a mistyped option."""
