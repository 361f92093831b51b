"""Pods: `/v2/pods`, and one process for each that runs, started from its image on this machine.

True here: the row in the database says what shall be, the runner makes it so; nothing of a pod runs once it was stopped
or terminated. May import the control plane, the balancer's look at ports, and the emulator's context, config and model.
"""

from runpod_emulator.pods._routes import add_routes
from runpod_emulator.pods._runner import PODS, PodRunner

__all__ = ["PODS", "PodRunner", "add_routes"]
