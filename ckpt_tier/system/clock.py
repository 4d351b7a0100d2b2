"""Time and randomness, passed in so that tests own them."""

import os
import secrets
import select
import time
import weakref
from pathlib import Path
from typing import Protocol

from ckpt_tier.errors import CancelledError

_LONGEST_POLL = 2**31 - 1
"""Milliseconds that poll(2) takes."""


class Clock(Protocol):
    """The time, as seen by everything that decides by it. Safe to call from any thread."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Waits; raises CancelledError at once when the process was asked to stop."""
        ...


class StopRequest:
    """A request to stop, for good. Made by a signal handler or any thread; ends the waits of all of them.

    Not a `threading.Event`: that takes a lock to be set, and a handler that runs while its own thread holds the lock,
    inside `wait`, waits for itself for ever. Here a handler writes to an eventfd, which nobody reads empty.
    https://man7.org/linux/man-pages/man2/eventfd.2.html
    """

    def __init__(self) -> None:
        self._made = False
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        weakref.finalize(self, os.close, self._descriptor)

    def make(self) -> None:
        self._made = True
        os.eventfd_write(self._descriptor, 1)

    @property
    def made(self) -> bool:
        return self._made

    def wait(self, seconds: float) -> bool:
        """Whether the request was made, after waiting for it at most so many seconds."""
        if not self._made and seconds > 0:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            poll.poll(min(seconds * 1000, _LONGEST_POLL))
        return self._made


class SystemClock:
    """The machine's clock. A stop request ends every sleep on it."""

    def __init__(self, stop: StopRequest | None = None) -> None:
        self.stop = stop or StopRequest()

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        if self.stop.wait(max(0.0, seconds)):
            raise CancelledError("stopped on request", fix="run the same command again to go on")


def process_started_at() -> float:
    """When this process began, seconds since the epoch; now, where the system does not tell.

    https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html (field 22, in clock ticks since the boot)
    """
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return time.time()
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def random_id() -> str:
    """16 random hex digits."""
    return secrets.token_hex(8)
