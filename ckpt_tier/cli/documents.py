"""The documents of ``--json``. Fields are added, never renamed or removed; ``docs/json.md`` is written from here.

Integers in ``*_bytes`` and ``*_seconds``, times in RFC 3339 UTC.
"""

import msgspec

from ckpt_tier.cold.pins import Pin
from ckpt_tier.core.estimate import Assumption, Estimate, Keep
from ckpt_tier.doctor.finding import Finding
from ckpt_tier.flow.listing import Listed
from ckpt_tier.flow.verify import Verified
from ckpt_tier.noting import Annotated
from ckpt_tier.pruning import BestCheckpoint, LeftBranch
from ckpt_tier.running import PassedOver, Resumed
from ckpt_tier.tensors.tree import Entry


class ErrorDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Any error, on stderr: what happened, why, what to do."""

    schema: str = "ckpt-tier/error/1"
    error: str
    why: str
    hint: str
    exit_code: int


class ListDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`list`: the checkpoints of both tiers, by series and step. `cold_error` says why the cold tier could not be
    reached, and then only the hot tier's are listed; empty if it could."""

    schema: str = "ckpt-tier/list/1"
    run: str
    cold_error: str = ""
    checkpoints: tuple[Listed, ...]


class InspectedTensor(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor. `stride` and `storage` are null where it is no plain view of one storage (dtype "opaque").

    `begin_bytes` to `end_bytes` is the part of the storage that its elements lie in; `crc32` is what the file has noted
    for the whole storage, 8 hex digits, null where it has noted none.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...] | None
    size_bytes: int
    contiguous: bool
    storage: str | None
    storage_bytes: int | None
    begin_bytes: int
    end_bytes: int
    crc32: str | None


class InspectedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file: `place` is where it was read, `sharing` the names of tensors that have one storage."""

    path: str
    place: str
    format: str
    size_bytes: int
    tensors: tuple[InspectedTensor, ...]
    entries: tuple[Entry, ...]
    sharing: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


class InspectDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`inspect`: what a checkpoint holds. `where` is "hot", "cold" or "path"; of a path, series, step, generation and
    saved_at are null. `requests` and `read_bytes` are what it cost to look."""

    schema: str = "ckpt-tier/inspect/1"
    where: str
    series: str | None
    step: int | None
    generation: str | None
    saved_at: str | None
    versions: dict[str, str]
    size_bytes: int
    files: tuple[InspectedFile, ...]
    notes: tuple[str, ...]
    requests: int
    read_bytes: int


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


class RestoreDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`restore`: what came back, and what was passed over. `notes` say what else should be known: that the cold tier is
    away, that what came back is on the hot tier alone."""

    schema: str = "ckpt-tier/restore/1"
    restored: tuple[RestoredDocument, ...]
    passed_over: tuple[PassedOverDocument, ...]
    notes: tuple[str, ...]


class ExecDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`exec`: what became of the command and of the queue. `exit_code` is the command's; `resumed` is null where it
    began anew; `drained`: nothing waits for the cold tier; `problem` says why nobody could tell."""

    schema: str = "ckpt-tier/exec/1"
    exit_code: int
    resumed: Resumed | None
    passed_over: tuple[PassedOver, ...]
    notes: tuple[str, ...]
    drained: bool
    left_count: int
    left_bytes: int
    problem: str


class RunInColdTier(msgspec.Struct, frozen=True, kw_only=True):
    """A run that `recover` found. `newest_step` was saved last, at `saved_at`; null without a readable checkpoint."""

    name: str
    series: int
    checkpoints: int
    size_bytes: int
    newest_step: int | None
    saved_at: str | None


class NotRecovered(msgspec.Struct, frozen=True, kw_only=True):
    """A series that did not come back."""

    series: str
    reason: str


class RecoverDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`recover`: what came back and where to go on.

    `runs` is filled, and nothing else done, where there are several and none was named. `config_written` is false if
    an identical configuration was there already.
    """

    schema: str = "ckpt-tier/recover/1"
    cold_url: str
    runs: tuple[RunInColdTier, ...]
    run: str | None
    run_id: str | None
    config: str | None
    config_written: bool
    hot_path: str
    restored: tuple[RestoredDocument, ...]
    passed_over: tuple[PassedOverDocument, ...]
    failed: tuple[NotRecovered, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    exit_code: int


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


class PrunedCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint of the tier, or on the hot one the share of a `rank`, which is null for what is no share.

    `verdict` is "keep" or "remove", `reasons` are all of them; `removed`: it is gone.
    """

    series: str
    step: int
    generation: str | None
    verdict: str
    reasons: tuple[str, ...]
    size_bytes: int
    removed: bool
    rank: int | None = None


class PruneDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`prune`: the verdict on every checkpoint, and what was done about it.

    `tier` is "hot" or "cold", `policy` the rules that hold there. `freed_bytes` is what this call freed (with
    --dry-run: what it would), `waiting_bytes` what nothing refers to any more and a later prune of the cold tier frees,
    all of it after `frees_at`.
    """

    schema: str = "ckpt-tier/prune/1"
    tier: str
    dry_run: bool
    policy: tuple[str, ...]
    checkpoints: tuple[PrunedCheckpoint, ...]
    removed_count: int
    removed_bytes: int
    freed_bytes: int
    waiting_bytes: int
    frees_at: str | None
    notes: tuple[str, ...]


class PinDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`pin`: what is pinned now. `best`: with --best the generations that were found, the best of each series first."""

    schema: str = "ckpt-tier/pin/1"
    pinned: tuple[Pin, ...]
    best: tuple[BestCheckpoint, ...] = ()


class AnnotateDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`annotate`: what was noted of which generation; it is empty where all of it was known."""

    schema: str = "ckpt-tier/annotate/1"
    annotated: Annotated


class UnpinDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`unpin`: (series, step) of what is not pinned any more."""

    schema: str = "ckpt-tier/unpin/1"
    unpinned: tuple[tuple[str, int], ...]


class AbandonDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`abandon`: the branches that training has left; `undone`: that count again."""

    schema: str = "ckpt-tier/abandon/1"
    undone: bool
    branches: tuple[LeftBranch, ...]


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


class DoctorDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`doctor`: what was looked at, in the order of looking, and what each finding costs and needs."""

    schema: str = "ckpt-tier/doctor/1"
    findings: tuple[Finding, ...]
    good_count: int
    warning_count: int
    bad_count: int
    exit_code: int


class EstimateDocument(msgspec.Struct, frozen=True, kw_only=True):
    """`estimate`: what was asked, with everything it rests on, and the estimates for it and for other frequencies and
    retentions.

    `room_bytes` is what checkpoints may take on the hot tier, `largest_keep` the most of each series that fits at the
    peak: all that are made if that fits, 0 if not even one does. `every_if_all` is the fewest steps between saves at
    which all that are made fit, rounded up to two digits; null if not even one save fits. `price_per_gb_month` and
    `cost_per_month` are in dollars, of 10^9 bytes.
    """

    schema: str = "ckpt-tier/estimate/1"
    steps: int
    every: int
    keep: Keep
    series: int
    size_bytes: int
    interval_seconds: int | None
    uplink_bytes_per_second: int
    price_per_gb_month: float | None
    room_bytes: int
    largest_keep: int
    every_if_all: int | None
    estimates: tuple[Estimate, ...]
    assumptions: tuple[Assumption, ...]
    problems: tuple[str, ...]
