"""One row of the journal: a save that was seen, and how far it has come."""

import msgspec

from ckpt_tier.core.findings import Findings
from ckpt_tier.core.nouns import FileDigest, Stamp
from ckpt_tier.core.pieces import PieceChecksums
from ckpt_tier.core.states import NEEDS_A_PERSON, State


class Save(msgspec.Struct, frozen=True, kw_only=True):
    """One content of one file on its way to the cold tier.

    Attributes:
        id: the row's number; 0 before it is stored.
        path: relative to the hot folder.
        saved_at: seconds since the epoch: the hook's time, else the file's mtime.
        ticket, link: the hook's ticket and its hard link in ``unsent/``, if the hook brought it.
        reason: why it is rejected, stalled or lost, or can't be read.
        retry_at: seconds since the epoch; not tried again before.
        digest, pieces, findings: what validation found.
        generation: known from validation on.
    """

    id: int = 0
    series: str
    step: int
    path: str
    stamp: Stamp
    saved_at: float
    ticket: str | None = None
    link: str | None = None
    save_id: str | None = None
    metrics: dict[str, float] = {}
    state: State = State.SAVED
    reason: str = ""
    retry_at: float = 0.0
    changed_at: float = 0.0
    digest: FileDigest | None = None
    pieces: PieceChecksums | None = None
    findings: Findings | None = None
    generation: str | None = None

    @property
    def trouble(self) -> str:
        """What a person has to look at: "rejected", "stalled", "lost" or "unreadable"; empty if nothing."""
        if self.state in NEEDS_A_PERSON:
            return self.state.value
        return "unreadable" if self.state is State.SAVED and self.reason else ""

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stamp.size
