"""Runs in vLLM's environment: reads {name: arguments} and prints which of them vLLM's own parser refuses, and why."""

# ruff: noqa: T201 - its output is its result
import contextlib
import io
import json
import sys


def main() -> None:
    """Parse every case by itself."""
    cases: dict[str, list[str]] = json.load(sys.stdin)
    from vllm.entrypoints.launchers.cli_args import make_arg_parser  # type: ignore[import-not-found]
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # type: ignore[import-not-found]

    parser = make_arg_parser(FlexibleArgumentParser())
    refused: dict[str, str] = {}
    for name, arguments in cases.items():
        errors = io.StringIO()
        try:
            with contextlib.redirect_stderr(errors):
                parser.parse_args(arguments)
        except SystemExit:
            refused[name] = errors.getvalue().strip()
        except Exception as error:  # noqa: BLE001 - every refusal is a result
            refused[name] = repr(error)
    print(f"RESULT {json.dumps(refused)}")


if __name__ == "__main__":
    main()
