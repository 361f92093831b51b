"""The commands. Each is a skin over a room; errors become one line and an exit code here, and nowhere else."""

import errno
import sys
import traceback

import click

from redaction import redact
from vllm_runpod.errors import CommandError
from vllm_runpod.project import LOCAL_STACK, Project, find_project
from weight_bakery import BakeryError

EXAMPLES = """
\b
Examples:
  vllm-runpod up                       bake, deploy stack `local` on this machine, ask the model
  vllm-runpod preview --stack prod     the whole plan; needs no key, no CLI and no network
  vllm-runpod up --stack prod          shows the hourly floor and ceiling and asks before it spends
  vllm-runpod ask "What is DNS?"       ask the model of stack `local`
  vllm-runpod down                     end stack `local`, its processes and its local state
"""

THE_MACHINES = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE}
"""Refusals of the operating system that the user can do something about, and we cannot."""

stack_option = click.option(
    "--stack", "-s", default=LOCAL_STACK, show_default=True, help="The stack, as in Pulumi.<stack>.yaml."
)
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask before changing anything.")


@click.group(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="vllm-runpod", prog_name="vllm-runpod")
@click.option(
    "--cwd", type=click.Path(exists=True, file_okay=False), default=".", help="The project folder, or one inside it."
)
@click.pass_context
def cli(context: click.Context, cwd: str) -> None:
    """Serve LLMs with vLLM on RunPod: bake, deploy, ask; on one machine first, with the same program."""
    context.obj = cwd


def _project(context: click.Context) -> Project:
    from pathlib import Path

    return find_project(Path(context.find_root().obj))


@cli.command(epilog="\b\nExamples:\n  vllm-runpod up\n  vllm-runpod up --stack prod --yes")
@stack_option
@yes_option
@click.option(
    "--prompt", default="What is the capital of France?", show_default=True, help="The question asked at the end."
)
@click.option("--no-ask", is_flag=True, help="Do not ask the model at the end.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer and where the time went as one JSON document.")
@click.pass_context
def up(context: click.Context, stack: str, yes: bool, prompt: str, no_ask: bool, as_json: bool) -> None:
    """Deploy a stack and ask its model; stack `local` is baked and run on this machine."""
    from vllm_runpod import up as flow

    flow.up(_project(context), stack, assume_yes=yes, prompt=None if no_ask else prompt, as_json=as_json)


@cli.command(
    epilog="\b\nExamples:\n  vllm-runpod preview --stack prod --diff\n  vllm-runpod preview --json | jq .changeSummary"
)
@stack_option
@click.option("--diff", is_flag=True, help="Show every property that changes.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document in the form of the Pulumi CLI.")
@click.option("--expect-no-changes", is_flag=True, help="Exit with 7 when anything would change.")
@click.pass_context
def preview(context: click.Context, stack: str, diff: bool, as_json: bool, expect_no_changes: bool) -> None:
    """Show what `up` would change, without changing anything."""
    from vllm_runpod import up as flow

    flow.preview(_project(context), stack, diff=diff, as_json=as_json, expect_no_changes=expect_no_changes)


@cli.command(epilog="\b\nExamples:\n  vllm-runpod refresh\n  vllm-runpod refresh --stack prod --yes")
@stack_option
@yes_option
@click.pass_context
def refresh(context: click.Context, stack: str, yes: bool) -> None:
    """Read what is really there into the state; the next `up` puts differences right."""
    from vllm_runpod import up as flow

    flow.refresh(_project(context), stack, assume_yes=yes)


@cli.command(epilog="\b\nExamples:\n  vllm-runpod down\n  vllm-runpod down --stack dev")
@stack_option
@yes_option
@click.pass_context
def down(context: click.Context, stack: str, yes: bool) -> None:
    """Delete what the stack declares; for stack `local` its processes and local state too."""
    from vllm_runpod import up as flow

    flow.down(_project(context), stack, assume_yes=yes)


@cli.command(epilog='\b\nExamples:\n  vllm-runpod ask "What is DNS?"\n  vllm-runpod ask --json "Name three colours."')
@stack_option
@click.argument("prompt")
@click.option(
    "--max-tokens", type=click.IntRange(1, 8192), default=256, show_default=True, help="Longest answer, in tokens."
)
@click.option("--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the answer, its times and its token count as JSON.")
@click.pass_context
def ask(context: click.Context, stack: str, prompt: str, max_tokens: int, temperature: float, as_json: bool) -> None:
    """Ask the stack's model through its OpenAI route."""
    from vllm_runpod import up as flow

    if not prompt.strip():
        raise CommandError('there is nothing to ask\n\nhint: make ask PROMPT="What is DNS?"')
    flow.ask_stack(_project(context), stack, prompt, max_tokens=max_tokens, temperature=temperature, as_json=as_json)


@cli.command(epilog="\b\nExamples:\n  vllm-runpod doctor\n  vllm-runpod doctor --json")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Say what is set up here, what is missing, and what to do about it. Exit code 1 when something is missing."""
    from vllm_runpod.doctor import run

    sys.exit(run(_project(context), as_json=as_json))


def _add_room_commands() -> None:
    """The commands that belong to a room live there and are only hung in here."""
    from runpod_emulator.cli import emulator
    from vllm_runpod import bake

    cli.add_command(emulator, "emulator")
    cli.add_command(bake.command(), "bake")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code. No traceback reaches a user unless the fault is ours."""
    _add_room_commands()
    try:
        result = cli.main(arguments, prog_name="vllm-runpod", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.Abort:
        print("\nstopped", file=sys.stderr)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130
    except CommandError as error:
        print(f"error: {redact(str(error))}", file=sys.stderr)
        return error.exit_code
    except BakeryError as error:
        print(f"error: {redact(str(error))}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 141
    except OSError as error:
        if error.errno not in THE_MACHINES:
            return _fault_of_ours()
        where = error.filename or "this machine"
        print(f"error: {redact(f'{where}: {error.strerror}')}", file=sys.stderr)
        return 1
    except Exception:  # noqa: BLE001 - the outermost edge: what arrives here is a fault of ours
        return _fault_of_ours()


def _fault_of_ours() -> int:
    """Show the error in hand with its traceback, and ask for a report."""
    print(redact(traceback.format_exc()), file=sys.stderr)
    print("error: this is a fault of vllm-runpod, not of yours; please report it with the lines above", file=sys.stderr)
    return 255
