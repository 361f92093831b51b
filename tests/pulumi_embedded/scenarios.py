# ruff: noqa: E501 - a program of a scenario is one line of the table
"""What both engines must do alike: programs, edits, faults, commands.

`recorded/<name>.json` holds what the pulumi CLI did. A scenario is recorded before the engine learns it.
"""

from tests.pulumi_embedded.scenario import CHAIN, EMPTY, ONE, Scenario, destroy, fault, preview, refresh, up
from tests.pulumi_embedded.scenarios_rare import RARE

SCENARIOS = [
    Scenario("create_same_destroy", (preview(CHAIN), up(), up(), destroy()), quick=True, handover=False),
    Scenario("update", (up(ONE), preview('Thing("a", value=2)'), up())),
    Scenario("update_nested", (
        up('Thing("a", tags={"x": [1, 2], "y": {"z": "q", "k.x": 1}})'),
        up('Thing("a", tags={"x": [1, 3, 4], "y": {"z": "r"}, "n": True})'),
    )),
    Scenario("null_and_numbers", (up('Thing("a", value=None, n=3, f=2.5, big=1e20)'), up('Thing("a", value=0, n=3.0, f=2.5)'))),
    Scenario("delete_removed", (up(CHAIN), up('a = Thing("a", value=1)\nThing("b", value=a.url)'))),
    Scenario("delete_order", (up(CHAIN), preview(EMPTY), up())),
    Scenario("replace_create_first", (
        up('a = Thing("a", fixed=1)\nb = Thing("b", value=a.url)'),
        preview('a = Thing("a", fixed=2)\nb = Thing("b", value=a.url)'), up(),
    )),
    Scenario("replace_with_replaced_dependent", (
        up('a = Thing("a", fixed=1)\nb = Thing("b", fixed=a.url)'),
        up('a = Thing("a", fixed=2)\nb = Thing("b", fixed=a.url)'),
    )),
    Scenario("replace_delete_first", (
        up('a = Thing("a", fixed=1, dbr=True)\nb = Thing("b", fixed=a.url)\nc = Thing("c", value=b.url)\nThing("d", O(depends_on=[a]), value=1)'),
        preview('a = Thing("a", fixed=2, dbr=True)\nb = Thing("b", fixed=a.url)\nc = Thing("c", value=b.url)\nThing("d", O(depends_on=[a]), value=1)'),
        up(),
    ), quick=True, ordered=False),
    Scenario("delete_first_by_option", (
        up('Thing("a", O(delete_before_replace=True), fixed=1)'), up('Thing("a", O(delete_before_replace=True), fixed=2)'),
    )),
    Scenario("create_first_by_option", (
        up('Thing("a", O(delete_before_replace=False), fixed=1, dbr=True)'),
        up('Thing("a", O(delete_before_replace=False), fixed=2, dbr=True)'),
    )),
    Scenario("delete_first_create_fails", (
        up('Thing("a", O(delete_before_replace=True), fixed=1)'),
        up('Thing("a", O(delete_before_replace=True), fixed=2)', faults=[fault("create", "a")]),
        up(),
    )),
    Scenario("delete_first_create_fails_then_removed", (
        up('Thing("a", O(delete_before_replace=True), fixed=1)'),
        up('Thing("a", O(delete_before_replace=True), fixed=2)', faults=[fault("create", "a")]),
        up(EMPTY),
    )),
    Scenario("delete_of_replaced_fails", (
        up('Thing("a", fixed=1)'), up('Thing("a", fixed=2)', faults=[fault("delete", "a")]), up(),
    )),
    Scenario("replaced_twice_with_leftover", (
        up('Thing("a", fixed=1)'), up('Thing("a", fixed=2)', faults=[fault("delete", "a")]),
        up('Thing("a", fixed=3)', faults=[fault("delete", "a", times=2)]), up(),
    ), ordered=False),
    Scenario("failed_create", (up('a = Thing("a", value=1)\nThing("b", value=a.url)', faults=[fault("create", "a")]), up())),
    Scenario("failed_create_unknown", (up(ONE, faults=[fault("create", "a", "internal")]), up())),
    Scenario("failed_update", (up(ONE), up('Thing("a", value=2)', faults=[fault("update", "a")]), up())),
    Scenario("failed_delete", (up(CHAIN), up(EMPTY, faults=[fault("delete", "b")]), up())),
    Scenario("failed_read", (up(ONE), refresh(faults=[fault("read", "a")]), refresh())),
    Scenario("init_failed_create", (up(ONE, faults=[fault("create", "a", "init")]), preview(), up(), up()), quick=True),
    Scenario("init_failed_update", (up(ONE), up('Thing("a", value=2)', faults=[fault("update", "a", "init")]), up())),
    Scenario("init_failed_replace_on_initerror", (
        up('Thing("a", O(replace_on_changes=["#initerror"]), value=1)', faults=[fault("create", "a", "init")]), up(),
    )),
    Scenario("init_failed_read", (up(ONE), refresh(faults=[fault("read", "a", "init")]), up(), up())),
    Scenario("provider_exits", (up(ONE, faults=[fault("create", "a", "exit")]), up())),
    Scenario("check_failure", (preview('Thing("a", value="bad")'), up(), up('Thing("a", value="good")'))),
    Scenario("check_error", (up(ONE, faults=[fault("check", "a")]),), handover=False),
    Scenario("diff_error", (up(ONE), up('Thing("a", value=2)', faults=[fault("diff", "a")]), up())),
    Scenario("program_error_first", (up(CHAIN), up('raise ValueError("no")')), handover=False),
    Scenario("program_error_after", (up(CHAIN), up('Thing("a", value=1)\nraise ValueError("no")'), up(CHAIN))),
    Scenario("program_exits", (up('import sys\nsys.exit(3)'),), handover=False),
    Scenario("program_run_error", (up('raise pulumi.RunError("stop")'),), handover=False),
    Scenario("program_logs_error", (up(CHAIN), up('Thing("a", value=1)\npulumi.log.error("oh")')), handover=False),
    Scenario("program_async", (up('async def main():\n    return {"n": Thing("a", value=1).url}\npulumi.run(main)'),)),
    Scenario("duplicate_urn", (up('a = Thing("a", value=1)\nThing("a", O(depends_on=[a]), value=2)'),), handover=False),
    Scenario("protect", (
        up('Thing("a", O(protect=True), fixed=1)'), preview('Thing("a", O(protect=True), fixed=2)'), up(), up(EMPTY),
        destroy(), up('Thing("a", fixed=2)'), destroy(),
    ), handover=False),
    Scenario("protect_lets_others_go", (
        up('a = Thing("a", O(protect=True), value=1)\nb = Thing("b", O(depends_on=[a]), value=1)\nThing("c", value=1)'),
        destroy(),
    ), handover=False, ordered=False),
    Scenario("protect_dependent", (
        up('a = Thing("a", fixed=1, dbr=True)\nThing("b", O(protect=True), fixed=a.url)'),
        up('a = Thing("a", fixed=2, dbr=True)\nThing("b", O(protect=True), fixed=a.url)'),
    ), handover=False),
    Scenario("retain_on_delete", (up('Thing("a", O(retain_on_delete=True), fixed=1)'), up('Thing("a", O(retain_on_delete=True), fixed=2)'), up(EMPTY))),
    Scenario("deleted_with", (
        up('a = Thing("a", value=1)\nThing("b", O(deleted_with=a), value=1)'), destroy(),
    ), handover=False),
    Scenario("deleted_with_replaced", (
        up('a = Thing("a", fixed=1)\nThing("b", O(deleted_with=a), value=1)'),
        up('a = Thing("a", fixed=2)\nThing("b", O(deleted_with=a), value=1)'),
    )),
    Scenario("deleted_with_replaced_delete_first", (
        up('a = Thing("a", fixed=1, dbr=True)\nThing("b", O(deleted_with=a), value=1)'),
        up('a = Thing("a", fixed=2, dbr=True)\nThing("b", O(deleted_with=a), value=1)'),
    )),
    Scenario("replace_with", (
        up('a = Thing("a", fixed=1)\nThing("b", O(replace_with=[a]), value=1)'),
        up('a = Thing("a", fixed=2)\nThing("b", O(replace_with=[a]), value=1)'),
    )),
    Scenario("replacement_trigger", (
        up('Thing("a", O(replacement_trigger="x"), value=1)'), up(), up('Thing("a", O(replacement_trigger="y"), value=1)'),
        up('Thing("a", value=1)'),
    )),
    Scenario("ignore_changes", (
        up('Thing("a", O(ignore_changes=["value", "tags.x", "list[*].k", "gone"]), value=1, tags={"x": 1, "y": 1}, list=[{"k": 1, "j": 1}], gone=1)'),
        preview('Thing("a", O(ignore_changes=["value", "tags.x", "list[*].k", "gone"]), value=2, tags={"x": 2, "y": 1}, list=[{"k": 2, "j": 1}])'),
        up(),
        up('Thing("a", O(ignore_changes=["value"]), value=2, tags={"x": 2, "y": 1}, list=[{"k": 2, "j": 1}], gone=1)'),
    )),
    Scenario("ignore_changes_added", (
        up('Thing("a", O(ignore_changes=["extra", "tags.n"]), tags={"y": 1})'),
        up('Thing("a", O(ignore_changes=["extra", "tags.n"]), tags={"y": 1, "n": 1}, extra=1)'),
    )),
    Scenario("ignore_changes_plain", (
        up('Plain("a", O(ignore_changes=["value"]), value=1, other=1)'), up('Plain("a", O(ignore_changes=["value"]), value=2, other=1)'),
        up('Plain("a", O(ignore_changes=["value"]), value=2, other=2)'),
    )),
    Scenario("replace_on_changes", (
        up('Thing("a", O(replace_on_changes=["tags.x"]), tags={"x": 1, "y": 1})'),
        up('Thing("a", O(replace_on_changes=["tags.x"]), tags={"x": 1, "y": 2})'),
        up('Thing("a", O(replace_on_changes=["tags.x"]), tags={"x": 2, "y": 2})'),
        up('Thing("a", O(replace_on_changes=["*"]), tags={"x": 2, "y": 3})'),
    )),
    Scenario("plain_diff", (
        up('Plain("a", value=1, l=[1, 2], s=pulumi.Output.secret("hush hush"))'), up(),
        up('Plain("a", value=1, l=[1], s=pulumi.Output.secret("hush hush"))'), up('Plain("a", value=1, l=[1], s="hush hush")'),
        up('Plain("a", l=[1])'),
    )),
    Scenario("alias_rename", (up(CHAIN), preview(CHAIN.replace('Thing("a", value=1)', 'Thing("z", O(aliases=[pulumi.Alias(name="a")]), value=1)')), up(), up())),
    Scenario("alias_urn_and_type", (
        up('Thing("a", value=1)'),
        up('Plain("a", O(aliases=["urn:pulumi:dev::shop::demo:index:Thing::a"]), value=1, tier="basic")'),
    )),
    Scenario("alias_reparent", (
        up('Thing("a", value=1)'), up('g = Group("g")\nThing("a", O(parent=g, aliases=[pulumi.Alias(parent=pulumi.ROOT_STACK_RESOURCE)]), value=1)'),
    )),
    Scenario("alias_component_rename", (
        up('g = Group("g")\na = Thing("g-a", O(parent=g), value=1)\nThing("b", O(parent=a), value=a.url)'),
        up('g = Group("h", O(aliases=[pulumi.Alias(name="g")]))\na = Thing("h-a", O(parent=g), value=1)\nThing("b", O(parent=a), value=a.url)'),
    )),
    Scenario("alias_conflict", (
        up('Thing("a", value=1)'), up('a = Thing("a", value=1)\nThing("b", O(depends_on=[a], aliases=[pulumi.Alias(name="a")]), value=1)'),
    ), handover=False),
    Scenario("component", (
        up('g = Group("g", x=1)\na = Thing("a", O(parent=g), value=1)\ng.register_outputs({"u": a.url})'), up(),
        preview('g = Group("g", x=2)\na = Thing("a", O(parent=g), value=1)\ng.register_outputs({"u": "new"})'), up(), up(EMPTY),
    )),
    Scenario("component_depends_on", (
        up('g = Group("g")\na = Thing("a", O(parent=g), value=1)\nThing("b", O(depends_on=[g]), value=1)'), destroy(),
    ), handover=False),
    Scenario("component_to_custom", (
        up('Group("x", typ="demo:index:Thing")'), up('Thing("x", value=1)'), up('Group("x", typ="demo:index:Thing")'),
    )),
    Scenario("component_inherits", (
        up('p = Demo("p", region="eu")\ng = Group("g", O(providers=[p], protect=True))\nThing("a", O(parent=g), value=1)\nThing("b", O(parent=g, protect=False), value=1)'),
        up('p = Demo("p", region="eu")\ng = Group("g", O(providers=[p]))\nThing("a", O(parent=g), value=1)'),
        up(EMPTY),
    ), ordered=False),
    Scenario("explicit_provider", (
        preview('p = Demo("p", region="eu")\nThing("a", O(provider=p), value=1)'), up(), up(),
        up('p = Demo("p", region="eu", extra="x")\nThing("a", O(provider=p), value=1)'), up(EMPTY),
    ), ordered=False),
    Scenario("provider_replaced", (
        up('p = Demo("p", region="eu")\nThing("a", O(provider=p), value=1)'),
        preview('p = Demo("p", region="us")\nThing("a", O(provider=p), value=1)'), up(),
    ), ordered=False),
    Scenario("provider_switched", (
        up('Thing("a", value=1)'), up('p = Demo("p", region="eu")\nThing("a", O(provider=p), value=1)'), up('Thing("a", value=1)'),
    ), ordered=False),
    Scenario("provider_unknown_config", (
        preview('k = Thing("k", value=1)\np = Demo("p", token=k.url)\nThing("a", O(provider=p), value=1)'), up(),
    ), ordered=False),
    Scenario("provider_check_failure", (up('p = Demo("p", region="nowhere")\nThing("a", O(provider=p), value=1)'),), handover=False),
    Scenario("provider_key_rotation", (
        up(ONE, config={"demo:token": "secret:first-token"}), up(config={"demo:token": "secret:second-token"}), up(), destroy(),
    ), handover=False),
    Scenario("default_providers_disabled", (up(ONE, config={"pulumi:disable-default-providers": '["demo"]'}),), handover=False),
    Scenario("version_and_second_default", (
        up('Thing("a", O(version="1.2.3"), value=1)'), up('Thing("a", O(version="1.2.4"), value=1)'),
    ), ordered=False),
    Scenario("secrets", (
        up('a = Thing("a", password="hunter22", value=pulumi.Output.secret({"deep": ["hidden-one"]}))\nThing("b", O(additional_secret_outputs=["url", "nope"]), value=a.password if hasattr(a, "password") else 1)\npulumi.export("s", pulumi.Output.secret("exported-secret"))'),
        up(), refresh(), up('Thing("a", password="hunter33", value=1)'), up(),
    )),
    Scenario("secret_config", (
        up('c = pulumi.Config()\nThing("a", value=c.require_secret("key"), n=c.get_int("n"), o=c.get_object("o"))\npulumi.export("k", c.get_secret("key"))',
           config={"key": "secret:config-secret", "n": "3", "o": '{"a": [1]}'}),
        up(),
    )),
    Scenario("custom_timeouts", (
        up('Thing("a", O(custom_timeouts=pulumi.CustomTimeouts(create="5m", update="1h30m", delete="90s")), value=1)'),
        up('Thing("a", O(custom_timeouts=pulumi.CustomTimeouts(create="5m", update="1h30m", delete="90s")), value=2)'), up(EMPTY),
    )),
    Scenario("import_same", (
        preview('Thing("a", O(import_="found"), value=7, tier="basic")', cloud={"+found": {"value": 7, "tier": "basic"}}),
        up(), up(), up('Thing("a", value=7)'),
    )),
    Scenario("import_then_update", (
        up('Thing("a", O(import_="found"), value=8)', cloud={"+found": {"value": 7, "tier": "basic"}}), up(),
    )),
    Scenario("import_then_replace", (
        up('Thing("a", O(import_="found"), fixed=8)', cloud={"+found": {"fixed": 7, "tier": "basic"}}),
    ), handover=False),
    Scenario("import_missing", (preview('Thing("a", O(import_="nope"), value=8)'), up()), handover=False),
    Scenario("import_over_existing", (
        up('Thing("a", value=7)'), up('Thing("a", O(import_="found"), value=7)', cloud={"+found": {"value": 7, "tier": "basic"}}), up(),
    )),
    Scenario("get", (
        up('a = Thing("a", O(id="found"))\nThing("b", value=a.url)', cloud={"+found": {"value": 7, "tier": "basic"}}), up(),
        up('Thing("a", value=9)'), destroy(),
    ), handover=False),
    Scenario("get_unknown_id", (
        preview('k = Thing("k", value=1)\na = Thing("a", O(id=k.id))\nThing("b", value=a.url)'), up(), destroy(),
    ), handover=False, ordered=False),
    Scenario("get_missing", (preview('Thing("a", O(id="nope"))'), up()), handover=False),
    Scenario("get_instead_of_managed", (
        up('Thing("a", value=1)'), up('Thing("a", O(id="found"))', cloud={"+found": {"value": 7, "tier": "basic"}}), up(),
    )),
    Scenario("refresh_changed", (
        up(CHAIN), refresh(cloud={"a": {"value": 99}}), preview(), up(), refresh(),
    ), ordered=False),
    Scenario("refresh_deleted", (up(CHAIN), refresh(cloud={"b": None}), up()), ordered=False),
    Scenario("refresh_secret", (up('Thing("a", password="hunter22")'), refresh(), refresh(cloud={"a": {"password": "hunter44"}}), up())),
    Scenario("refresh_component_child", (
        up('g = Group("g")\na = Thing("a", O(parent=g), value=1)\nThing("b", O(parent=a), value=1)'), refresh(cloud={"a": None}),
    ), handover=False, ordered=False),
    Scenario("up_refresh", (up(ONE), up(None, "--refresh", cloud={"a": {"value": 99}}), up(None, "--refresh", cloud={"a": None}))),
    Scenario("destroy_refresh", (up(CHAIN), destroy("--refresh", cloud={"b": None})), handover=False, ordered=False),
    Scenario("expect_no_changes", (up(ONE), preview(None, "--expect-no-changes"), up(None, "--expect-no-changes"),
                                   preview('Thing("a", value=2)', "--expect-no-changes"), up(None, "--expect-no-changes"))),
    Scenario("continue_on_error", (
        up('a = Thing("a", value=1)\nThing("b", value=a.url)\nThing("c", value=1)', "--continue-on-error", faults=[fault("create", "a")]),
        up(),
    ), ordered=False),
    Scenario("continue_on_error_delete", (
        up(CHAIN + 'Thing("d", value=1)\n'), up(EMPTY, "--continue-on-error", faults=[fault("delete", "b")]), up(),
    ), ordered=False),
    Scenario("invoke", (
        up('r = pulumi.runtime.invoke("demo:index:lookup", {"name": "zz"}).value\nThing("a", value=r["found"])\n'
           'o = pulumi.runtime.invoke_output("demo:index:lookup", {"name": pulumi.Output.secret("a-secret")}) if hasattr(pulumi.runtime, "invoke_output") else None\n'
           'pulumi.export("found", r["found"])'),
    ), ordered=False),
    Scenario("invoke_failure", (up('pulumi.runtime.invoke("demo:index:lookup", {"name": "bad"})'),), handover=False, ordered=False),
    Scenario("auto_label", (
        up('Thing("a", autoLabel=True, fixed=1, value=1)'), up('Thing("a", autoLabel=True, fixed=1, value=2)'),
        up('Thing("a", autoLabel=True, fixed=2, value=2)'),
    )),
    Scenario("outputs_only", (up('pulumi.export("x", 1)'), up('pulumi.export("x", 2)\npulumi.export("y", {"a": [True, None]})'), up('pass'))),
    Scenario("outputs_kept_on_failure", (
        up('pulumi.export("x", 1)\npulumi.export("y", 1)'),
        up('a = Thing("a", value=1)\npulumi.export("x", 2)\npulumi.export("z", a.url)', faults=[fault("create", "a")]),
    ), handover=False),
    Scenario("options_change_only", (
        up('Thing("a", value=1)'), up('Thing("a", O(protect=True), value=1)'), up('Thing("a", O(retain_on_delete=True), value=1)'),
        up('a = Thing("a", value=1)\nThing("b", O(depends_on=[a]), value=1)'), up('a = Thing("a", value=1)\nThing("b", value=1)'),
    ), ordered=False),
    Scenario("independent", (up("for i in range(6):\n    Thing(f't{i}', value=i)"), up("for i in range(3):\n    Thing(f't{i}', value=i + 1)"), destroy()),
             ordered=False, handover=False),
    Scenario("resource_as_input", (up('a = Thing("a", value=1)\nThing("b", ref=a)\npulumi.export("a", a)'), up())),
    Scenario("refresh_then_destroy_gone", (up(ONE), refresh(cloud={"a": None}), destroy()), handover=False),
    *RARE,
]  # fmt: skip

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}

__all__ = ["BY_NAME", "SCENARIOS", "Scenario", "fault"]
