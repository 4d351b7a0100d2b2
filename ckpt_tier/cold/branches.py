"""Abandoned branches as notes in the cold tier: everything that counts stands in the key, so a listing tells it all."""

from collections.abc import Iterable

import msgspec

from ckpt_tier.cold import keys
from ckpt_tier.cold.documents import encode
from ckpt_tier.cold.manifests import Manifests
from ckpt_tier.core.branches import Branch
from ckpt_tier.core.units import format_time

NOTE_FORMAT = 1


class BranchNote(msgspec.Struct, frozen=True, kw_only=True):
    """What the key says, for whoever reads it by hand."""

    format: int = NOTE_FORMAT
    series: str
    after_step: int
    saved_before: str


def list_branches(manifests: Manifests, series: Iterable[str]) -> tuple[Branch, ...]:
    """The branches that training has left in these series."""
    found = []
    for name in series:
        prefix = keys.notes_prefix(manifests.run, name)
        for stat in manifests.store.list(prefix):
            parsed = keys.parse_branch_name(stat.key.removeprefix(prefix))
            if parsed is not None:
                found.append(Branch(name, *parsed))
    return tuple(found)


def write_branch(manifests: Manifests, branch: Branch) -> None:
    """Notes that training has left a branch."""
    note = BranchNote(series=branch.series, after_step=branch.after, saved_before=format_time(branch.before))
    manifests.store.put(keys.branch_key(manifests.run, branch.series, branch.after, branch.before), encode(note))


def remove_branch(manifests: Manifests, branch: Branch) -> None:
    """Takes the note away: its checkpoints count as any others again."""
    manifests.store.delete(keys.branch_key(manifests.run, branch.series, branch.after, branch.before))
