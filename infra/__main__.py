"""The Pulumi program: one vLLM endpoint on RunPod, as the stack's configuration says."""

import sys
from pathlib import Path

import pulumi
from pulumi.runtime import config

from program import Stack, run
from redaction import redact

# pulumi.Config answers for keys one knows already; to find unknown ones takes all of them.
values = {**config.get_config_env(), **config.CONFIG.get()}
secrets = set(config.get_config_secret_keys_env()) | {key for key in values if config.is_config_secret(key)}

stack = Stack(
    project=pulumi.get_project(),
    name=pulumi.get_stack(),
    root=Path(pulumi.get_root_directory()),
    preview=pulumi.runtime.is_dry_run(),
    config=values,
    secret_keys=frozenset(secrets),
)
try:
    for name, value in run(stack).items():
        pulumi.export(name, value)
except pulumi.RunError as error:
    # The language hosts' code for "the user has seen the error": left to itself, RunError is followed by a second
    # message about an exit code, which helps nobody.
    pulumi.log.error(redact(str(error)))
    sys.exit(32)
