"""Ctrl-C and SIGTERM: the first asks to stop in good order, the second ends at once."""

import os
import signal
import sys
from types import FrameType

from ckpt_tier.system.clock import StopRequest


class Stop:
    """`request` is made by the first SIGINT, SIGTERM or SIGHUP; `received` is its number. For the main thread."""

    def __init__(self) -> None:
        self.request = StopRequest()
        self.received: int | None = None

    def install(self, *, interrupt: bool = True, hangup: bool = True) -> None:
        """Takes over the signals; `interrupt=False` leaves SIGINT to whoever has it, `hangup=False` SIGHUP."""
        wanted = {signal.SIGINT: interrupt, signal.SIGTERM: True, signal.SIGHUP: hangup}
        for number in (number for number, ours in wanted.items() if ours):
            signal.signal(number, self._stop)

    def _stop(self, number: int, _: FrameType | None) -> None:
        if self.request.made:
            # Whatever is under way survives this as it would a kill -9: the next start goes on from there.
            os._exit(128 + number)
        self.received = number
        self.request.make()
        if number == signal.SIGINT and sys.stderr.isatty():
            os.write(2, b"\rstopping; Ctrl-C again ends at once\n")
