"""What is written from the declarations: the Python SDK, schema.json and the docs pages.

`python -m pulumi_runpod.provider.generate` writes them, `--check` fails where a checked-in file differs.
"""

__all__: list[str] = []
