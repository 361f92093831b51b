"""`python -m benchmarks <name> [options]`: run one benchmark; without a name, list them."""

import importlib
import pkgutil
import sys
from pathlib import Path

HELPERS = {"report", "__main__"}


def names() -> list[str]:
    """The benchmarks: every module beside this one that is not a helper of theirs."""
    found = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return sorted(name for name in found if name not in HELPERS and not name.startswith("_"))


def main(arguments: list[str]) -> int:
    """Run the benchmark that the first argument names. Returns the exit code."""
    if not arguments or arguments[0] not in names():
        said = f"there is no benchmark {arguments[0]!r}" if arguments else "which benchmark?"
        sys.stderr.write(f"error: {said}; make bench BENCH=<name>, one of: {', '.join(names())}\n")
        return 2
    command = importlib.import_module(f"benchmarks.{arguments[0]}").main
    command.main(args=arguments[1:], prog_name=f"python -m benchmarks {arguments[0]}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
