"""The controlling terminal, lent to a child that has a process group of its own, as a shell lends it to a job.

What is typed there (Ctrl-C, Ctrl-Z) then goes to the child alone, and the child may read. Only what lies in the
foreground is lent, and only where input and output both are the terminal: in a pipeline a neighbour may read it.
"""

import contextlib
import os
import signal

_INPUT, _OUTPUT = 0, 1


class Terminal:
    """For the main thread. Blocks SIGTTOU, with which a process is stopped that takes the terminal from behind."""

    def __init__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        self._lent = False

    @property
    def is_lent(self) -> bool:
        """Since `lend`, until `take_back`."""
        return self._lent

    def lend(self, group: int) -> bool:
        """Puts a process group into the foreground, if this one is there. Whether it is lent now."""
        if os.isatty(_INPUT) and os.isatty(_OUTPUT) and self._foreground() == os.getpgrp():
            self._lent = _put(group)
        return self._lent

    def take_back(self) -> None:
        """Into the foreground again, if the terminal was lent."""
        if self._lent:
            _put(os.getpgrp())
            self._lent = False

    @staticmethod
    def _foreground() -> int | None:
        try:
            return os.tcgetpgrp(_INPUT)
        except OSError:  # a terminal, but of another session
            return None


def _put(group: int) -> bool:
    with contextlib.suppress(OSError):  # the group is gone, or the terminal is
        os.tcsetpgrp(_INPUT, group)
        return True
    return False
