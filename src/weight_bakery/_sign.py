"""Signing an image with cosign, where it is on PATH. It runs as a process, on the digest, and never sees a shell.

Whoever asks for a signature without cosign learns so before anything moves. cosign's own settings (COSIGN_PASSWORD,
SIGSTORE_*, ...) reach it through the environment; tokens of other services do not.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from redaction import redact
from weight_bakery._errors import BadRequest, SigningError
from weight_bakery._events import Note, Progress
from weight_bakery._references import DOCKER_HUB, RegistryReference, parse_target
from weight_bakery._request import BakeReceipt, BakeRequest, Credentials

_LIMIT_S = 300
_NOT_ITS_BUSINESS = frozenset(
    {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "RUNPOD_API_KEY", "PULUMI_ACCESS_TOKEN", "PULUMI_CONFIG_PASSPHRASE",
     "VLLM_RUNPOD_REGISTRY_PASSWORD"}
)  # fmt: skip


def signer(request: BakeRequest, *, key: str | None) -> Callable[[BakeReceipt, Progress], None]:
    """Return what signs a finished bake: the image and what is attached to it.

    Raises BadRequest while nothing has moved yet: for a layout, which cosign cannot sign, and without cosign.
    """
    target = parse_target(request.to)
    if not isinstance(target, RegistryReference):
        raise BadRequest(f"--sign does not go with --to {request.to}", "cosign signs images in a registry")
    cosign = find_cosign()

    def run(receipt: BakeReceipt, progress: Progress) -> None:
        digests = [receipt.digest, *(item.digest for item in receipt.attached)]
        sign(cosign, target, digests, key=key, credentials=request.credentials)
        progress(Note(f"signed by cosign: the image and {len(digests) - 1} attached documents"))

    return run


def find_cosign() -> str:
    """Return where cosign is. Raises BadRequest when it is not on PATH."""
    found = shutil.which("cosign")
    if found is None:
        raise BadRequest("cosign is not on PATH, so the image cannot be signed", "install cosign, or leave --sign out")
    return found


def sign(
    cosign: str,
    reference: RegistryReference,
    digests: Sequence[str],
    *,
    key: str | None,
    credentials: Credentials | None,
) -> None:
    """Sign manifests of one repository, by digest. Without a key cosign does what it is set up to do (keyless).

    Raises SigningError with the last line that cosign said; the image is there and whole then, only not signed.
    """
    images = [f"{reference.host}/{reference.repository}@{digest}" for digest in digests]
    command = [cosign, "sign", "--yes", *(["--key", key] if key else []), *images]
    with _environment(reference, credentials) as environment:
        try:
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LIMIT_S
            )
        except subprocess.TimeoutExpired as error:
            raise SigningError(f"cosign did not end within {_LIMIT_S} s", _REMEDY) from error
        except OSError as error:
            raise SigningError(f"{cosign} cannot be run: {error.strerror}", _REMEDY) from error
    if done.returncode:
        said = [line for line in redact(done.stderr or done.stdout).strip().splitlines() if line.strip()]
        raise SigningError(f"cosign ended with {done.returncode}: {said[-1] if said else 'it said nothing'}", _REMEDY)


_REMEDY = "the image is there, but not signed: put it right and bake again, nothing is sent twice"


@contextmanager
def _environment(reference: RegistryReference, credentials: Credentials | None) -> Iterator[Mapping[str, str]]:
    """The child's environment. A login that was given to us alone reaches it as a Docker configuration of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_ITS_BUSINESS}
    if credentials is None or credentials.identity_token:
        yield environment
        return
    server = "https://index.docker.io/v1/" if reference.host == DOCKER_HUB else reference.host
    pair = base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()
    with tempfile.TemporaryDirectory(prefix="vllm-runpod-") as folder:
        file = Path(folder) / "config.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps({"auths": {server: {"auth": pair}}}))
        yield environment | {"DOCKER_CONFIG": folder}
