"""Starts another program so that it dies when the engine does, whatever kills the engine.

Run as `python -I -S _launch.py <engine pid> <program> <argument>…`. It asks the kernel for SIGKILL at its parent's
death and becomes the program. It stands alone: standard library only, no import of this package.
"""

import os
import signal
import sys


def main() -> None:
    """Tie this process to its parent, then become the program."""
    import ctypes

    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # 1 = PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)  # the engine died before the request was in place
    try:
        os.execvp(command[0], command)  # noqa: S606 - a list, no shell
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        os._exit(127)


if __name__ == "__main__":
    main()
