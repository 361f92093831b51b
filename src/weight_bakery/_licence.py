"""The licence of a model as its card says it: `license` in the front matter of README.md."""

import re

CARD = "README.md"
CARD_LIMIT = 256 * 1024
_FRONT_MATTER = re.compile(r"\A\ufeff?---\s*\n(.*?)^---\s*$", re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r"^(license|license_name):[ \t]*(?:\n-[ \t]*)?[ \t]*([^\s#\[\]][^\n#]*)", re.MULTILINE)


def licence_of(card: bytes) -> str | None:
    """Return what the card names, None when it names nothing. A licence called "other" goes by its own name."""
    matter = _FRONT_MATTER.match(card.decode(errors="replace").replace("\r\n", "\n"))
    if matter is None:
        return None
    fields = {name: value.strip().strip("\"'").strip() for name, value in _FIELD.findall(matter[1])}
    licence = fields.get("license", "")
    if licence in ("", "other"):
        licence = fields.get("license_name") or licence
    return licence[:100] or None
