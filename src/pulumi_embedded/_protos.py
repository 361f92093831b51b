"""The protocol's messages and stubs, from the SDK.

`import pulumi` costs half a second, and the engine needs only the generated modules below it. So the command line
calls `use_generated_modules_only` first: it stands bare packages in for `pulumi` and `pulumi.runtime` in this process
(which never runs a program). A process that has imported pulumi, or may, simply does not call it.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

GRPC_OPTIONS = (
    ("grpc.max_receive_message_length", 400 * 1024 * 1024),
    ("grpc.max_send_message_length", 400 * 1024 * 1024),
)


def use_generated_modules_only() -> None:
    """Make the generated modules importable without running `pulumi/__init__.py`. Only for a process of our own."""
    if "pulumi" in sys.modules:
        return
    spec = importlib.util.find_spec("pulumi")
    if spec is None or not spec.submodule_search_locations:
        return
    root = Path(next(iter(spec.submodule_search_locations)))
    for name in ("pulumi", "pulumi.runtime"):
        module = ModuleType(name)
        module.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = module
