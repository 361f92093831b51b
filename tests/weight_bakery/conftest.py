"""Fixtures of this room."""

from tests.support.tools import crane, registry
from tests.weight_bakery.hub_fixture import hub

__all__ = ["crane", "hub", "registry"]
