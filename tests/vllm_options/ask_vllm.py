"""Runs in vLLM's environment, which takes its time to start: three questions to one vLLM.

`python ask_vllm.py <tools> <folder>`: both tools dump into the folder, and the cases {name: arguments} on standard
input go through vLLM's own parser; what it refuses, and why, is the line that starts with RESULT.
"""

# ruff: noqa: T201 - its output is its result
import contextlib
import importlib
import io
import json
import sys


def refused(cases: dict[str, list[str]]) -> dict[str, str]:
    """Parse every case by itself."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser  # type: ignore[import-not-found]
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # type: ignore[import-not-found]

    parser = make_arg_parser(FlexibleArgumentParser())
    found: dict[str, str] = {}
    for name, arguments in cases.items():
        errors = io.StringIO()
        try:
            with contextlib.redirect_stderr(errors):
                parser.parse_args(arguments)
        except SystemExit:
            found[name] = errors.getvalue().strip()
        except Exception as error:  # noqa: BLE001 - every refusal is a result
            found[name] = repr(error)
    return found


def main() -> None:
    """The options first, since they want to be looked at before anything else has loaded vLLM."""
    tools, folder = sys.argv[1:]
    cases = json.load(sys.stdin)
    sys.path.insert(0, tools)
    sys.argv = ["dump_vllm_options", "--out", folder]
    importlib.import_module("dump_vllm_options").main()
    sys.argv = ["vllm"]
    print(f"RESULT {json.dumps(refused(cases))}", flush=True)
    sys.argv = ["dump_vllm_modelinfos", "--out", folder]
    importlib.import_module("dump_vllm_modelinfos").main()


if __name__ == "__main__":
    main()
