"""Ctrl-C and SIGTERM: the first asks to stop in good order, the second ends at once."""

import os
import signal
import sys
import threading
from types import FrameType


class Stop:
    """`event` is set by the first SIGINT, SIGTERM or SIGHUP; `received` is its number. For the main thread."""

    def __init__(self, event: threading.Event | None = None) -> None:
        self.event = event or threading.Event()
        self.received: int | None = None

    def install(self, *, hangup: bool = True) -> None:
        """Takes over the signals; `hangup=False` leaves SIGHUP to whoever has it."""
        for number in (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hangup else [])):
            signal.signal(number, self._stop)

    def _stop(self, number: int, _: FrameType | None) -> None:
        if self.event.is_set():
            # Whatever is under way survives this as it would a kill -9: the next start goes on from there.
            os._exit(128 + number)
        self.received = number
        self.event.set()
        if number == signal.SIGINT and sys.stderr.isatty():
            os.write(2, b"\rstopping; Ctrl-C again ends at once\n")
