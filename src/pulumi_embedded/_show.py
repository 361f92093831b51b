"""The words and marks of the CLI's displays: operations, summary, duration."""

from collections.abc import Mapping

from pulumi_embedded._steps import (
    CREATE,
    CREATE_REPLACEMENT,
    DELETE,
    DELETE_REPLACED,
    DISCARD,
    DISCARD_REPLACED,
    IMPORT,
    IMPORT_REPLACEMENT,
    READ,
    READ_REPLACEMENT,
    REFRESH,
    REMOVE_PENDING_REPLACE,
    REPLACE,
    SAME,
    UPDATE,
    Step,
)
from pulumi_embedded._urn import STACK_TYPE

MARK = {
    SAME: "  ", CREATE: "+ ", UPDATE: "~ ", DELETE: "- ", REPLACE: "+-", CREATE_REPLACEMENT: "++",
    DELETE_REPLACED: "--", READ: "> ", READ_REPLACEMENT: ">>", REFRESH: "~ ", DISCARD: "< ", DISCARD_REPLACED: "<<",
    IMPORT: "= ", IMPORT_REPLACEMENT: "=>", REMOVE_PENDING_REPLACE: "~ ",
}  # fmt: skip
COLOUR = {
    CREATE: "green", UPDATE: "yellow", DELETE: "red", REPLACE: "magenta", CREATE_REPLACEMENT: "green",
    DELETE_REPLACED: "red", READ: "cyan", READ_REPLACEMENT: "cyan", REFRESH: "yellow", IMPORT: "green",
    IMPORT_REPLACEMENT: "green", DISCARD: "red", DISCARD_REPLACED: "red",
}  # fmt: skip
# planned, under way, done, failed
_WORDS = {
    SAME: ("", "", "", "failed"),
    CREATE: ("create", "creating", "created", "creating failed"),
    UPDATE: ("update", "updating", "updated", "updating failed"),
    DELETE: ("delete", "deleting", "deleted", "deleting failed"),
    REPLACE: ("replace", "replacing", "replaced", "replacing failed"),
    CREATE_REPLACEMENT: ("create replacement", "creating replacement", "created replacement", "creating failed"),
    DELETE_REPLACED: ("delete original", "deleting original", "deleted original", "deleting failed"),
    READ: ("read", "reading", "read", "reading failed"),
    READ_REPLACEMENT: ("read for replacement", "reading for replacement", "read for replacement", "reading failed"),
    REFRESH: ("refreshing", "refreshing", "refresh", "refreshing failed"),
    DISCARD: ("discard", "discarding", "discarded", "discarding failed"),
    DISCARD_REPLACED: ("discard original", "discarding original", "discarded original", "discarding failed"),
    IMPORT: ("import", "importing", "imported", "importing failed"),
    IMPORT_REPLACEMENT: (
        "import replacement", "importing replacement", "imported replacement", "importing failed",
    ),
    REMOVE_PENDING_REPLACE: ("", "", "", ""),
}  # fmt: skip
_PARTS = (CREATE_REPLACEMENT, DELETE_REPLACED, READ_REPLACEMENT, DISCARD_REPLACED, IMPORT_REPLACEMENT)
_SUMMARY = {
    CREATE: "created", UPDATE: "updated", DELETE: "deleted", REPLACE: "replaced", CREATE_REPLACEMENT: "created",
    DELETE_REPLACED: "deleted", REFRESH: "refreshed", DISCARD_REPLACED: "discarded", IMPORT: "imported",
    IMPORT_REPLACEMENT: "imported",
}  # fmt: skip
_RETAINED = (DELETE, REPLACE, CREATE_REPLACEMENT, DELETE_REPLACED)


def planned(op: str, done: bool) -> str:
    """What a preview says of an operation."""
    if done and op in _PARTS:
        return "replace" if op != IMPORT_REPLACEMENT else "import"
    return "refresh" if done and op == REFRESH else _WORDS[op][0]


def under_way(op: str) -> str:
    """What an update says of an operation that runs."""
    return _WORDS[op][1]


def finished(op: str, failed: bool) -> str:
    """What it says when it has ended."""
    return _WORDS[op][3 if failed else 2]


def retained(step: Step, op: str) -> str:
    """The mark of an operation that leaves something behind in the cloud."""
    return "[retain]" if op in _RETAINED and step.old is not None and step.old.retain_on_delete else ""


def is_stack(urn: str) -> bool:
    """Whether this is the URN of a stack itself."""
    return urn.split("::", 3)[2:3] == [STACK_TYPE]


def is_shown(step: Step, show_sames: bool, show_parts: bool = True) -> bool:
    """Whether users are told about a step. Unchanged resources are left out, unless their protection changed."""
    if step.op == SAME:
        assert step.old is not None
        assert step.new is not None
        return show_sames or step.old.protect != step.new.protect
    return show_parts or step.op not in (*_PARTS, REMOVE_PENDING_REPLACE)


def summary_text(counts: Mapping[str, int], preview: bool, errored: int = 0) -> str:
    """The `Resources:` block: a line for each kind of change, the totals, and how many had errors."""
    lines = ["Resources:"]
    kinds = [(op, counts[op]) for op in _SUMMARY if counts.get(op)]
    lines += [f"    {MARK[op]}{count} {f'to {op}' if preview else _SUMMARY[op]}" for op, count in kinds]
    totals = [f"{sum(count for _, count in kinds)} changes"] if len(kinds) > 1 else []
    if counts.get(SAME):
        totals.append(f"{counts[SAME]} unchanged")
    if totals:
        lines.append("    " + ". ".join(totals))
    if errored:
        lines.append(f"    {errored} errored")
    return "\n".join(lines)


def duration_text(seconds: float) -> str:
    """`Duration: 1m5s`, rounded up to whole seconds."""
    whole = max(0, -int(-seconds // 1))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    text = f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"
    return f"Duration: {text}"


def has_changes(counts: Mapping[str, int]) -> bool:
    """Whether anything but `same` was counted."""
    return any(count for op, count in counts.items() if op != SAME)
