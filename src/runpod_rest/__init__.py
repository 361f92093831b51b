"""RunPod's REST v2 API and its job API, as typed coroutines.

What is true here:

- Every answer that is not a success becomes one exception of the tree under `RunPodError`; nothing is swallowed.
- A call is repeated only where repeating is safe. Where nobody can know whether the call was carried out, the error
  says so (`error.ambiguous`), and the caller has to look before it repeats.
- The API key is sent to RunPod's hosts and to this machine, and nowhere else unless `RUNPOD_ALLOWED_HOSTS` names the
  place. It stands in no message, no `repr` and no log line.
- What is left of RunPod's rate limit is shared by all calls of a client: they wait for the next window together.
- Many reads at once are answered from one list, never from one older than the client's last write.
- Bodies stay plain dictionaries in RunPod's own (camelCase) spelling: what a field means is the provider's business.

Imports aiohttp and the leaf `redaction`; nothing else of the project.
"""

from runpod_rest._client import DEFAULT_API_URL, DEFAULT_JOBS_URL, Client, default_user_agent
from runpod_rest._errors import (
    ApiError,
    BadRequest,
    Conflict,
    EdgeRejected,
    Forbidden,
    KeyRefused,
    NetworkError,
    NotFound,
    PaymentRequired,
    RateLimited,
    Redirected,
    RunPodError,
    ServerError,
    TooLarge,
    Unauthorized,
    UnreadableAnswer,
    UnusableArgument,
    Validation,
)
from runpod_rest._hosts import ALLOWED_HOSTS_VARIABLE, allowed_hosts_from, check_destination, is_loopback
from runpod_rest._jobs import Jobs
from runpod_rest._resources import Collection, Registries, UpdatableCollection
from runpod_rest._retry import RATE_LIMIT, RetryPolicy, Wait

__all__ = [
    "ALLOWED_HOSTS_VARIABLE",
    "DEFAULT_API_URL",
    "DEFAULT_JOBS_URL",
    "RATE_LIMIT",
    "ApiError",
    "BadRequest",
    "Client",
    "Collection",
    "Conflict",
    "EdgeRejected",
    "Forbidden",
    "Jobs",
    "KeyRefused",
    "NetworkError",
    "NotFound",
    "PaymentRequired",
    "RateLimited",
    "Redirected",
    "Registries",
    "RetryPolicy",
    "RunPodError",
    "ServerError",
    "TooLarge",
    "Unauthorized",
    "UnreadableAnswer",
    "UnusableArgument",
    "UpdatableCollection",
    "Validation",
    "Wait",
    "allowed_hosts_from",
    "check_destination",
    "default_user_agent",
    "is_loopback",
]
