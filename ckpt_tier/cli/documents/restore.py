"""The document of `restore`."""

import msgspec


class RestoredDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint that is back. `fetched_bytes` is 0 when identical files were there already.

    `path` is its file, or the folder that holds it. `committed` is false for one that only the hot tier has.
    `held_until`: not evicted before; null outside the hot folder.
    """

    series: str
    step: int
    generation: str
    root: str
    path: str
    committed: bool
    files: tuple[str, ...]
    size_bytes: int
    fetched_bytes: int
    elapsed_seconds: int
    held_until: str | None


class PassedOverDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A newer checkpoint that `restore --latest` did not take."""

    series: str
    step: int
    reason: str


class NotRestored(msgspec.Struct, frozen=True, kw_only=True):
    """A series that did not come back."""

    series: str
    reason: str


class RestoreDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`restore`: what came back, what was passed over, and of several series those that did not come back. `notes` say
    what else should be known: that the cold tier is away, that what came back is on the hot tier alone."""

    schema: str = "ckpt-tier/restore/1"
    restored: tuple[RestoredDocument, ...]
    passed_over: tuple[PassedOverDocument, ...]
    failed: tuple[NotRestored, ...]
    notes: tuple[str, ...]
