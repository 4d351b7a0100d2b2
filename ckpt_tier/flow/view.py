"""Everything that `reconcile` decides by, as plain values: one look at both tiers and the journal."""

from collections.abc import Mapping

import msgspec

from ckpt_tier.core.nouns import Stamp
from ckpt_tier.hot.scan import HotFile
from ckpt_tier.inbox import Ticket
from ckpt_tier.journal.saves import Save


class Link(msgspec.Struct, frozen=True):
    """A hard link in ``unsent/``; `links` counts all names of the file; `linked_at` in seconds since the epoch."""

    stamp: Stamp
    links: int
    linked_at: float


class Rules(msgspec.Struct, frozen=True):
    """The configuration's part of the decision. Seconds and bytes."""

    keep_last: int
    settle: float
    min_free: int
    newest_first: bool
    set_aside: bool


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
        damaged: (series, step, generation) of what is committed, but was found missing or damaged in the cold tier.
    """

    now: float
    rules: Rules
    free: int
    hot: Mapping[str, HotFile]
    tickets: tuple[Ticket, ...]
    links: Mapping[str, Link]
    saves: tuple[Save, ...]
    committed: frozenset[tuple[str, int, str]]
    protected: Mapping[tuple[str, int], str]
    tracked: frozenset[str]
    postponed: Mapping[str, float]
    busy: frozenset[int]
    damaged: frozenset[tuple[str, int, str]] = frozenset()
