"""How often RunPod is asked: a refresh of a large stack, and an `up` under a limit of 60 requests a minute.

Real engine, real plugin, a real emulator process that counts the calls and enforces the limit. The second part takes
its time: RunPod lets 60 calls pass in a minute, and each endpoint is one.
"""

import sys
import tempfile
from pathlib import Path

import click

from benchmarks._faults_program import ENVIRONMENT
from benchmarks._refresh_stack import Calls, Stack, StackFailure
from benchmarks.report import Limit, Report

MAX_LISTS = 6
_SUCCESS = Limit(equals=1)


@click.command()
@click.option("--endpoints", type=click.IntRange(min=1), default=100, show_default=True, help="And as many templates.")
@click.option("--volumes", type=click.IntRange(min=0), default=20, show_default=True)
@click.option("--per-minute", type=click.IntRange(min=1), default=60, show_default=True, help="The enforced limit.")
@click.option("--limited/--no-limited", default=True, help="Whether to measure `up` under the limit at all.")
def main(endpoints: int, volumes: int, per_minute: int, limited: bool) -> None:
    """Count the calls of a refresh, and deploy under RunPod's rate limit."""
    if not ENVIRONMENT.exists():
        raise click.ClickException("the plugin's environment is missing; run `make setup-all`")
    report = Report("refresh")
    with tempfile.TemporaryDirectory(prefix="refresh-") as folder:
        stack = Stack(Path(folder))
        try:
            _count_refresh(report, stack, endpoints, volumes)
            for with_templates in (False, True):
                _deploy_limited(report, stack, endpoints, per_minute, with_templates, limited)
        except StackFailure as error:
            raise click.ClickException(str(error)) from error
        finally:
            stack.close()
    sys.exit(report.close())


def _count_refresh(report: Report, stack: Stack, endpoints: int, volumes: int) -> None:
    stack.declare(endpoints=endpoints, templates=endpoints, volumes=volumes)
    made = stack.counted("up")
    _tell(f"up of {endpoints} endpoints, {endpoints} templates, {volumes} volumes", made)
    refreshed = stack.counted("refresh")
    _tell("refresh", refreshed)
    both = stack.counted("up", "--refresh")
    _tell("up --refresh", both)
    what = f"{endpoints} endpoints, {endpoints} templates, {volumes} volumes in {refreshed.seconds:.1f} s"
    report.measured("list_calls_100_endpoints", refreshed.lists, Limit(max=MAX_LISTS), f"one refresh: {what}")
    report.measured("get_calls_100_endpoints", refreshed.gets, Limit(max=MAX_LISTS), "of single items, in the same")
    report.measured("calls_up_refresh", both.all, note=f"`up --refresh` without a change: {both.lists} of them lists")
    stack.counted("destroy")


def _deploy_limited(
    report: Report, stack: Stack, endpoints: int, per_minute: int, with_templates: bool, limited: bool
) -> None:
    """`up` succeeds under the limit, makes each resource once, and is not refused more often than it learns."""
    key = "up_100_with_templates_at_60_per_minute" if with_templates else "up_100_at_60_per_minute"
    if not limited:
        report.not_measured(key, "left out with --no-limited", _SUCCESS)
        return
    stack.declare(endpoints=endpoints, templates=endpoints if with_templates else 0, use_templates=with_templates)
    wanted = endpoints * (2 if with_templates else 1)
    stack.cloud.call("PUT", "/_emulator/limits", {"requests_per_minute": per_minute})
    try:
        made = stack.counted("up")
    except StackFailure as error:
        click.echo(str(error), err=True)
        report.measured(key, 0, _SUCCESS, "up failed")
        return
    finally:
        stack.cloud.call("PUT", "/_emulator/limits", {"requests_per_minute": None})
    _tell(f"up of {wanted} at {per_minute} a minute", made)
    found = len(stack.cloud.everything()["endpoints"])
    # Everything that is sent beyond what has to be sent was refused, or asked too often.
    spare = made.all - wanted
    note = f"{made.all} calls ({spare} more than resources) in {made.seconds:.0f} s; {found} endpoints are there"
    report.measured(key, int(found == endpoints and made.creates == wanted), _SUCCESS, note)
    stack.counted("destroy")


def _tell(what: str, calls: Calls) -> None:
    text = f"{what}: {calls.all} calls ({calls.lists} lists, {calls.gets} by id) in {calls.seconds:.1f} s"
    click.echo(f"{text}, told of {calls.waits} waits" if calls.waits else text, err=True)
