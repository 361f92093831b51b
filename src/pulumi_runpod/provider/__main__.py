"""Started by Pulumi as `python <this folder> <engine address>`: runs the provider from the source tree.

This process never runs a program, so it leaves the SDK alone: of `pulumi` it needs the generated modules, of
`pulumi_runpod` what stands below it. Their `__init__` modules, not run here, would cost half of its start.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

_FOLDER = Path(__file__).resolve().parent


def _without_its_init(*names: str) -> None:
    """Make the modules of packages importable without the packages' own."""
    for name in names:
        top, _, below = name.partition(".")
        spec = importlib.util.find_spec(top) if top not in sys.modules else sys.modules[top].__spec__
        if spec is None or not spec.submodule_search_locations:
            continue  # whoever imports it says that it is missing
        module = ModuleType(name)
        module.__path__ = [str(Path(place, *below.split("."))) for place in spec.submodule_search_locations]
        module.__spec__ = spec if not below else None
        sys.modules[name] = module


if __package__ in (None, ""):
    # Python puts this folder first on the path, where our `codec` or `config` would shadow other people's modules.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _FOLDER]
    sys.path.insert(0, str(_FOLDER.parents[1]))
    _without_its_init("pulumi_runpod", "pulumi", "pulumi.runtime")

from pulumi_runpod.provider.main import main  # noqa: E402 - the path has to be right first

if __name__ == "__main__":
    raise SystemExit(main())
