"""Events as log lines: UTC time, WARNING where it is one, the word to search for, the rest."""

import contextlib
import sys
import threading

from ckpt_tier.cli.paper import plain
from ckpt_tier.cli.words import DETAIL, INFO, WARNING, line
from ckpt_tier.core.events import Event, Found, Moved
from ckpt_tier.core.units import format_size, format_time
from ckpt_tier.system.clock import Clock

BIG = 256 * 2**20
"""Files from this size on say how far they are."""
EVERY_SECONDS = 10.0
EVERY_SHARE = 0.1


class LogLines:
    """Receives events from any thread. A log that can't be written (a full disk, a reader that went away) never
    stops the work."""

    def __init__(self, clock: Clock, *, verbose: bool, quiet: bool) -> None:
        self._clock = clock
        self._least = WARNING if quiet else DETAIL if verbose else INFO
        self._lock = threading.Lock()
        self._said: dict[tuple[str, str], tuple[float, float]] = {}
        self._found: tuple[int, int] = (0, 0)

    def __call__(self, event: Event) -> None:
        if isinstance(event, Moved):
            self._moved(event)
            return
        if isinstance(event, Found) and not self._is_news(event):
            return
        said = line(event)
        if said is not None and said.weight >= self._least:
            told = said.text if said.head == "warning" else str(said)
            self.write(("WARNING " if said.weight == WARNING else "") + told)

    def write(self, text: str) -> None:
        """One line with the time in front."""
        stamped = f"{format_time(self._clock.now())[:19]}Z {plain(text)}\n"
        with self._lock, contextlib.suppress(OSError, ValueError):
            sys.stdout.write(stamped)
            sys.stdout.flush()

    def _is_news(self, event: Found) -> bool:
        seen = (event.to_validate, event.to_upload)
        with self._lock:
            more = seen[0] > self._found[0] or seen[1] > self._found[1]
            self._found = seen
        return more

    def _moved(self, event: Moved) -> None:
        if event.size_bytes < BIG or self._least > INFO:
            return
        now = self._clock.monotonic()
        there = event.moved_bytes + event.stored_bytes
        share = there / event.size_bytes
        with self._lock:
            last_share, last_at = self._said.setdefault((event.series, event.path), (0.0, now))
            due = share >= last_share + EVERY_SHARE or now >= last_at + EVERY_SECONDS
            if share < last_share:  # begun anew
                due, last_share = False, 0.0
                self._said[event.series, event.path] = (0.0, now)
            if due:
                self._said[event.series, event.path] = (share, now)
            if there >= event.size_bytes:
                self._said.pop((event.series, event.path), None)
        if due and there < event.size_bytes:
            progress = f"{share:.0%} of {format_size(event.size_bytes)}"
            self.write(f"moving series={event.series} step={event.step} {event.path} {progress}")
