"""The documents of `sync`."""

import msgspec


class PlannedAction(msgspec.Struct, frozen=True, kw_only=True):
    """One action of `sync --dry-run`. `after` says what must happen first; empty means now."""

    action: str
    series: str
    step: int
    path: str
    size_bytes: int
    after: str
    reason: str


class PlanDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`sync --dry-run`: every action that a sync would take now, in its order."""

    schema: str = "ckpt-tier/sync-plan/1"
    actions: tuple[PlannedAction, ...]
    upload_bytes: int
    free_bytes: int


class SyncedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint that this pass committed; `adopted` if the cold tier held it already."""

    series: str
    step: int
    generation: str
    size_bytes: int
    adopted: bool


class EvictedCopy(msgspec.Struct, frozen=True, kw_only=True):
    """A hot copy that this pass deleted; the cold tier holds it."""

    series: str
    step: int
    path: str
    size_bytes: int
    reason: str


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """A save that needs a person: `state` is "rejected", "stalled" or "lost", or "damaged": committed, and found
    missing or damaged in the cold tier."""

    state: str
    series: str
    step: int
    path: str
    reason: str


class SyncDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`sync`: what one pass did, and what needs a person after it."""

    schema: str = "ckpt-tier/sync/1"
    committed: tuple[SyncedCheckpoint, ...]
    evicted: tuple[EvictedCopy, ...]
    trouble: tuple[Trouble, ...]
    warnings: tuple[str, ...]
    committed_bytes: int
    freed_bytes: int
    elapsed_seconds: int
    exit_code: int


class DismissedDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`sync --dismiss`: the losses that are no longer reported."""

    schema: str = "ckpt-tier/dismissed/1"
    dismissed: tuple[tuple[str, int], ...]
