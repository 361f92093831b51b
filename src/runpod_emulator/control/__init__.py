"""The control plane: RunPod's REST API v2 over the emulator's database.

True here: one module per resource; handlers speak HTTP, validators (`checks`, `*_rules`) know the bodies, the tables belong
to `records`. It may import nothing of the project but `redaction`; its reading of the API is its own and is held
against the published contract by tests/contract.
"""

from runpod_emulator.control.problem import Problem

__all__ = ["Problem"]
