"""What a scenario is, and short words to write one with."""

from dataclasses import dataclass
from typing import Any

from tests.pulumi_embedded.support import Act


@dataclass(frozen=True)
class Scenario:
    """A story in acts. `ordered` False: the engine may choose the order. `quick` ones run in the everyday suite."""

    name: str
    acts: tuple[Act, ...]
    ordered: bool = True
    quick: bool = False
    handover: bool = True
    """Whether the other engine finds no changes at the end (not so after a failure or a destroy)."""


def fault(rpc: str, name: str, kind: str = "error", **more: Any) -> dict[str, Any]:
    """A fault of the demo provider."""
    return {"rpc": rpc, "name": name, "kind": kind, **more}


CHAIN = """
a = Thing("a", value=1)
b = Thing("b", value=a.url)
c = Thing("c", O(depends_on=[b]), value=3)
pulumi.export("url", c.url)
"""
ONE = 'Thing("a", value=1)'
EMPTY = "pass"


def up(program: str | None = None, *flags: str, **more: Any) -> Act:
    """An update."""
    return Act("up", program, flags, **more)


def preview(program: str | None = None, *flags: str, **more: Any) -> Act:
    """A preview."""
    return Act("preview", program, flags, **more)


def refresh(*flags: str, **more: Any) -> Act:
    """A refresh."""
    return Act("refresh", None, flags, **more)


def destroy(*flags: str, **more: Any) -> Act:
    """A destroy."""
    return Act("destroy", None, flags, **more)
