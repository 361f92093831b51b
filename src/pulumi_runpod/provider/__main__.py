"""Started by Pulumi as `python <this folder> <engine address>`: runs the provider from the source tree."""

import sys
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
if __package__ in (None, ""):
    # Python puts this folder first on the path, where our `codec` or `config` would shadow other people's modules.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _FOLDER]
    sys.path.insert(0, str(_FOLDER.parents[1]))

from pulumi_runpod.provider.main import main  # noqa: E402 - the path has to be right first

if __name__ == "__main__":
    raise SystemExit(main())
