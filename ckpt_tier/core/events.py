"""What happens, as it happens: one frozen struct per kind of event. The command line shows them, `--json` prints
them as lines with a `type`, the log keeps them."""

from collections.abc import Callable

import msgspec


class Event(msgspec.Struct, frozen=True, tag_field="type", tag=str.lower, omit_defaults=True):
    """Base of all events. Times in seconds, sizes in bytes."""


class Found(Event, frozen=True):
    """One look at both tiers: what there is to do."""

    checkpoints: int
    to_validate: int
    to_upload: int
    upload_bytes: int


class Validated(Event, frozen=True):
    """A file is a whole checkpoint."""

    series: str
    step: int
    path: str
    size_bytes: int
    elapsed_seconds: float


class Rejected(Event, frozen=True):
    """A file is not a whole checkpoint."""

    series: str
    step: int
    path: str
    reason: str


class Moved(Event, frozen=True):
    """Bytes of one file went up (or down); `stored_bytes` had already been there from an earlier attempt."""

    series: str
    step: int
    path: str
    size_bytes: int
    moved_bytes: int
    stored_bytes: int = 0


class Committed(Event, frozen=True):
    """A checkpoint is complete in the cold tier; `adopted` if it had been there already."""

    series: str
    step: int
    generation: str
    size_bytes: int
    elapsed_seconds: float
    adopted: bool = False


class Evicted(Event, frozen=True):
    """A hot copy was deleted; the cold tier holds it."""

    series: str
    step: int
    path: str
    size_bytes: int
    reason: str


class NotEvicted(Event, frozen=True):
    """An eviction was called off at its last check; nothing was deleted."""

    series: str
    step: int
    path: str
    reason: str


class Retrying(Event, frozen=True):
    """An attempt failed; the next one comes by itself."""

    series: str
    step: int
    reason: str
    attempt: int
    wait_seconds: float


class Stalled(Event, frozen=True):
    """Retries are used up for now; tried again by itself at `retry_at` (RFC 3339)."""

    series: str
    step: int
    reason: str
    retry_at: str


class Lost(Event, frozen=True):
    """A save is gone from disk before it was committed."""

    series: str
    step: int
    path: str
    reason: str


class Changed(Event, frozen=True):
    """A file changed while it was being read: taken up again."""

    series: str
    step: int
    path: str
    reason: str


class Restored(Event, frozen=True):
    """A checkpoint is back at its place."""

    series: str
    step: int
    generation: str
    path: str
    size_bytes: int
    fetched_bytes: int
    elapsed_seconds: float


class PassedOver(Event, frozen=True):
    """`--latest` went back past a checkpoint."""

    series: str
    step: int
    reason: str


class Note(Event, frozen=True):
    """Something worth a line in the log."""

    text: str


class Warned(Event, frozen=True):
    """Something that a person should know: disk filling up, cold tier away, a configuration that can't be read."""

    text: str
    fix: str = ""


Emit = Callable[[Event], None]
"""Receives every event; called from several threads, must not block for long and must not raise."""
