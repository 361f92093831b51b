"""The errors of this room.

SizingError
├── CatalogueError     the catalogue's own data does not hold together
├── UnknownNames       GPU types or pools that the catalogue does not know
├── TypesWithoutPool   GPU types that RunPod does not offer for serverless endpoints
└── InvalidQuantity    a count or size that makes no sense
"""

import difflib
from collections.abc import Collection, Sequence

# An error is named for its cause, so the suffix would only repeat the base class.


class SizingError(Exception):
    """Something that cannot be sized or priced as asked."""


class CatalogueError(SizingError):
    """The catalogue's own data does not hold together."""


class UnknownNames(SizingError):
    """Names that the catalogue does not know; each with the nearest one that it does."""

    def __init__(self, kind: str, unknown: Sequence[str], known: Collection[str], as_of: str) -> None:
        self.unknown = tuple(unknown)
        self.suggestions = {name: nearest(name, known) for name in unknown}
        parts = [
            f"`{name}`" + (f" (did you mean `{near}`?)" if near else "") for name, near in self.suggestions.items()
        ]
        plural = "s" if len(parts) > 1 else ""
        # The whole list helps only whom no suggestion helps.
        lost = any(near is None for near in self.suggestions.values())
        hint = f"\n\nhint: the catalogue of {as_of} knows: {', '.join(known)}" if lost else ""
        super().__init__(f"unknown {kind}{plural} {', '.join(parts)}{hint}")


class TypesWithoutPool(SizingError):
    """GPU types that exist, but in no serverless pool: an endpoint cannot ask for them."""

    def __init__(self, types: Sequence[str], as_of: str) -> None:
        self.types = tuple(types)
        names = ", ".join(f"`{name}`" for name in types)
        super().__init__(
            f"{names}: in no serverless pool of the catalogue of {as_of}, so no endpoint can be placed on it\n\n"
            "hint: choose a GPU type that has a pool; RunPod offers the others for pods only"
        )


class InvalidQuantity(SizingError):
    """A count or size that makes no sense."""


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that `name` was most likely meant to be, if any is near.

    `RTX 4090`, `4090` and `rtx-4090` all mean `NVIDIA GeForce RTX 4090`: words count, not only letters.
    """
    plain = _words(name)
    if not plain:
        return None
    inside = [candidate for candidate in known if set(plain) <= set(_words(candidate))]
    if inside:
        return min(inside, key=lambda candidate: (len(_words(candidate)), candidate))
    by_text = {" ".join(_words(candidate)): candidate for candidate in known}
    found = difflib.get_close_matches(" ".join(plain), by_text, n=1, cutoff=0.6)
    return by_text[found[0]] if found else None


def _words(name: str) -> list[str]:
    return "".join(char if char.isalnum() else " " for char in name.lower()).split()
