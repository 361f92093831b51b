"""The provider's own configuration: `runpod:<key>` in a stack, or arguments of an explicit `Provider`."""

from pulumi_runpod.declarations._model import Field, Text

PROVIDER_CONFIG: tuple[Field, ...] = (
    Field(
        "api_key",
        Text(),
        "RunPod API key. The environment variable wins, and then the key never enters the state.",
        secret=True,
        environment="RUNPOD_API_KEY",
    ),
    Field(
        "api_key_file",
        Text(),
        "File with the key, relative to the project. Read when the provider starts; its content never enters the "
        "state. Wins over the environment variable, because the stack named it.",
    ),
    Field(
        "api_url",
        Text(),
        "Scheme and host of RunPod's API, without `/v2`. The environment counts only where the stack says nothing.",
        environment="RUNPOD_API_BASE_URL",
    ),
    Field(
        "jobs_url",
        Text(),
        "Base URL of the job API, with `/v2`. The environment counts only where the stack says nothing.",
        environment="RUNPOD_ENDPOINT_BASE_URL",
    ),
)
DEFAULT_API_URL = "https://api.runpod.io"
DEFAULT_JOBS_URL = "https://api.runpod.ai/v2"
