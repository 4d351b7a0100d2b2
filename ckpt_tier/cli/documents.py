"""The documents of ``--json``. Fields are added, never renamed or removed; ``docs/json.md`` is written from here.

Integers in ``*_bytes`` and ``*_seconds``, times in RFC 3339 UTC.
"""

import msgspec

from ckpt_tier.flow.listing import Listed
from ckpt_tier.flow.verify import Verified


class ErrorDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Any error, on stderr: what happened, why, what to do."""

    schema: str = "ckpt-tier/error/1"
    error: str
    why: str
    hint: str
    exit_code: int


class ListDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`list`: the checkpoints of both tiers, by series and step."""

    schema: str = "ckpt-tier/list/1"
    run: str
    checkpoints: tuple[Listed, ...]


class RestoredDocument(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint that is back. `fetched_bytes` is 0 when identical files were there already.

    `held_until`: not evicted before; null outside the hot folder.
    """

    series: str
    step: int
    generation: str
    root: str
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


class RestoreDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`restore`: what came back, and what was passed over."""

    schema: str = "ckpt-tier/restore/1"
    restored: tuple[RestoredDocument, ...]
    passed_over: tuple[PassedOverDocument, ...]
    notes: tuple[str, ...]


class VerifyDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`verify`: a verdict for each checkpoint. `proved` is "presence" or "content"."""

    schema: str = "ckpt-tier/verify/1"
    proved: str
    good_count: int
    bad_count: int
    read_bytes: int
    elapsed_seconds: int
    checkpoints: tuple[Verified, ...]


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


class FoundSeries(msgspec.Struct, frozen=True, kw_only=True):
    """One series that `init` found in the hot folder."""

    name: str
    checkpoints: int
    size_bytes: int
    newest_step: int
    corrupt: int


class CorruptFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that failed validation."""

    series: str
    step: int
    path: str
    reason: str


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that `init` tried on the cold tier; `needed`: it can't be used without."""

    name: str
    passed: bool
    detail: str
    needed: bool


class InitDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`init`: what was found, tried and written."""

    schema: str = "ckpt-tier/init/1"
    config: str
    run: str
    run_id: str
    hot_path: str
    cold_url: str
    layout: str
    series: tuple[FoundSeries, ...]
    corrupt: tuple[CorruptFile, ...]
    trials: tuple[Trial, ...]
