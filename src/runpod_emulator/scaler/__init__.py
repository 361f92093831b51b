"""The scaler: how many workers each endpoint has, and their life from start to end.

True here: never more worker processes than workers.max, those that are just ending included; every decision is a plain
function in `_rules`; time comes from the context's clock alone. May import the job and worker planes, the catalogue's
data, the emulator's context, model and ports, and the leaf `redaction`.
"""

from runpod_emulator.scaler._launch import secret_values
from runpod_emulator.scaler._rules import Wish, backoff_s, init_timeout_s, wish
from runpod_emulator.scaler._scaler import Scaler

__all__ = ["Scaler", "Wish", "backoff_s", "init_timeout_s", "secret_values", "wish"]
