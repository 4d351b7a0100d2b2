"""What can be done with a checkpoint: the words in which `reconcile` decides and `sync` acts."""

from enum import StrEnum

import msgspec

from ckpt_tier.inbox import Ticket
from ckpt_tier.journal.saves import Save


class Kind(StrEnum):
    """What an action does."""

    ATTACH = "attach"
    """Join the hook's ticket to a save that scanning had found first."""
    ADOPT = "adopt"
    """Note that the cold tier holds this generation already."""
    ASSEMBLE = "assemble"
    """Commit a checkpoint of several shares, once all of them are there."""
    RETIRE = "retire"
    """Note that this generation was pruned from the cold tier: it is not uploaded again."""
    LOSE = "lose"
    """Report a save that is gone from disk before it was committed."""
    FORGET = "forget"
    """Drop a journal row that stands for nothing any more."""
    RELEASE = "release"
    """Unlink the hook's hard link: its bytes are committed, or have another name."""
    LET_GO = "let-go"
    """Unlink the last copy of a save that the trainer has deleted: the disk is nearly full."""
    SET_ASIDE = "set-aside"
    """Move a rejected file out of the trainer's way."""
    EVICT = "evict"
    VALIDATE = "validate"
    UPLOAD = "upload"
    WAIT = "wait"
    KEEP = "keep"
    REPORT = "report"
    """A person is needed: rejected, stalled, lost."""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do and why. `after` names what must happen first; empty means now."""

    kind: Kind
    reason: str
    series: str
    step: int
    path: str
    size: int = 0
    after: str = ""
    save: Save | None = None
    ticket: Ticket | None = None
    links: tuple[str, ...] = ()


def act(
    kind: Kind, save: Save, reason: str, *, after: str = "", ticket: Ticket | None = None, links: tuple[str, ...] = ()
) -> Action:
    """The action of a kind on a save."""
    return Action(
        kind=kind,
        reason=reason,
        series=save.series,
        step=save.step,
        path=save.path,
        size=save.size,
        after=after,
        save=save,
        ticket=ticket,
        links=links,
    )
