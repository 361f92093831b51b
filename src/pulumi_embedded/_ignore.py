"""ignoreChanges: the old inputs put back where the user asked that changes be ignored."""

from collections.abc import Callable, Sequence

from pulumi_embedded._paths import parse_path, reset
from pulumi_embedded._values import PropertyMap, deep_copy


def with_ignored_changes(
    inputs: PropertyMap, old: PropertyMap, paths: Sequence[str], urn: str, info: Callable[[str, str], None]
) -> PropertyMap:
    """A copy of `inputs` with the old values at `paths`; a path that cannot be followed is told to `info`."""
    if not paths:
        return inputs
    result: PropertyMap = deep_copy(inputs)
    failed = []
    for text in paths:
        try:
            path = parse_path(text)
        except ValueError:
            continue
        if not reset(path, old, result):
            failed.append(text)
    if failed:
        info(urn, f'cannot ignore changes in added or removed elements of the path: "{", ".join(failed)}"')
    return result
