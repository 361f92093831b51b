"""Puts infra/ on the path, as Pulumi does when it runs the program."""

import sys
from pathlib import Path

INFRA = str(Path(__file__).resolve().parents[2] / "infra")
if INFRA not in sys.path:
    sys.path.insert(0, INFRA)
