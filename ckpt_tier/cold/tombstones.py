"""Tombstones: what retention has removed from the cold tier, so that no hot copy of it is uploaded again.

A tombstone is written before its manifest is deleted and stays for good. It carries the whole manifest, so that a
prune that was a mistake can be undone while the data is still there (`docs/retention.md`). Where the manifest is
there too, it counts and the tombstone does not: then the deletion was cut short, or the step was saved again.
"""

from collections.abc import Mapping

import msgspec

from ckpt_tier.cold import keys
from ckpt_tier.cold.documents import MAX_DOCUMENT_BYTES, decode, encode
from ckpt_tier.cold.listings import Span, listed
from ckpt_tier.cold.manifest import Manifest, check
from ckpt_tier.cold.manifests import Entry, Manifests
from ckpt_tier.errors import IntegrityError, MissingKeyError

TOMBSTONE_FORMAT = 1

Generation = tuple[str, int, str]
"""(series, step, generation)."""


class Tombstone(msgspec.Struct, frozen=True, kw_only=True):
    """``tombstones/<step>.<generation>.json``.

    Attributes:
        pruned_at: RFC 3339, by the clock of the machine that pruned; decisions go by the store's clock instead.
        policy: the rules that held, and `reasons` why none of them kept it.
        manifest: the manifest that was deleted.
    """

    format: int = TOMBSTONE_FORMAT
    pruned_at: str
    policy: tuple[str, ...]
    reasons: tuple[str, ...]
    size_bytes: int
    manifest: Manifest


def list_tombstones(manifests: Manifests, oldest: Mapping[str, int]) -> dict[Generation, float]:
    """Every tombstone of these series from the given steps on, with the second at which the store took it."""
    run = manifests.run
    spans = [
        Span(series, keys.tombstones_prefix(run, series), keys.tombstones_before(run, series, step) if step else "")
        for series, step in oldest.items()
    ]
    return {
        (found.series, *parsed): found.modified
        for found in listed(manifests.store, spans)
        if (parsed := keys.parse_manifest_name(found.name)) is not None
    }


def pruned_at(manifests: Manifests, series: str, step: int, generation: str) -> float | None:
    """The second, by the store's clock, at which this generation was pruned; None if it was not."""
    try:
        return manifests.store.stat(keys.tombstone_key(manifests.run, series, step, generation)).modified
    except MissingKeyError:
        return None


def was_saved_again(saved_at: float, pruned: float) -> bool:
    """Whether a save is later than the prune of the same bytes. Then it is uploaded again: somebody wants it.

    Both in seconds since the epoch. Stores note times in whole seconds, so the second of the prune is not later.
    """
    return saved_at >= pruned + 1.0


def bury(manifests: Manifests, tombstone: Tombstone) -> None:
    """Writes a tombstone; one that is there is replaced, and counts from now."""
    of = tombstone.manifest
    manifests.store.put(keys.tombstone_key(manifests.run, of.series, of.step, of.generation), encode(tombstone))


def read_tombstone(manifests: Manifests, series: str, step: int, generation: str) -> Tombstone:
    """The tombstone, its manifest checked. Raises MissingKeyError, IntegrityError."""
    key = keys.tombstone_key(manifests.run, series, step, generation)
    found = decode(manifests.store.get(key, MAX_DOCUMENT_BYTES), Tombstone, key)
    if found.format != TOMBSTONE_FORMAT:
        raise IntegrityError(f"{key} has format {found.format}", f"this version reads {TOMBSTONE_FORMAT}")
    check(found.manifest, manifests.key(Entry(series, step, generation, 0.0)))
    return found
