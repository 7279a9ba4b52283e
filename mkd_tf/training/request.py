"""The request to stop: a signal that is taken at once, or noted until the step at hand is done.

Cluster managers and spot machines announce the end by SIGTERM, a user by SIGINT (Ctrl-C). A
second signal does not wait.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)
GOES_ON = "the same command goes on from there"
ENDED = f"what was finished is kept, and {GOES_ON}"


class Stopped(BaseException):
    """The run was stopped; not an error, so that nothing that handles errors takes it for one.

    Attributes:
      number: of the signal.
      status: the exit status, 0 for SIGTERM and 130 for SIGINT.
    """

    def __init__(self, number: int, where: str):
        super().__init__(f"stopped by {signal.Signals(number).name}; {where}")
        self.number = number
        self.status = 130 if number == signal.SIGINT else 0


class Request:
    """Whether the process was asked to stop, and by which signal.

    Attributes:
      number: of the signal; 0 for none.
    """

    def __init__(self) -> None:
        self.number = 0
        self._waits = False

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Handles the signals within, in the main thread; elsewhere Python handles none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # A process in the background of a shell ignores an interrupt, and goes on doing so.
        watched = [s for s in SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
        before = {s: signal.signal(s, self._received) for s in watched}
        try:
            yield
        finally:
            for s, handler in before.items():
                signal.signal(s, handler)

    @contextlib.contextmanager
    def after_the_step(self) -> Iterator[None]:
        """Within, a first signal is only noted: who takes the steps looks at `number`."""
        before, self._waits = self._waits, True
        try:
            yield
        finally:
            self._waits = before

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Within, a signal ends the run at once, also one that was noted before."""
        before, self._waits = self._waits, False
        try:
            if self.number:
                raise Stopped(self.number, ENDED)
            yield
        finally:
            self._waits = before

    def _received(self, number: int, frame: Any) -> None:
        if self._waits and not self.number:
            self.number = number
            return
        raise Stopped(number, ENDED)


REQUEST = Request()
"""The request of this process: signals belong to a process, not to a run."""
