"""Child processes that the kernel ends when their parent ends, whatever ends it."""

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> Callable[[], None]:
    """What a new child has to call first. `parent` is the caller's own process id, taken before the fork."""

    def ask() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # it had gone before the kernel was asked

    return ask
