"""Scenarios that random programs led to: each the smallest form of a difference between the engines, now mended.

`recorded/random_<name>.json` holds what the pulumi CLI did; `random_record.py` records it.
"""

from tests.pulumi_embedded.scenario import Scenario, fault, up

_SKIPPED = """
a = Thing("a", value=1)
b = Thing("b", value=["x", a.url], password=a.url)
Thing("c", value={"deep": b.url})
"""

FOUND = [
    # Outputs of what failed are unknown in an update too; Check is asked without them, and then the step is skipped.
    Scenario(
        "random_half_made_then_skipped",
        (up(_SKIPPED, "--continue-on-error", faults=[fault("create", "a", "init")]), up()),
    ),
    # Where a reference is rewritten for a new name, the CLI leaves properties without dependencies out of the map.
    Scenario(
        "random_renamed_dependency",
        (
            up('a = Thing("a", value=1)\nThing("b", value=a.url, n=1)\nThing("c", O(depends_on=[a]), value=1)'),
            up('Thing("z", O(aliases=[pulumi.Alias(name="a")]), value=1)', faults=[fault("delete", "b")]),
            up('Thing("z", O(aliases=[pulumi.Alias(name="a")]), value=1)'),
        ),
        ordered=False,
    ),
    # Outputs are secret where the new inputs are, also when the update failed half-way and the old inputs are kept.
    Scenario(
        "random_secret_of_a_half_update",
        (
            up('Thing("a", n=pulumi.Output.secret(5), m=1)'),
            up('Thing("a", n=True, m=pulumi.Output.secret(2))', faults=[fault("update", "a", "init")]),
            up(),
        ),
    ),
]
