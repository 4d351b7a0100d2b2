"""Branches that training has left, as notes in the cold tier."""

from collections.abc import Iterable

import msgspec

from ckpt_tier.cold import keys
from ckpt_tier.cold.documents import encode
from ckpt_tier.cold.manifests import Manifests
from ckpt_tier.cold.notes import NOTE_FORMAT, list_notes
from ckpt_tier.core.branches import Branch
from ckpt_tier.core.units import format_time


class BranchNote(msgspec.Struct, frozen=True, kw_only=True):
    """What the key says, for whoever reads it by hand."""

    format: int = NOTE_FORMAT
    series: str
    after_step: int
    saved_before: str


def list_branches(manifests: Manifests, series: Iterable[str]) -> tuple[Branch, ...]:
    """The branches that training has left in these series."""
    return list_notes(manifests, series).branches


def write_branch(manifests: Manifests, branch: Branch) -> None:
    """Notes that training has left a branch."""
    note = BranchNote(series=branch.series, after_step=branch.after, saved_before=format_time(branch.before))
    manifests.store.put(keys.branch_key(manifests.run, branch.series, branch.after, branch.before), encode(note))


def remove_branch(manifests: Manifests, branch: Branch) -> None:
    """Takes the note away: its checkpoints count as any others again."""
    manifests.store.delete(keys.branch_key(manifests.run, branch.series, branch.after, branch.before))
