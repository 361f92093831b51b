"""Fixtures of this room."""

from tests.support.tools import crane, registry

__all__ = ["crane", "registry"]
