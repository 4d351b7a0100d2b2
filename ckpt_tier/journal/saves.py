"""One row of the journal: a save that was seen, and how far it has come."""

from collections.abc import Iterable

import msgspec

from ckpt_tier.core.findings import Findings
from ckpt_tier.core.nouns import FileDigest, Pass, Stamp
from ckpt_tier.core.pieces import PieceChecksums
from ckpt_tier.core.states import NEEDS_A_PERSON, State


class SavedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a save.

    Attributes:
        path: relative to the hot folder.
        link: the hook's hard link in ``unsent/``, if there is one.
        digest, pieces: what validation read.
    """

    path: str
    stamp: Stamp
    link: str | None = None
    digest: FileDigest | None = None
    pieces: PieceChecksums | None = None


class Save(msgspec.Struct, frozen=True, kw_only=True):
    """One content of a checkpoint, or of one rank's share of it, on its way to the cold tier.

    Attributes:
        id: the row's number; 0 before it is stored.
        path: of the file or folder, relative to the hot folder.
        stamp: of all `files` together.
        saved_at: seconds since the epoch: the hook's time, else the latest mtime.
        rank, world_size: which share of how many this is; None where the save is a whole checkpoint.
        ticket: the hook's, if the hook brought it.
        reason: why it is rejected, stalled or lost, or can't be read; what it waits for once it is uploaded.
        retry_at: seconds since the epoch; not tried again before.
        findings, member: what validation found, and the member's id that follows from it.
        generation: known from validation on; of a share once every other one is there.
        overtaken: waiting alone will not make its set whole: a later checkpoint is committed, or nobody can tell which
            shares belong to it.
        dismissed: a person has given up waiting for them.
    """

    id: int = 0
    series: str
    step: int
    path: str
    stamp: Stamp
    files: tuple[SavedFile, ...]
    saved_at: float
    rank: int | None = None
    world_size: int | None = None
    ticket: str | None = None
    save_id: str | None = None
    during: Pass | None = None
    metrics: dict[str, float] = {}
    state: State = State.SAVED
    reason: str = ""
    retry_at: float = 0.0
    changed_at: float = 0.0
    findings: Findings | None = None
    member: str | None = None
    generation: str | None = None
    overtaken: bool = False
    dismissed: bool = False

    @property
    def trouble(self) -> str:
        """What a person has to look at: "rejected", "stalled", "lost", "unreadable", "incomplete"; empty if nothing."""
        if self.state in NEEDS_A_PERSON:
            return self.state.value
        if self.state is State.UPLOADED and self.overtaken and not self.dismissed:
            return "incomplete"
        return "unreadable" if self.state is State.SAVED and self.reason else ""

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stamp.size

    @property
    def is_share(self) -> bool:
        """Whether it is one of several members of its checkpoint."""
        return self.rank is not None

    @property
    def links(self) -> tuple[str, ...]:
        """The names of its hard links in ``unsent/``."""
        return tuple(file.link for file in self.files if file.link)

    @property
    def digests(self) -> tuple[FileDigest, ...] | None:
        """Of all files; None before validation."""
        known = tuple(file.digest for file in self.files if file.digest is not None)
        return known if len(known) == len(self.files) else None


def by_checkpoint(saves: Iterable[Save], *, whole: bool) -> list[list[Save]]:
    """The saves that are one checkpoint together; with `whole` only where all of its shares are there."""
    groups: dict[tuple[str, int, str | int], list[Save]] = {}
    for save in saves:
        groups.setdefault((save.series, save.step, save.generation or save.id), []).append(save)
    return [shares for shares in groups.values() if not whole or len(shares) == (shares[0].world_size or 1)]
