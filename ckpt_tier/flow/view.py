"""Everything that `reconcile` decides by, as plain values: one look at both tiers and the journal."""

from collections.abc import Mapping

import msgspec

from ckpt_tier.core.branches import Branch
from ckpt_tier.core.nouns import Stamp
from ckpt_tier.core.retention import Policy
from ckpt_tier.hot.scan import HotCopy
from ckpt_tier.inbox import Ticket
from ckpt_tier.journal.saves import Save, SavedFile


class Link(msgspec.Struct, frozen=True):
    """A hard link in ``unsent/``; `links` counts all names of the file; `linked_at` in seconds since the epoch."""

    stamp: Stamp
    links: int
    linked_at: float


class Rules(msgspec.Struct, frozen=True):
    """The configuration's part of the decision. Seconds and bytes.

    Attributes:
        room: bytes that a training asks to have free before its next save; for them only what is committed goes.
        complete_when: a folder is taken up once a file in it has such a name; None: once it has settled.
        ranks: how many shares make a checkpoint of a layout with ranks; None: as the hook says.
        set_window: shares without a save id belong together if they were saved within this time.
    """

    retention: Policy
    settle: float
    min_free: int
    newest_first: bool
    set_aside: bool
    room: int = 0
    complete_when: str | None = None
    ranks: int | None = None
    set_window: float = 120.0


class View(msgspec.Struct, frozen=True):
    """One look.

    Attributes:
        now: seconds since the epoch.
        free: bytes free on the hot file system.
        hot: by path relative to the hot folder.
        tickets: the hook's saves that are not resolved yet.
        links: the hook's hard links, by name.
        saves: the journal's rows.
        committed: (series, step, generation), at least from the oldest hot step on.
        protected: reason why a (series, step) must stay on the hot tier: a hold or pin.
        tracked: paths that a symlink or tracker file of the trainer points to.
        postponed: paths that were found open for writing, and until when to leave them alone.
        busy: rows that are being uploaded now.
        tombstones: generations that were pruned from the cold tier, and when, at least from the oldest hot step on.
        branches: those that training has left.
        metrics: of (series, step, generation): what was noted after it was committed, stronger than the save's own.
        ambiguous: (series, step) that several paths of the hot folder claim to be, each as the same share of it.
        whole: paths of shares whose checkpoint is whole, though no manifest says so: there is no cold tier.
        damaged: (series, step, generation) of what is committed, but was found missing or damaged in the cold tier.
    """

    now: float
    rules: Rules
    free: int
    hot: Mapping[str, HotCopy]
    tickets: tuple[Ticket, ...]
    links: Mapping[str, Link]
    saves: tuple[Save, ...]
    committed: frozenset[tuple[str, int, str]]
    protected: Mapping[tuple[str, int], str]
    tracked: frozenset[str]
    postponed: Mapping[str, float]
    busy: frozenset[int]
    tombstones: Mapping[tuple[str, int, str], float] = {}
    damaged: frozenset[tuple[str, int, str]] = frozenset()
    branches: tuple[Branch, ...] = ()
    metrics: Mapping[tuple[str, int, str], Mapping[str, float]] = {}
    ambiguous: frozenset[tuple[str, int]] = frozenset()
    whole: frozenset[str] = frozenset()


def row_of_ticket(ticket: Ticket) -> Save:
    """A new row for what the hook handed over."""
    return Save(
        series=ticket.series,
        step=ticket.step,
        path=ticket.path,
        stamp=ticket.stamp,
        files=tuple(SavedFile(path=file.path, stamp=file.stamp, link=file.link) for file in ticket.files),
        saved_at=ticket.saved_at,
        rank=ticket.rank,
        world_size=ticket.world_size,
        ticket=ticket.id,
        save_id=ticket.save_id,
        during=ticket.during,
        metrics=ticket.metrics,
    )


def row_of(copy: HotCopy, world_size: int | None) -> Save:
    """A new row for what only scanning knows of; `world_size` counts only for a share."""
    return Save(
        series=copy.series,
        step=copy.step,
        path=copy.path,
        stamp=copy.stamp,
        files=tuple(SavedFile(path=file.path, stamp=file.stamp) for file in copy.files),
        saved_at=copy.mtime_ns / 1e9,
        rank=copy.rank,
        world_size=None if copy.rank is None else world_size,
    )
