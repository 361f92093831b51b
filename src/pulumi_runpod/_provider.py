"""The provider as a resource, for programs that need more than one.

Written by `python -m pulumi_runpod.provider.generate` from pulumi_runpod.declarations; do not edit.
"""

import pulumi

from pulumi_runpod import _registration


@pulumi.input_type
class _Properties:
    api_key: pulumi.Input[str] | None = pulumi.property("apiKey", default=None)
    api_key_file: pulumi.Input[str] | None = pulumi.property("apiKeyFile", default=None)
    api_url: pulumi.Input[str] | None = pulumi.property("apiUrl", default=None)
    jobs_url: pulumi.Input[str] | None = pulumi.property("jobsUrl", default=None)


class Provider(pulumi.ProviderResource):
    """How and where RunPod is reached. A program with one account needs none: the stack configures it."""

    def __init__(
        self,
        resource_name: str,
        *,
        api_key: pulumi.Input[str] | None = None,
        api_key_file: pulumi.Input[str] | None = None,
        api_url: pulumi.Input[str] | None = None,
        jobs_url: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """Configure a provider.

        :param api_key: RunPod API key. The environment variable wins, and then the key never enters the state.
        :param api_key_file: File with the key, relative to the project. Read when the provider starts; its content
            never enters the state. Wins over the environment variable, because the stack named it.
        :param api_url: Scheme and host of RunPod's API, without `/v2`. The environment counts only where the stack
            says nothing.
        :param jobs_url: Base URL of the job API, with `/v2`. The environment counts only where the stack says
            nothing.
        """
        properties = _registration.properties(
            _Properties,
            f"Provider {resource_name!r}",
            api_key=_registration.secret(api_key),
            api_key_file=api_key_file,
            api_url=api_url,
            jobs_url=jobs_url,
        )
        super().__init__(
            "runpod", resource_name, properties, _registration.options(opts, additional_secret_outputs=["apiKey"])
        )


__all__ = [
    "Provider",
]
