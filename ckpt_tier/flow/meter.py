"""Follows a transfer: holds the bandwidth limit, reports progress, ends it when the process is asked to stop."""

import threading
from collections.abc import Callable
from typing import Protocol

from ckpt_tier.core.events import Emit, Moved
from ckpt_tier.system.clock import Clock

REPORT_BYTES = 4 * 2**20
"""Progress is reported once per so many bytes."""


class Pace(Protocol):
    """Says when more bytes may go."""

    def take(self, count: int) -> None:
        """Waits until `count` more bytes may go; raises CancelledError when asked to stop."""


class Bandwidth:
    """A `Pace`: a bandwidth limit shared by all transfers of a process: a bucket that holds a quarter of a second.

    Safe to use from several threads.
    """

    def __init__(self, bytes_per_second: int | None, clock: Clock) -> None:
        self._rate = bytes_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, count: int) -> None:
        wait = 0.0
        if self._rate:
            with self._lock:
                now = self._clock.monotonic()
                self._free_at = max(self._free_at, now - 0.25) + count / self._rate
                wait = self._free_at - now
        self._clock.sleep(wait)


class Counting:
    """A `Pace` of one delivery, which says once that the last of its bytes has gone. Safe to use from several
    threads."""

    def __init__(self, pace: Pace, size: int, all_gone: Callable[[], None]) -> None:
        self._pace = pace
        self._left = size
        self._all_gone = all_gone
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        with self._lock:
            was_last = 0 < self._left <= count
            self._left -= count
        if was_last:
            self._all_gone()
        self._pace.take(count)


class Meter:
    """The `Watch` of one file's transfer. Safe to use from several threads."""

    def __init__(self, report: Callable[[int, int], None], pace: Pace) -> None:
        self._report = report
        self._pace = pace
        self._lock = threading.Lock()
        self._unreported = 0
        self.moved_bytes = 0
        self.resumed_bytes = 0
        self.found_some = False
        """Whether something of the object was there before this transfer."""

    def moved(self, count: int) -> None:
        self._pace.take(count)
        with self._lock:
            self.moved_bytes += count
            self._unreported += count
            due = self._unreported >= REPORT_BYTES
            if due:
                self._unreported = 0
        if due:
            self._report(self.moved_bytes, self.resumed_bytes)

    def resumed(self, count: int) -> None:
        with self._lock:
            self.resumed_bytes += count
            self.found_some = True
        self._report(self.moved_bytes, self.resumed_bytes)


def file_meter(emit: Emit, pace: Pace, *, series: str, step: int, path: str, size: int) -> Meter:
    """A meter that emits `Moved` events for one file."""

    def report(moved: int, stored: int) -> None:
        emit(Moved(series=series, step=step, path=path, size_bytes=size, moved_bytes=moved, stored_bytes=stored))

    return Meter(report, pace)
