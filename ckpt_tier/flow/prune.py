"""Taking checkpoints out of the cold tier: which ones and why, and the removal of one.

The removal of one generation, and what a crash leaves between every two lines of it:

1. it is not pinned                       → nothing
2. its tombstone is put                   → a checkpoint that is committed as before: the manifest counts, and the next
                                            prune writes the tombstone anew
3. its manifest is deleted                → a pruned checkpoint; its data is referred to by nothing, and a later prune
                                            frees it once the grace is over (`flow.reclaim`)

A pin that is put between 1 and 3 comes too late, by the time of two requests; `pin` looks again after it has put the
pin, and says so. Nothing here deletes data, and every step can be taken again.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from ckpt_tier.cold.manifest import Manifest
from ckpt_tier.cold.manifests import Entry, Manifests
from ckpt_tier.cold.notes import NO_NOTES, Notes, metrics_of
from ckpt_tier.cold.pins import is_pinned
from ckpt_tier.cold.tombstones import Tombstone, bury
from ckpt_tier.core.branches import branch_of
from ckpt_tier.core.retention import Checkpoint, Policy
from ckpt_tier.core.units import format_time
from ckpt_tier.errors import CkptTierError
from ckpt_tier.flow.retry import persistently
from ckpt_tier.system.clock import Clock

AT_ONCE = 16
"""Generations, or objects, that are removed at the same time: each takes a few small requests."""


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one generation, or of one hot copy. `generation` is None where nobody knows it yet; `rank` tells
    whose share a hot copy is, and is None if it is no share."""

    series: str
    step: int
    generation: str | None
    kept: bool
    reasons: tuple[str, ...]
    size_bytes: int
    rank: int | None = None


def as_checkpoints(found: Mapping[Entry, Manifest], notes: Notes) -> dict[Entry, Checkpoint]:
    """What is committed, as retention sees it, by series and step."""
    return {
        entry: Checkpoint(
            series=entry.series,
            step=entry.step,
            saved_at=found[entry].saved,
            generation=entry.generation,
            metrics=metrics_of(found[entry], notes),
            abandoned=branch_of(notes.branches, entry.series, entry.step, found[entry].saved) is not None,
        )
        for entry in sorted(found)
    }


def rule(
    policy: Policy,
    found: Mapping[Entry, Manifest],
    damaged: Mapping[Entry, CkptTierError],
    protected: Mapping[tuple[str, int], str],
    now: float,
    notes: Notes = NO_NOTES,
) -> list[Ruling]:
    """A ruling for each committed generation, by series and step. Pure.

    `protected` gives the reason why a (series, step) stays whatever the policy says: a pin or a hold. A manifest that
    can't be read is never removed, and never stands for the newest; nor does one on a branch that training has left.
    """
    checkpoints = as_checkpoints(found, notes)
    rulings = []
    for entry, verdict in zip(checkpoints, policy.judge(list(checkpoints.values()), now), strict=True):
        guard = protected.get((entry.series, entry.step))
        reasons = verdict.reasons
        if guard is not None:
            reasons = (guard, *verdict.reasons) if verdict.kept else (guard,)
        rulings.append(
            Ruling(
                series=entry.series,
                step=entry.step,
                generation=entry.generation,
                kept=verdict.kept or guard is not None,
                reasons=reasons,
                size_bytes=found[entry].size,
            )
        )
    for entry, error in damaged.items():
        reasons = (f"its manifest can't be trusted: {error}",)
        rulings.append(
            Ruling(
                series=entry.series,
                step=entry.step,
                generation=entry.generation,
                kept=True,
                reasons=reasons,
                size_bytes=0,
            )
        )
    return sorted(rulings, key=lambda each: (each.series, each.step, each.generation or ""))


def remove(
    manifests: Manifests, doomed: Sequence[tuple[Manifest, Ruling]], policy: Policy, clock: Clock
) -> Iterator[tuple[Ruling, bool]]:
    """Removes generations, several at once; each with whether it went: False if it has been pinned meanwhile.

    Raises UnavailableError, AccessDeniedError, CancelledError; what was not reached then is as it was.
    """

    def one(manifest: Manifest, ruling: Ruling) -> tuple[Ruling, bool]:
        clock.sleep(0)
        return ruling, persistently(lambda: remove_one(manifests, tombstone_of(manifest, ruling)), clock)

    def tombstone_of(manifest: Manifest, ruling: Ruling) -> Tombstone:
        return Tombstone(
            pruned_at=format_time(clock.now()),
            policy=tuple(map(str, policy.rules)),
            reasons=ruling.reasons,
            size_bytes=manifest.size,
            manifest=manifest,
        )

    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            yield from pool.map(one, *zip(*doomed, strict=True)) if doomed else ()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def remove_one(manifests: Manifests, tombstone: Tombstone) -> bool:
    """Takes one generation out of the cold tier, as the module's docstring says. False if it is pinned."""
    manifest = tombstone.manifest
    if is_pinned(manifests, manifest.series, manifest.step):
        return False
    bury(manifests, tombstone)
    manifests.store.delete(manifest.key)
    return True
