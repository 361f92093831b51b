"""vLLM's own options as data, and the reading of a worker's environment variables against them.

What is true here: every option, its kind, choices and default come from the argument parser of a released vLLM
(`tools/dump_vllm_options.py` writes `data/<version>.json`); nothing is a hand-kept copy. What a variable means, which
ones are the worker's own and which belong to somebody else, is decided in this room alone, so that a preview on a
laptop and the worker in its container refuse the same mistakes with the same words.

A leaf: it imports nothing of the project and nothing outside the standard library, and every room may import it.
"""

from vllm_options._environment import Plan, Problem, WorkerSettings, read_environment
from vllm_options._errors import BadValue, OptionsError, UnknownVersion
from vllm_options._schema import Option, Schema, latest_version, options, versions

__all__ = [
    "BadValue",
    "Option",
    "OptionsError",
    "Plan",
    "Problem",
    "Schema",
    "UnknownVersion",
    "WorkerSettings",
    "latest_version",
    "options",
    "read_environment",
    "versions",
]
