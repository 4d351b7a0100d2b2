"""Time and randomness, passed in so that tests own them."""

import secrets
import threading
import time
from typing import Protocol

from ckpt_tier.errors import CancelledError


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


class SystemClock:
    """The machine's clock. A stop request ends every sleep on it."""

    def __init__(self, stop: threading.Event | None = None) -> None:
        self.stop = stop or threading.Event()

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        if self.stop.wait(max(0.0, seconds)):
            raise CancelledError("stopped on request", fix="run the same command again to go on")


def random_id() -> str:
    """16 random hex digits."""
    return secrets.token_hex(8)
