"""Which known name somebody meant.

Names are compared word by word, because that is how they are mistyped: a word cut short or written out
(`MAX_MODEL_LENGTH`), left out (`TENSOR_PARALLEL`), moved (`MODEL_MAX_LEN`) or run together (`MAXMODELLEN`).
A comparison letter by letter would take `LOG_FORMAT` for `LOAD_FORMAT`.
"""

from collections.abc import Iterable
from difflib import SequenceMatcher

RESEMBLES = 0.8
"""From this score on a name is taken for a slip of the pen rather than for somebody else's variable."""


def _word_score(left: str, right: str) -> float:
    if left == right:
        return 1.0
    shorter, longer = sorted((left, right), key=len)
    if len(shorter) >= 3 and longer.startswith(shorter):
        return 0.9
    if len(shorter) >= 4:
        ratio = SequenceMatcher(None, left, right, autojunk=False).ratio()
        return ratio if ratio >= 0.8 else 0.0
    return 0.0


def score(left: str, right: str) -> float:
    """How much two names look alike, from 0 to 1."""
    if left.replace("_", "") == right.replace("_", ""):
        return 1.0
    left_words, right_words = left.split("_"), right.split("_")
    total, free = 0.0, list(right_words)
    for word in left_words:
        best = max(free, key=lambda other: _word_score(word, other), default=None)
        if best is not None and (gained := _word_score(word, best)) > 0:
            total += gained
            free.remove(best)
    return 2 * total / (len(left_words) + len(right_words))


def nearest(name: str, known: Iterable[str], at_least: float = RESEMBLES) -> str | None:
    """The known name that `name` looks most like, if it looks enough like it; ties go to the alphabet."""
    best, best_score = None, 0.0
    for candidate in sorted(known):
        found = score(name, candidate)
        if found > best_score:
            best, best_score = candidate, found
    return best if best_score >= at_least else None
