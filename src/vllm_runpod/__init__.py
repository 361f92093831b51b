"""The `vllm-runpod` command line: it ties the rooms together and has no logic of its own.

It may import every room; no room imports it.
"""

__all__: list[str] = []
