"""The worker's environment: RunPod's own names for what the arguments say."""

from collections.abc import Mapping
from dataclasses import replace

import pulumi

from vllm_options import latest_version, options, read_environment

from ._arguments import VllmEndpointArgs

OWN_VARIABLES: Mapping[str, str] = {
    "MODEL_NAME": "model",
    "MODEL_REVISION": "revision",
    "OPENAI_SERVED_MODEL_NAME_OVERRIDE": "served_model_name",
    "MAX_MODEL_LEN": "max_model_len",
    "MAX_NUM_SEQS": "max_num_seqs",
    "QUANTIZATION": "quantization",
    "DTYPE": "dtype",
    "GPU_MEMORY_UTILIZATION": "gpu_memory_utilization",
    "TRUST_REMOTE_CODE": "trust_remote_code",
    "TENSOR_PARALLEL_SIZE": "gpu_count",
    "MAX_CONCURRENCY": "max_concurrency",
    "RUNPOD_INIT_TIMEOUT": "init_timeout_s",
    "HF_TOKEN": "hf_token",
}
"""Variable -> the argument that sets it."""
MODEL_VARIABLES = frozenset(
    {"MODEL_NAME", "MODEL_REVISION", "OPENAI_SERVED_MODEL_NAME_OVERRIDE", "TRUST_REMOTE_CODE", "HF_TOKEN"}
)
"""What model it is: these belong to the template. How it runs belongs to the endpoint, so that a change of
`max_model_len` is one update and not two."""

_PLATFORM_PREFIXES = ("RUNPOD_WEBHOOK_", "RUNPOD_AI_API_KEY", "RUNPOD_POD_", "RUNPOD_ENDPOINT_ID", "RUNPOD_PING_")
# A download of a large model outlasts RunPod's limit of 7 minutes; RunPod's own worker gives itself 1200 s
# (runpod-api.md §3.5).
_DOWNLOAD_INIT_TIMEOUT_S = 1200


def worker_environment(args: VllmEndpointArgs) -> dict[str, pulumi.Input[str]]:
    """Every variable that the arguments set, then `env`. Mistakes are found by `environment_mistakes`."""
    download = args.weights == "download"
    init_timeout = args.init_timeout_s or (_DOWNLOAD_INIT_TIMEOUT_S if download and args.template is None else None)
    given: dict[str, object] = {
        # A baked image knows the folder that its model lies in; naming the Hub id would send it there.
        "MODEL_NAME": args.model if download else None,
        "MODEL_REVISION": args.revision if download else None,
        "OPENAI_SERVED_MODEL_NAME_OVERRIDE": args.served_model_name,
        "MAX_MODEL_LEN": args.max_model_len,
        "MAX_NUM_SEQS": args.max_num_seqs,
        "QUANTIZATION": args.quantization,
        "DTYPE": args.dtype,
        "GPU_MEMORY_UTILIZATION": args.gpu_memory_utilization,
        "TRUST_REMOTE_CODE": "true" if args.trust_remote_code else None,
        "TENSOR_PARALLEL_SIZE": args.gpu_count if args.gpu_count > 1 else None,
        "MAX_CONCURRENCY": args.max_concurrency,
        "RUNPOD_INIT_TIMEOUT": init_timeout,
    }
    environment: dict[str, pulumi.Input[str]] = {name: str(value) for name, value in given.items() if value is not None}
    if args.hf_token is not None:
        environment["HF_TOKEN"] = pulumi.Output.secret(args.hf_token)
    return {**environment, **args.env}


def environment_mistakes(args: VllmEndpointArgs) -> list[tuple[str, str]]:
    """What is wrong with it, by argument: names set twice, names that are the platform's, values vLLM would refuse.

    vLLM's own rules come from `vllm_options`, so the preview refuses what the worker would refuse, in the same words.
    They hold for the images of this project; another image may run another vLLM, so only the names are checked there.
    """
    mistakes = []
    set_here = set(worker_environment(replace(args, env={})))
    for name in args.env:
        # One GPU sets no TENSOR_PARALLEL_SIZE, and a baked image no MODEL_NAME: then they are free.
        free = name in ("TENSOR_PARALLEL_SIZE", "MODEL_NAME") and name not in set_here
        if name in OWN_VARIABLES and not free:
            mistakes.append((f"env.{name}", f"belongs to {OWN_VARIABLES[name]}; set that instead"))
        elif name.startswith(_PLATFORM_PREFIXES):
            mistakes.append((f"env.{name}", "is set by RunPod itself; leave it out"))
        elif not name.isascii() or not name.replace("_", "a").isalnum() or name[0].isdigit():
            mistakes.append((f"env.{name}", "is not a usable variable name"))
    if args.weights == "baked" and not mistakes:
        mistakes += _vllm_mistakes(args)
    return mistakes


def _vllm_mistakes(args: VllmEndpointArgs) -> list[tuple[str, str]]:
    plain = {name: value for name, value in worker_environment(args).items() if isinstance(value, str)}
    plan = read_environment({"MODEL_NAME": "/models/baked", **plain}, options(latest_version()))
    mistakes = []
    for problem in plan.problems:
        argument = f"env.{problem.name}" if problem.name in args.env else OWN_VARIABLES.get(problem.name, problem.name)
        mistakes.append((argument, f"{problem.message}; {problem.hint}" if problem.hint else problem.message))
    return mistakes
