"""`python -m pulumi_embedded`."""

import gc
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

    sys.exit(run())


if __name__ == "__main__":
    main()
