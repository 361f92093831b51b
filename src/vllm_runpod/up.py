"""`up`, `preview`, `refresh`, `down` and `ask`: the rooms in the order a user needs them."""

import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import click

from redaction import redact, register_secret
from vllm_runpod import emulator_process, emulator_view, engine, report
from vllm_runpod.ask import Answer, ask
from vllm_runpod.cost import ask_before_spending
from vllm_runpod.errors import CommandError, EmulatorFailed, EngineFailed
from vllm_runpod.project import LOCAL_STACK, Project


def say(text: str) -> None:
    """Tell the user what happens; results go to stdout, this goes to stderr."""
    print(text, file=sys.stderr, flush=True)


def up(project: Project, stack: str, *, assume_yes: bool, prompt: str | None, as_json: bool) -> None:
    """Deploy `stack` and ask its model. For stack `local` start the emulator first. The program itself bakes.

    Raises CommandError. When it is interrupted, or the program is refused before it made an endpoint, an emulator that
    it started is stopped again.
    """
    project.config(stack)
    timings = report.Timings(project)
    chosen = engine.choose_engine()
    if chosen.embedded:
        say("pulumi is not on PATH; using pulumi_embedded, whose state the pulumi CLI takes over unchanged")
    if stack != LOCAL_STACK:
        _need_key(project, stack)
        ask_before_spending(project, stack, chosen, assume_yes=assume_yes, to_stderr=as_json)
        _deploy(project, stack, chosen, timings, to_stderr=as_json)
        _finish(project, stack, chosen, timings, prompt, as_json)
        return
    running = None
    try:
        with timings.phase("emulator", "start the emulator"):
            running = emulator_process.start(project)
        say(f"emulator: {running.url} (pid {running.pid})")
        _deploy(project, stack, chosen, timings, to_stderr=as_json)
        _finish(project, stack, chosen, timings, prompt, as_json)
    except KeyboardInterrupt:
        if running is not None and running.started_here:
            say("stopping the emulator and its workers")
            emulator_process.stop_pid(running.pid)
        raise
    except EngineFailed:
        if running is not None and running.started_here and _holds_nothing(project):
            # The program or its configuration was refused: leave this machine as it was.
            emulator_process.stop_pid(running.pid)
        raise


def _holds_nothing(project: Project) -> bool:
    """Whether the emulator runs without a single endpoint: nothing in it is worth looking at."""
    try:
        found = emulator_process.status(project)
    except EmulatorFailed:
        return False
    return found is not None and found.get("endpoints") == 0


def _deploy(project: Project, stack: str, chosen: engine.Engine, timings: report.Timings, *, to_stderr: bool) -> None:
    with timings.phase("deploy", "deploy, worker start included"):
        engine.ensure_stack(project, stack, chosen)
        engine.run(project, stack, ("up", "--yes", "--skip-preview"), chosen, to_stderr=to_stderr)


def _finish(
    project: Project, stack: str, chosen: engine.Engine, timings: report.Timings, prompt: str | None, as_json: bool
) -> None:
    found = engine.outputs(project, stack, chosen)
    timings.add_bake(found.get("bake"))
    answer = None
    if prompt is not None:
        if stack == LOCAL_STACK:
            _wait_for_worker(project, str(found.get("endpointId", "")), timings)
        say("")
        answer = _ask(project, stack, found, prompt, show=not as_json)
    if stack == LOCAL_STACK:
        timings.add_worker(project, str(found.get("endpointId", "")))
    if as_json:
        print(
            json.dumps(
                {"outputs": found, "answer": asdict(answer) if answer else None, "seconds": timings.as_dict()}, indent=2
            )
        )
        return
    report.show(timings, answer)
    suffix = "" if stack == LOCAL_STACK else f" STACK={stack}"
    say(f'\nask more:  make ask{suffix} PROMPT="..."\nstop:      make down{suffix}')


def _need_key(project: Project, stack: str) -> None:
    """Refuse a paid `up` without a key before anything is asked or recorded."""
    given = {"runpod:apiKey", "runpod:apiKeyFile"} & set(project.config(stack))
    if not os.environ.get("RUNPOD_API_KEY") and not given:
        raise CommandError(
            f"stack `{stack}` runs on RunPod and no API key is given\n\n"
            "hint: export RUNPOD_API_KEY=..., or name a file with it as runpod:apiKeyFile; `make preview` needs none"
        )


def _wait_for_worker(project: Project, endpoint_id: str, timings: report.Timings) -> None:
    """An emulator that was started again starts its workers anew; say so instead of a question that hangs."""
    try:
        with timings.phase("wait", "wait for a worker"):
            emulator_view.wait_for_worker(project, endpoint_id, say)
    except (OSError, ValueError, KeyError) as error:
        say(f"note: the emulator did not say how its workers are: {redact(str(error))}")


def preview(project: Project, stack: str, *, diff: bool, as_json: bool, expect_no_changes: bool) -> None:
    """Show the plan. Needs neither the emulator nor a key; what only the cloud knows is unknown."""
    project.config(stack)
    chosen = engine.choose_engine()
    flags = [
        flag for flag, on in (("--diff", diff), ("--json", as_json), ("--expect-no-changes", expect_no_changes)) if on
    ]
    engine.run(project, stack, ("preview", *flags), engine.engine_for_preview(project, stack, chosen))


def refresh(project: Project, stack: str, *, assume_yes: bool) -> None:
    """Bring the state up to what is really there."""
    project.config(stack)
    _need_emulator(project, stack)
    if not assume_yes and stack != LOCAL_STACK:
        click.confirm(f"Refresh the state of stack `{stack}`?", abort=True)
    engine.run(project, stack, ("refresh", "--yes", "--skip-preview"))


def down(project: Project, stack: str, *, assume_yes: bool) -> None:
    """Destroy the stack; for `local` stop the emulator and remove its state, however much of it is there."""
    project.config(stack)
    if stack != LOCAL_STACK:
        if not assume_yes:
            click.confirm(f"Delete everything that stack `{stack}` declares?", abort=True)
        engine.run(project, stack, ("destroy", "--yes", "--skip-preview"))
        return
    try:
        running = emulator_process.status(project) is not None
    except EmulatorFailed as error:
        # Somebody else's program has the port: ours cannot be there, and its state can go.
        say(f"note: {str(error).splitlines()[0]}; it is left alone")
        running = False
    if running:
        try:
            if project.backend.is_dir():
                engine.run(project, stack, ("destroy", "--yes", "--skip-preview"))
        except EngineFailed as error:
            # The emulator and everything in it goes anyway; nothing is lost but the state's own tidiness.
            say(f"note: {error}; removing the local state all the same")
    if emulator_process.stop(project):
        say("emulator: stopped")
    _remove_local_state(project)
    say("local state: removed")


def _remove_local_state(project: Project) -> None:
    """Remove what stack `local` and the emulator keep. The backend holds the other stacks too: their state is the only
    record of what is paid for, and stays.
    """
    shutil.rmtree(project.local / "pulumi-home", ignore_errors=True)
    base = project.backend / ".pulumi"
    for folder in (Path("history"), Path("backups"), Path("locks", "organization")):
        shutil.rmtree(base / folder / project.name / LOCAL_STACK, ignore_errors=True)
    for path in (base / "stacks" / project.name).glob(f"{LOCAL_STACK}.json*"):
        path.unlink()
    if not any((base / "stacks").glob("*/*.json*")):
        shutil.rmtree(project.backend, ignore_errors=True)
    for path in project.emulator_state.glob("*") if project.emulator_state.is_dir() else ():
        # The cache holds unpacked images by digest; the next `up` starts faster with it. `make clean` removes it.
        if path.name == "cache":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def ask_stack(project: Project, stack: str, prompt: str, *, max_tokens: int, temperature: float, as_json: bool) -> None:
    """Ask a deployed model and print its answer."""
    project.config(stack)
    _need_emulator(project, stack)
    chosen = engine.choose_engine()
    found = engine.outputs(project, stack, chosen)
    answer = _ask(project, stack, found, prompt, show=not as_json, max_tokens=max_tokens, temperature=temperature)
    if as_json:
        print(json.dumps(asdict(answer) | {"tokens_per_second": answer.tokens_per_second}, indent=2))


def _need_emulator(project: Project, stack: str) -> None:
    if stack == LOCAL_STACK and emulator_process.status(project) is None:
        host, port = project.emulator_address()
        raise EmulatorFailed(f"the emulator is not running on {host}:{port}\n\nhint: `make up` starts it")


def _ask(
    project: Project,
    stack: str,
    found: dict[str, object],
    prompt: str,
    *,
    show: bool,
    max_tokens: int = 256,
    temperature: float = 0.0,
) -> Answer:
    base_url = found.get("openaiBaseUrl")
    model = found.get("model")
    if not isinstance(base_url, str) or not isinstance(model, str):
        raise CommandError(
            f"stack `{stack}` has no outputs openaiBaseUrl and model\n\nhint: `make up STACK={stack}` deploys it"
        )

    def write(text: str) -> None:
        if show:
            sys.stdout.write(text)
            sys.stdout.flush()

    if show:
        say(f"> {prompt}")
    answer = ask(
        base_url, _key(project, stack), model, prompt, show=write, max_tokens=max_tokens, temperature=temperature
    )
    if show:
        write("\n")
    return answer


def _key(project: Project, stack: str) -> str:
    if stack == LOCAL_STACK:
        try:
            key = project.api_key_file.read_text().strip()
        except OSError as error:
            raise EmulatorFailed(
                f"{project.api_key_file}: {error.strerror}\n\nhint: `make down` and then `make up` make it anew"
            ) from error
    else:
        key = os.environ.get("RUNPOD_API_KEY", "")
        if not key:
            raise CommandError("RUNPOD_API_KEY is not set; the endpoint cannot be asked without it")
    register_secret(key)
    return key
