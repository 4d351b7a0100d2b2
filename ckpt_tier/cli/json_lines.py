"""Events as JSON, one line each, with a ``type`` and the time."""

import contextlib
import sys
import threading

import msgspec

from ckpt_tier.core.events import Event, Found, Moved
from ckpt_tier.core.units import format_time
from ckpt_tier.system.clock import Clock

MOVED_EVERY = 1.0
"""Seconds between two lines about one file in transfer."""


class JsonLines:
    """Receives events from any thread; an output that can't be written never stops the work."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._moved_at: dict[str, float] = {}
        self._found: Found | None = None

    def __call__(self, event: Event) -> None:
        with self._lock, contextlib.suppress(OSError, ValueError):
            if isinstance(event, Moved | Found) and not self._is_due(event):
                return
            document = {"at": format_time(self._clock.now()), **msgspec.to_builtins(event)}
            for name in [name for name in document if name.endswith("_seconds")]:
                document[name] = round(document[name])
            sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
            sys.stdout.flush()

    def _is_due(self, event: Moved | Found) -> bool:
        if isinstance(event, Found):
            due = event != self._found
            self._found = event
            return due
        now = self._clock.monotonic()
        due = now - self._moved_at.get(event.path, -MOVED_EVERY) >= MOVED_EVERY
        if due:
            self._moved_at[event.path] = now
        if event.moved_bytes + event.stored_bytes >= event.size_bytes:
            self._moved_at.pop(event.path, None)
        return due
