"""A document that stands beside an image in a registry."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Attached:
    """A document that is attached to an image. `digest` is that of the manifest that holds it."""

    artifact_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
