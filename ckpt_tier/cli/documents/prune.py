"""The document of `prune`."""

import msgspec


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
