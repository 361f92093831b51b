"""Runs a Pulumi program in its own process, under the project's own interpreter.

It stands alone: the standard library and the `pulumi` SDK of that environment, no import of this package.
What to run comes as one JSON document on standard input, so that configuration, secrets included, is in neither the
arguments nor the environment of this process or of anything the program starts. `import pulumi` happens before the
document is read: the engine starts this process early, while it is still busy itself.

Exit codes: 0 done; 32 failed, and the error has been logged to the engine; 1 failed.
"""

import asyncio
import atexit
import gc
import inspect
import json
import logging
import os
import runpy
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

_ALREADY_SHOWN = 32


def _is_below(file: str, base: str) -> bool:
    return not file.startswith("<") and os.path.abspath(file).startswith(base)  # noqa: PTH100


def _user_traceback(program: str) -> str:
    """The traceback from the program's own first frame on; the machinery above it helps nobody."""
    error = sys.exc_info()[1]
    assert error is not None
    frames = traceback.extract_tb(error.__traceback__)
    base = os.path.dirname(program) if program.endswith(".py") else program  # noqa: PTH120
    inside = next((i for i, frame in enumerate(frames) if _is_below(frame.filename, base)), None)
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    if inside is None:
        return "".join(lines)
    shown = ["Traceback (most recent call last):\n", *traceback.format_list(frames[inside:])]
    return "".join(shown + traceback.format_exception_only(type(error), error))


class _WithoutDebug:
    """The engine as the SDK sees it, with an ear for everything but debug messages.

    The SDK sends four of them for every resource. Where nobody will see them they are four calls saved.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def Log(self, request: Any, *args: Any, **options: Any) -> None:  # noqa: N802 - the protocol's name
        if request.severity != 0:  # 0 = debug
            self._engine.Log(request, *args, **options)


def main() -> int:
    """Read what to run, run it, and say how it went."""
    sys.path.pop(0)  # this file's folder: the program must not see the engine's modules
    gc.disable()
    try:
        import pulumi
        import pulumi.runtime
    except ImportError:
        traceback.print_exc()
        sys.stderr.write(
            "the pulumi SDK is not installed in the program's environment; "
            "install it there, or in a clone of "
            "vllm-runpod run `make setup`\n"
        )
        return 1
    gc.freeze()  # what was loaded stays: the collector need not go through all of it again and again
    gc.enable()
    task = json.load(sys.stdin)
    pulumi.runtime.set_all_config(task["config"], task["secret_keys"])
    values = {
        key: task[key] for key in ("monitor", "engine", "project", "stack", "parallel", "dry_run", "organization")
    }
    values["root_directory"] = task["root"]
    known = inspect.signature(pulumi.runtime.Settings.__init__).parameters
    settings = pulumi.runtime.Settings(**{key: value for key, value in values.items() if key in known})
    if not task["debug"]:
        settings.engine = _WithoutDebug(settings.engine)
    pulumi.runtime.configure(settings)
    program = task["program"]
    sys.argv = [program]
    os.chdir(task["folder"])

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    # Every RPC blocks a thread of this pool until its resource is done: too few would be a deadlock.
    executor = ThreadPoolExecutor(max_workers=max(task["parallel"], 1) * 4)
    loop.set_default_executor(executor)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # futures that a failed program leaves are expected
    code = 1
    _wait_in_linear_time()
    try:
        loop.run_until_complete(pulumi.runtime.run_in_stack(lambda: _run(program)))
        code = 0
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        code = _ALREADY_SHOWN
    except Exception:  # noqa: BLE001 - whatever the program raises is to be shown
        pulumi.log.error("Program failed with an unhandled exception:\n" + _user_traceback(program))
        code = _ALREADY_SHOWN
    finally:
        executor.shutdown(wait=True)
        loop.close()
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def _run(program: str) -> None:
    runpy.run_path(program, run_name="__main__")


async def _all_done() -> None:
    """Wait for what the program started.

    The SDK waits by itself, but looks at everything again whenever one thing is done: in a large program that is most
    of the time. After this there is little left for it to wait for. What fails is left for it to find.
    """
    from pulumi.runtime.settings import SETTINGS

    while True:
        waiting = {task for task in (*SETTINGS.rpc_manager.rpcs, *SETTINGS.outputs) if not task.done()}
        if not waiting:
            return
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION)
        if any(task.cancelled() or task.exception() is not None for task in done):
            return


def _wait_in_linear_time() -> None:
    """Let the SDK find everything done when it begins to wait: after the stack's outputs went out, as ever."""
    from pulumi.runtime import stack

    wait_as_ever = stack.wait_for_rpcs

    async def wait_for_rpcs(*args: Any, **options: Any) -> None:
        await _all_done()
        await wait_as_ever(*args, **options)

    stack.wait_for_rpcs = wait_for_rpcs


def _leave(code: int) -> NoReturn:
    """End as the interpreter does, but without taking apart every module that was loaded: the engine waits for this."""
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the interpreter's own end does
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _leave(main())
