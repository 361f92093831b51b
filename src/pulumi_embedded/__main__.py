"""`python -m pulumi_embedded`."""

import contextlib
import gc
import logging
import os
import sys


def main() -> None:
    """Run a command and exit with its code."""
    # A process that lives for seconds: loading modules is not the time to look for garbage every few hundred objects.
    gc.set_threshold(50_000)
    # gRPC's own remarks about connections that end (they all do, at the end) are for nobody.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from pulumi_embedded._protos import use_generated_modules_only

    use_generated_modules_only()
    from pulumi_embedded._cli import main as run

    code = run()
    # Nothing is open any more, so there is nothing to wait for: taking every module apart would be all that is left.
    logging.shutdown()
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
