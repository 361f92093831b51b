"""What is known about registries beforehand, and what is learnt from their answers.

The table is small on purpose: a registry that is not in it gets the form that all of them take (one PATCH with the
exact Content-Length and no Content-Range), and everything else is learnt. Where the facts are from:

- ghcr.io: GitHub's documentation of the Container registry (10 GB per layer, 10 minutes per upload); ranged PATCHes
  over 4 MiB are answered 416 (rust-oci-client issues 35 and 37).
- *.dkr.ecr.*.amazonaws.com: Amazon ECR service quotas (52,000 MiB per layer); a stale Range after the first chunk
  (kitops, upload formats; aws/containers-roadmap issue 2831), so an upload is never continued there.
- public.ecr.aws: Amazon ECR Public service quotas (10,000 MiB per layer).
- *-docker.pkg.dev, *.gcr.io: no chunked upload (dotnet/sdk-container-builds issue 287; kitops), so neither ranges nor
  resume; the one PATCH is what the stock clients send there.
- *.azurecr.io: Azure Container Registry service limits (200 GiB per layer).
- quay.io: Red Hat Quay configuration, MAXIMUM_LAYER_SIZE (20 G unless configured otherwise).
"""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

Form = Literal["whole", "put", "ranged"]
"""How a layer goes out: one PATCH and a closing PUT; one PUT that carries it all (the digest must be known); PATCHes of
a few MiB with Content-Range."""

RANGE_BYTES = 4 * 1024 * 1024
"""Length of a range where ranges are needed: what the strictest registry takes."""

_GIB = 1024**3
_MIB = 1024**2


@dataclass(frozen=True)
class RegistryRules:
    """What is known about a registry before the first request."""

    max_layer: int | None = None
    """Bytes of the largest layer it takes; None when no limit is documented."""
    forms: tuple[Form, ...] = ("whole", "put", "ranged")
    """What to try, in this order; the next one is tried when an answer rules one out."""
    resumable: bool = True
    """Whether an interrupted upload may be continued."""
    range_bytes: int | None = None
    """Longest PATCH with a Content-Range; None means any length."""


_WHOLE_ONLY = RegistryRules(forms=("whole", "put"), resumable=False)
_TABLE: tuple[tuple[str, RegistryRules], ...] = (
    ("ghcr.io", RegistryRules(max_layer=10_000_000_000, range_bytes=RANGE_BYTES)),
    ("*.dkr.ecr.*.amazonaws.com*", RegistryRules(52_000 * _MIB, ("whole", "put"), resumable=False)),
    ("public.ecr.aws", RegistryRules(10_000 * _MIB, ("whole", "put"), resumable=False)),
    ("*-docker.pkg.dev", _WHOLE_ONLY),
    ("gcr.io", _WHOLE_ONLY),
    ("*.gcr.io", _WHOLE_ONLY),
    ("*.azurecr.io", RegistryRules(max_layer=200 * _GIB)),
    ("quay.io", RegistryRules(max_layer=20 * _GIB)),
)
_DEFAULT = RegistryRules()


def rules_for(host: str) -> RegistryRules:
    """Return what is known about a registry by its host name."""
    name = host.lower().partition(":")[0]
    return next((rules for pattern, rules in _TABLE if fnmatchcase(name, pattern)), _DEFAULT)


@dataclass
class Habits:
    """What one bake knows about its registry by now; shared by all layers in flight."""

    rules: RegistryRules
    forms: list[Form] = field(init=False)
    resumable: bool = field(init=False)
    range_bytes: int | None = field(init=False)
    wanders: bool = False
    """A session was unknown right after it had been used: a front end sends requests to places that do not share
    sessions. Then the fewer requests per layer, the better."""

    def __post_init__(self) -> None:
        self.forms = list(self.rules.forms)
        self.resumable = self.rules.resumable
        self.range_bytes = self.rules.range_bytes

    def form(self, *, digest_known: bool) -> Form:
        """The form for the next upload."""
        if self.wanders and digest_known and "put" in self.forms:
            return "put"
        return self.forms[0]

    def refuse(self, form: Form, *, too_large: bool) -> bool:
        """Learn that a form is refused; True when there is another one to try."""
        ruled_out = {form, *(("whole", "put") if too_large else ())}
        left = [other for other in self.forms if other not in ruled_out]
        if not left:
            return False
        self.forms = left
        return True

    def refuse_resume(self) -> None:
        """Learn that a continuation was refused: try shorter ranges first, then none at all."""
        if self.range_bytes is None:
            self.range_bytes = RANGE_BYTES
        else:
            self.resumable = False
