"""The program inside the image: vLLM behind RunPod's job queue.

What is true here: vLLM runs as a child process and is never imported; the worker turns its environment into a
`vllm serve` command line, waits until a real request is answered, and only then takes jobs through RunPod's own SDK.
Everything that a caller sends is passed on, and everything that vLLM answers comes back, as it is. When vLLM is gone
the worker is gone.

May import: the standard library, aiohttp, runpod, and the leaves `redaction` and `vllm_options`. Nothing else of the
project: this folder is a layer of an image. The way in is `python -m vllm_worker`.
"""

from vllm_worker._errors import ApiError, EngineError, WorkerError

__all__ = ["ApiError", "EngineError", "WorkerError"]
