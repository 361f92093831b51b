"""The wish to end, however it arrives."""

import os
import signal
from types import FrameType


class StopRequest:
    """Set by SIGTERM or SIGINT. Installed for the whole life of the worker."""

    def __init__(self) -> None:
        self.requested = False
        self._pid = os.getpid()

    def install(self) -> None:
        """Listen for both signals; must be called in the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def chain(self) -> None:
        """Listen beside whatever handlers are installed now (those of RunPod's SDK), and call them too."""
        for number in (signal.SIGTERM, signal.SIGINT):
            previous = signal.getsignal(number)

            def both(got: int, frame: FrameType | None, previous: object = previous) -> None:
                self._on_signal(got, frame)
                if callable(previous) and previous != self._on_signal:
                    previous(got, frame)

            signal.signal(number, both)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            # A process that RunPod's SDK forked (the heartbeat): it must simply end.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.requested = True
