# ruff: noqa: E501 - a program of a scenario is one line of the table
"""What goes wrong, gets in the way, or is left over: the second half of the table in `scenarios.py`."""

from tests.pulumi_embedded.scenario import CHAIN, EMPTY, ONE, Scenario, destroy, fault, preview, refresh, up

TWO = 'a = Thing("a", value=1)\nThing("b", value=a.url)'
_X = "urn:pulumi:dev::shop::demo:index:Thing::x"
_BETWEEN = 'g = Group("g")\nh = Group("h")\n'
_TREE = 'o = Group("o")\ng = Group("g", O(parent=o))\na = Thing("a", O(parent=g), value=1)\nThing("b", O(parent=a), value=a.url)'
_KEYED = 'p = Demo("p", token=pulumi.Output.secret("{}"))\na = Thing("a", O(provider=p), value=1)\nThing("b", O(provider=p), value=a.url)'

EVERY_DAY = {
    "pending_creating", "interrupt_create_that_finishes", "refresh_unreachable", "provider_exits_update",
    "init_failed_get", "delete_first_delete_fails", "alias_reparent_between_components", "import_with_protect",
}  # fmt: skip
"""Those that the everyday run can afford; the others go with the runs that have the CLI."""

RARE = [
    # Operations that a killed engine left
    Scenario("pending_creating", (
        up(ONE), up(pending=[("creating", "x")]), preview(), refresh(), refresh("--skip-pending-creates"),
        refresh("--clear-pending-creates"), up(),
    )),
    Scenario("pending_others", (
        up(CHAIN), up(pending=[("updating", "a"), ("deleting", "b"), ("reading", "x"), ("importing", "y")]),
        refresh(pending=[("updating", "a"), ("deleting", "c")]),
        destroy(pending=[("updating", "a"), ("creating", "x")]),
    ), handover=False, ordered=False),
    Scenario("pending_creating_piles_up", (
        up(ONE), up('Thing("a", value=1)\nThing("x", value=1)', pending=[("creating", "x"), ("creating", "x"), ("creating", "y")]),
        refresh("--clear-pending-creates"), up(),
    ), ordered=False),
    Scenario("pending_creating_what_is_there", (up(ONE), up('Thing("a", value=2)', pending=[("creating", "a")]), destroy()), handover=False),
    Scenario("pending_creating_and_a_failure", (
        up(ONE), up('Thing("a", value=2)', pending=[("creating", "x"), ("updating", "a")], faults=[fault("update", "a")]), up(),
    ), handover=False),
    Scenario("pending_creates_both_flags", (up(ONE), refresh("--skip-pending-creates", "--clear-pending-creates", pending=[("creating", "x")])), handover=False),
    Scenario("pending_up_refresh", (up(ONE), up(None, "--refresh", pending=[("updating", "a"), ("creating", "x")])), handover=False),
    # Ctrl-C
    Scenario("interrupt_create", (up(TWO, faults=[fault("create", "a", "hang")], interrupt=("create", "a", 1)), up())),
    Scenario("interrupt_create_that_finishes", (up(TWO, faults=[fault("create", "a", "slow", seconds=1)], interrupt=("create", "a", 1)), up())),
    Scenario("interrupt_create_that_half_succeeds", (
        up(TWO, faults=[fault("create", "a", "slow", seconds=1), fault("create", "b", "error")], interrupt=("create", "a", 1)), up(),
    )),
    Scenario("interrupt_update", (up(TWO), up('a = Thing("a", value=2)\nThing("b", value=a.serial)', faults=[fault("update", "a", "hang")], interrupt=("update", "a", 1)), up())),
    Scenario("interrupt_delete", (up(CHAIN), destroy(faults=[fault("delete", "b", "hang")], interrupt=("delete", "b", 1)), destroy()), handover=False),
    Scenario("interrupt_delete_that_finishes", (up(CHAIN), up(EMPTY, faults=[fault("delete", "b", "slow", seconds=1)], interrupt=("delete", "b", 1)), up())),
    Scenario("interrupt_replace_delete_first", (
        up('a = Thing("a", fixed=1, dbr=True)\nThing("b", value=a.url)'),
        up('a = Thing("a", fixed=2, dbr=True)\nThing("b", value=a.url)', faults=[fault("delete", "a", "slow", seconds=1)], interrupt=("delete", "a", 1)), up(),
    ), ordered=False),
    Scenario("interrupt_replace_create_first", (
        up('a = Thing("a", fixed=1)\nThing("b", value=a.url)'),
        up('a = Thing("a", fixed=2)\nThing("b", value=a.url)', faults=[fault("create", "a", "slow", seconds=1)], interrupt=("create", "a", 1)), up(),
    ), ordered=False),
    Scenario("interrupt_refresh", (up(ONE), refresh(faults=[fault("read", "a", "hang")], interrupt=("read", "a", 1)), up()), handover=False),
    Scenario("interrupt_twice", (up(ONE, faults=[fault("create", "a", "slow", seconds=8)], interrupt=("create", "a", 2)), up()), handover=False),
    Scenario("interrupt_twice_update", (up(ONE), up('Thing("a", value=2)', faults=[fault("update", "a", "slow", seconds=8)], interrupt=("update", "a", 2)), up()), handover=False),
    # The cloud cannot be asked
    Scenario("refresh_unreachable", (up(CHAIN), refresh(faults=[fault("read", "b", "unreachable")]), refresh()), ordered=False),
    Scenario("up_refresh_unreachable", (up(ONE), up('Thing("a", value=2)', "--refresh", faults=[fault("read", "a", "unreachable")]), up()), ordered=False),
    Scenario("destroy_refresh_unreachable", (up(ONE), destroy("--refresh", faults=[fault("read", "a", "unreachable")]), destroy()), handover=False, ordered=False),
    Scenario("get_unreachable", (up('Thing("a", O(id="found"))', cloud={"+found": {"value": 7}}, faults=[fault("read", "a", "unreachable")]), up())),
    Scenario("import_unreachable", (up('Thing("a", O(import_="found"), value=7)', cloud={"+found": {"value": 7, "tier": "basic"}}, faults=[fault("read", "a", "unreachable")]), up())),
    # The plugin dies
    Scenario("provider_exits_update", (up(TWO), up('a = Thing("a", value=2)\nThing("b", value=a.url)', faults=[fault("update", "a", "exit")]), up())),
    Scenario("provider_exits_delete", (up(CHAIN), destroy(faults=[fault("delete", "c", "exit")]), destroy()), handover=False),
    Scenario("provider_exits_read", (up(ONE), refresh(faults=[fault("read", "a", "exit")]), refresh())),
    Scenario("provider_exits_check", (up(ONE, faults=[fault("check", "a", "exit")]), up())),
    Scenario("provider_exits_diff", (up(ONE), up('Thing("a", value=2)', faults=[fault("diff", "a", "exit")]), up())),
    # Half done, and repaired
    Scenario("init_failed_create_then_destroy", (up(ONE, faults=[fault("create", "a", "init")]), destroy()), handover=False),
    Scenario("init_failed_twice", (up(ONE, faults=[fault("create", "a", "init")]), up(None, faults=[fault("update", "a", "init")]), up(), up())),
    Scenario("init_failed_update_then_reverted", (up(ONE), up('Thing("a", value=2)', faults=[fault("update", "a", "init")]), preview(ONE), up(), up())),
    Scenario("init_failed_replacement", (up('Thing("a", fixed=1)'), up('Thing("a", fixed=2)', faults=[fault("create", "a", "init")]), up(), up()), ordered=False),
    Scenario("init_failed_replacement_delete_first", (
        up('Thing("a", fixed=1, dbr=True)'), up('Thing("a", fixed=2, dbr=True)', faults=[fault("create", "a", "init")]), up(), up(),
    )),
    Scenario("init_failed_read_is_healed_by_a_refresh", (up(ONE), refresh(faults=[fault("read", "a", "init")]), refresh(), up())),
    Scenario("init_failed_read_then_up_refresh", (up(ONE), up(None, "--refresh", faults=[fault("read", "a", "init")]), up())),
    Scenario("init_failed_import", (up('Thing("a", O(import_="found"), value=7)', cloud={"+found": {"value": 7, "tier": "basic"}}, faults=[fault("read", "a", "init")]), up(), up())),
    Scenario("init_failed_get", (up('Thing("a", O(id="found"))', cloud={"+found": {"value": 7}}, faults=[fault("read", "a", "init")]), up())),
    Scenario("init_failed_with_dependent", (up(TWO, faults=[fault("create", "a", "init")]), up(), up())),
    Scenario("delete_first_delete_fails", (
        up('a = Thing("a", fixed=1, dbr=True)\nThing("b", fixed=a.url)'),
        up('a = Thing("a", fixed=2, dbr=True)\nThing("b", fixed=a.url)', faults=[fault("delete", "a")]), up(), up(),
    ), ordered=False),
    Scenario("delete_first_dependent_delete_fails", (
        up('a = Thing("a", fixed=1, dbr=True)\nThing("b", fixed=a.url)'),
        up('a = Thing("a", fixed=2, dbr=True)\nThing("b", fixed=a.url)', faults=[fault("delete", "b")]), up(), up(),
    ), ordered=False),
    Scenario("delete_first_dependent_create_fails", (
        up('a = Thing("a", fixed=1, dbr=True)\nThing("b", fixed=a.url)'),
        up('a = Thing("a", fixed=2, dbr=True)\nThing("b", fixed=a.url)', faults=[fault("create", "b")]), preview(), up(), up(),
    ), ordered=False),
    Scenario("delete_first_create_fails_then_destroy", (
        up('Thing("a", fixed=1, dbr=True)'), up('Thing("a", fixed=2, dbr=True)', faults=[fault("create", "a")]), refresh(), destroy(),
    ), handover=False),
    Scenario("delete_of_replaced_fails_then_destroy", (up('Thing("a", fixed=1)'), up('Thing("a", fixed=2)', faults=[fault("delete", "a")]), refresh(), destroy()), handover=False, ordered=False),
    Scenario("delete_of_replaced_fails_then_removed", (up('Thing("a", fixed=1)'), up('Thing("a", fixed=2)', faults=[fault("delete", "a")]), preview(EMPTY), up()), ordered=False),
    Scenario("program_error_while_steps_run", (
        up('import asyncio\nasync def main():\n    Thing("a", value=1)\n    await asyncio.sleep(1)\n    raise ValueError("no")\npulumi.run(main)', faults=[fault("create", "a", "slow", seconds=3)]), up(ONE),
    )),
    Scenario("failure_while_steps_run", (
        up('import asyncio\nasync def main():\n    Thing("a", value=1)\n    await asyncio.sleep(1)\n    Thing("b", value=1)\npulumi.run(main)', faults=[fault("create", "a", "slow", seconds=4), fault("create", "b")]), up(),
    ), ordered=False),
    # Options in odd places
    Scenario("alias_reparent_between_components", (
        up(_BETWEEN + 'a = Thing("a", O(parent=g), value=1)\nThing("b", O(parent=a), value=a.url)'),
        up(_BETWEEN + 'a = Thing("a", O(parent=h, aliases=[pulumi.Alias(parent=g)]), value=1)\nThing("b", O(parent=a), value=a.url)'), up(),
    ), ordered=False),
    Scenario("alias_reparent_and_rename", (
        up(_BETWEEN + 'Thing("a", O(parent=g), value=1)'), up(_BETWEEN + 'Thing("z", O(parent=h, aliases=[pulumi.Alias(name="a", parent=g)]), value=2)'),
    ), ordered=False),
    Scenario("alias_component_moves_with_its_children", (
        up(_TREE),
        up(_TREE.replace('Group("g", O(parent=o))', 'Group("g", O(aliases=[pulumi.Alias(parent=o)]))')), up(EMPTY),
    ), ordered=False),
    Scenario("alias_component_type", (
        up('g = Group("g")\nThing("a", O(parent=g), value=1)'),
        up('g = Group("g", O(aliases=[pulumi.Alias(type_="demo:index:Group")]), typ="demo:index:Crowd")\nThing("a", O(parent=g), value=1)'), up(),
    ), ordered=False),
    Scenario("alias_and_replace", (up(TWO.replace("value=1", "fixed=1")), up('a = Thing("z", O(aliases=[pulumi.Alias(name="a")]), fixed=2)\nThing("b", value=a.url)'), up()), ordered=False),
    Scenario("alias_and_failure", (
        up(TWO), up('a = Thing("z", O(aliases=[pulumi.Alias(name="a")]), value=2)\nThing("b", value=a.url)', faults=[fault("update", "z")]), up(),
    ), ordered=False),
    Scenario("alias_of_a_provider", (
        up('p = Demo("p", region="eu")\nThing("a", O(provider=p), value=1)'),
        up('p = Demo("q", O(aliases=[pulumi.Alias(name="p")]), region="eu")\nThing("a", O(provider=p), value=1)'), up(),
    ), ordered=False),
    Scenario("retain_on_delete_replace_delete_first", (
        up('a = Thing("a", O(retain_on_delete=True), fixed=1, dbr=True)\nThing("b", fixed=a.url)'),
        up('a = Thing("a", O(retain_on_delete=True), fixed=2, dbr=True)\nThing("b", fixed=a.url)'),
    ), ordered=False),
    Scenario("retain_on_delete_from_component", (up('g = Group("g", O(retain_on_delete=True))\nThing("a", O(parent=g), value=1)'), destroy()), handover=False, ordered=False),
    Scenario("deleted_with_chain", (
        up('a = Thing("a", value=1)\nb = Thing("b", O(deleted_with=a), value=1)\nThing("c", O(deleted_with=b), value=1)'), destroy(),
    ), handover=False, ordered=False),
    Scenario("deleted_with_chain_replaced", (
        up('a = Thing("a", fixed=1)\nb = Thing("b", O(deleted_with=a), value=1)\nThing("c", O(deleted_with=b), value=1)'),
        up('a = Thing("a", fixed=2)\nb = Thing("b", O(deleted_with=a), value=1)\nThing("c", O(deleted_with=b), value=1)'),
    ), ordered=False),
    Scenario("deleted_with_and_the_target_fails", (
        up('a = Thing("a", value=1)\nThing("b", O(deleted_with=a), value=1)'), destroy(faults=[fault("delete", "a")]), destroy(),
    ), handover=False, ordered=False),
    Scenario("deleted_with_alone", (up('a = Thing("a", value=1)\nThing("b", O(deleted_with=a), value=1)'), up('a = Thing("a", value=1)'))),
    Scenario("secrets_nested_and_revealed", (
        up('a = Thing("a", tags={"x": [1, {"k": pulumi.Output.secret("deep-secret")}]}, value=1)\nThing("b", value=a.tags if hasattr(a, "tags") else None)\npulumi.export("o", {"in": [pulumi.Output.secret("deeper-secret")]})'),
        up('Thing("a", tags={"x": [1, {"k": "deep-secret"}]}, value=1)\npulumi.export("o", {"in": ["deeper-secret"]})'),
    ), ordered=False),
    Scenario("additional_secret_outputs_refreshed", (
        up('Thing("a", O(additional_secret_outputs=["url", "serial"]), value=1)'), refresh(), refresh(cloud={"a": {"value": 2}}), up(), up('Thing("a", value=1)'),
    )),
    Scenario("provider_key_rotation_explicit", (
        up(_KEYED.format("first-token")), preview(_KEYED.format("second-token")), up(), refresh(), destroy(),
    ), handover=False, ordered=False),
    Scenario("provider_key_rotation_fails_midway", (
        up(_KEYED.format("first-token")),
        up(_KEYED.format("second-token").replace("value=1", "value=2"), faults=[fault("update", "a")]), up(), up(),
    ), ordered=False),
    Scenario("provider_replaced_delete_first_with_dependents", (
        up('p = Demo("p", O(delete_before_replace=True), region="eu")\na = Thing("a", O(provider=p), value=1)\nThing("b", value=a.url)'),
        up('p = Demo("p", O(delete_before_replace=True), region="us")\na = Thing("a", O(provider=p), value=1)\nThing("b", value=a.url)'), up(),
    ), ordered=False),
    Scenario("custom_timeouts_everywhere", (
        up('Thing("a", O(custom_timeouts=pulumi.CustomTimeouts(create="5m", update="6m", delete="7m")), fixed=1)'),
        up('Thing("a", O(custom_timeouts=pulumi.CustomTimeouts(create="8m", update="9m", delete="10m")), fixed=2)'), refresh(), destroy(),
    ), handover=False),
    Scenario("ignore_changes_and_refresh", (
        up('Thing("a", O(ignore_changes=["value"]), value=1, other=1)'), refresh(cloud={"a": {"value": 99, "other": 98}}), preview(), up(), up(None, "--refresh", cloud={"a": {"value": 97}}),
    )),
    Scenario("protect_and_replace_delete_first", (up('Thing("a", O(protect=True), fixed=1, dbr=True)'), preview('Thing("a", O(protect=True), fixed=2, dbr=True)'), up(), up('Thing("a", fixed=2, dbr=True)')), ordered=False),
    Scenario("import_with_protect", (
        up('Thing("a", O(import_="found", protect=True), value=7)', cloud={"+found": {"value": 7, "tier": "basic"}}), up(), destroy(), up('Thing("a", value=7)'), destroy(),
    ), handover=False),
    Scenario("import_with_ignore_changes", (up('Thing("a", O(import_="found", ignore_changes=["value"]), value=8)', cloud={"+found": {"value": 7, "tier": "basic"}}), up())),
    Scenario("import_check_failure", (up('Thing("a", O(import_="found"), value="bad")', cloud={"+found": {"value": 7, "tier": "basic"}}), up('Thing("a", O(import_="found"), value=7)'))),
    Scenario("import_many", (up('a = Thing("a", O(import_="one"), value=7)\nThing("b", O(import_="two"), value=a.url)', cloud={"+one": {"value": 7, "tier": "basic"}, "+two": {"value": "demo://one", "tier": "basic"}}), up())),
    Scenario("replace_on_changes_of_a_secret", (
        up('Thing("a", O(replace_on_changes=["password"]), password="hunter22")'), up('Thing("a", O(replace_on_changes=["password"]), password="hunter33")'),
        up('Plain("b", O(replace_on_changes=["s.x"]), s=pulumi.Output.secret({"x": 1, "y": 1}))'), up('Plain("b", O(replace_on_changes=["s.x"]), s=pulumi.Output.secret({"x": 2, "y": 1}))'),
    ), ordered=False),
    Scenario("depends_on_a_component_of_components", (
        up('o = Group("o")\ng = Group("g", O(parent=o))\nThing("a", O(parent=g), value=1)\nThing("b", O(depends_on=[o]), value=1)'),
        up('o = Group("o")\ng = Group("g", O(parent=o))\nThing("a", O(parent=g), value=1)\nThing("n", O(parent=g), value=1)\nThing("b", O(depends_on=[o]), value=1)'), destroy(),
    ), handover=False, ordered=False),
    Scenario("component_with_a_failing_child", (
        up('g = Group("g")\na = Thing("a", O(parent=g), value=1)\ng.register_outputs({"u": a.url})\nThing("b", O(depends_on=[g]), value=1)', faults=[fault("create", "a")]), up(), up(),
    ), ordered=False),
    Scenario("component_child_is_removed", (
        up('g = Group("g")\na = Thing("a", O(parent=g), value=1)\nThing("b", O(depends_on=[g]), value=1)'), up('g = Group("g")\nThing("b", O(depends_on=[g]), value=1)'),
    ), ordered=False),
    # Exit codes
    Scenario("expect_no_changes_elsewhere", (
        up(ONE), refresh("--expect-no-changes"), refresh("--expect-no-changes", cloud={"a": {"value": 5}}), up(None, "--refresh", "--expect-no-changes", cloud={"a": {"value": 6}}),
    ), handover=False),
    Scenario("destroy_what_is_empty", (destroy(), refresh(), preview(EMPTY), up(EMPTY), destroy()), handover=False),
    Scenario("continue_on_error_destroy", (up(CHAIN + 'Thing("d", value=1)\n'), destroy("--continue-on-error", faults=[fault("delete", "b")]), destroy()), handover=False, ordered=False),
    Scenario("continue_on_error_update", (
        up(CHAIN), up('a = Thing("a", value=2)\nb = Thing("b", value=a.serial)\nThing("c", O(depends_on=[b]), value=4)\nThing("d", value=1)', "--continue-on-error", faults=[fault("update", "a")]), up(),
    ), ordered=False),
    Scenario("continue_on_error_check_failure", (up('b = Thing("b", value=1)\nThing("a", O(depends_on=[b]), value="bad")', "--continue-on-error"),), handover=False),
]  # fmt: skip
