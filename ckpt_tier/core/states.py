"""Durability states of a save. Whether a hot copy exists is observed, never stored."""

from enum import StrEnum


class State(StrEnum):
    """`SAVED → VALIDATED → UPLOADING → UPLOADED → COMMITTED`, and the three beside the line."""

    SAVED = "saved"
    VALIDATED = "validated"
    UPLOADING = "uploading"
    UPLOADED = "uploaded"
    COMMITTED = "committed"
    REJECTED = "rejected"
    """Failed validation: kept or set aside, never uploaded as good, never counted by retention."""
    STALLED = "stalled"
    """Retries used up; tried again by itself."""
    LOST = "lost"
    """Gone from disk before it was committed."""


VALID = frozenset({State.VALIDATED, State.UPLOADING, State.UPLOADED, State.COMMITTED, State.STALLED})
"""States that only a validated save can have: what retention counts."""

QUEUED = frozenset({State.VALIDATED, State.UPLOADING, State.UPLOADED, State.STALLED})
"""States of a save that waits for its upload or commit."""

NEEDS_A_PERSON = frozenset({State.REJECTED, State.STALLED, State.LOST})
"""States that stay in `status` and in the exit code until mended or dismissed."""
