"""Which checkpoint a training goes on from: the newest good one, on whichever tier.

What the hot tier alone has counts as well: it may be all there is of the last save before a reboot, or while the cold
tier is away. Nobody's word is taken for it: before it is resumed from, each of its files is read once, by the same
validation that a new file gets, and held against what the journal remembers of its bytes.
"""

import fnmatch
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from ckpt_tier.cold.manifest import FORMAT, Manifest, Member, place
from ckpt_tier.config import Config
from ckpt_tier.core.branches import Branch, branch_of
from ckpt_tier.core.events import Emit, PassedOver
from ckpt_tier.core.findings import together
from ckpt_tier.core.nouns import FileDigest, Pass, generation_id
from ckpt_tier.core.sets import Waiting, set_of
from ckpt_tier.core.states import State
from ckpt_tier.core.units import format_time
from ckpt_tier.errors import IntegrityError, SourceChangedError
from ckpt_tier.formats.check import Level, Rejected
from ckpt_tier.formats.validate import Validated, validate
from ckpt_tier.hot.layout import Place
from ckpt_tier.hot.scan import HotCopy, look_at
from ckpt_tier.inbox import Ticket
from ckpt_tier.journal.saves import Save
from ckpt_tier.system.clock import Clock
from ckpt_tier.system.locks import is_open_for_writing


class HotShare(msgspec.Struct, frozen=True, kw_only=True):
    """One rank's copy, or the only one (rank 0 of 1), as `core.sets` asks for it. `row`: the journal's, of the very
    same stamp. `handed_over`: the hook or an earlier scan has said that it is whole."""

    copy: HotCopy
    rank: int
    world_size: int
    save_id: str | None
    saved: float
    during: Pass | None
    row: Save | None
    handed_over: bool

    @property
    def member_id(self) -> str:
        """What tells one content from another before anybody has read it."""
        return f"{self.copy.path} {self.copy.stamp}"


class HotCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint on the hot tier that no known manifest covers. `saved`: seconds since the epoch. `problem`: why it
    can't be resumed from, as a clause, as far as it is known without reading; empty if it may be good."""

    series: str
    step: int
    saved: float
    shares: tuple[HotShare, ...]
    problem: str = ""

    @property
    def is_committed(self) -> bool:
        """As far as the journal knows: the cold tier can't be asked when this matters."""
        return all(share.row is not None and share.row.state is State.COMMITTED for share in self.shares)


def hot_checkpoints(
    copies: Iterable[HotCopy],
    saves: Iterable[Save],
    tickets: Iterable[Ticket],
    manifests: Sequence[Manifest],
    *,
    ranks: int | None,
    window: float,
) -> list[HotCheckpoint]:
    """What lies on the hot tier beyond the manifests. Pure.

    Training is not running, so nothing is waited for: a set of shares is whole now, or is passed over.
    """
    told: dict[tuple[str, object], Save | Ticket] = {(each.path, each.stamp): each for each in tickets}
    rows = {(row.path, row.stamp): row for row in saves}
    generations = {manifest.generation for manifest in manifests}
    covered = {
        frozenset((file.path, file.size, file.mtime_ns) for file in member.files)
        for manifest in manifests
        for member in manifest.members
    }
    shares: defaultdict[tuple[str, int], list[HotShare]] = defaultdict(list)
    new: set[tuple[str, int]] = set()
    for copy in copies:
        row = rows.get((copy.path, copy.stamp))
        source = row or told.get((copy.path, copy.stamp))
        rank = copy.rank if source is None else source.rank  # the hook may know of ranks that the layout does not show
        world_size = (source.world_size if source else None) or ranks or 0
        shares[copy.series, copy.step].append(
            HotShare(
                copy=copy,
                rank=rank or 0,
                world_size=1 if rank is None else world_size,
                save_id=source.save_id if source else None,
                saved=source.saved_at if source else copy.mtime_ns / 1e9,
                during=source.during if source else None,
                row=row,
                handed_over=source is not None,
            )
        )
        files = frozenset((file.path, file.stamp.size, file.stamp.mtime_ns) for file in copy.files)
        if files not in covered and not (row and row.state is State.COMMITTED and row.generation in generations):
            new.add((copy.series, copy.step))
    return [_put_together(series, step, shares[series, step], window) for series, step in sorted(new)]


def _put_together(series: str, step: int, shares: Sequence[HotShare], window: float) -> HotCheckpoint:
    latest = max(shares, key=lambda share: share.saved)
    rejected = next((s.row.reason for s in shares if s.row and s.row.state is State.REJECTED), "")
    whole = set_of(latest, shares, window=window, now=float("inf")) if latest.world_size else None
    problem = rejected
    if whole is None:
        problem = problem or "it is a share of a checkpoint, and of how many is not known: set [hot] ranks"
    elif isinstance(whole, Waiting):
        problem = problem or whole.why
    found = whole if isinstance(whole, tuple) else tuple(shares)
    return HotCheckpoint(series=series, step=step, saved=latest.saved, shares=found, problem=problem)


Either = TypeVar("Either", bound=Manifest | HotCheckpoint)


def alive_first(found: Iterable[Either], branches: Sequence[Branch], emit: Emit) -> list[Either]:
    """By time of saving, the last first, without those on a branch that training has left (unless there are no
    others); says of each newer one why it was passed over."""
    ordered = sorted(found, key=lambda each: (each.saved, each.step), reverse=True)
    left = {id(each): branch_of(branches, each.series, each.step, each.saved) for each in ordered}
    alive = [each for each in ordered if left[id(each)] is None]
    if not alive:
        return ordered
    for each in ordered[: ordered.index(alive[0])]:
        if branch := left[id(each)]:
            emit(PassedOver(series=each.series, step=each.step, reason=branch.reason))
    return alive


def read_whole(hot: HotCheckpoint, config: Config, clock: Clock) -> Manifest:
    """The manifest that would commit it, its keys the paths in the hot folder, once every byte was read and is good.

    Raises IntegrityError when it may not be resumed from (also when it changes, or is open for writing),
    CancelledError.
    """
    if hot.problem:
        raise IntegrityError(hot.problem)
    members = tuple(_member(share, config, clock) for share in hot.shares)
    return Manifest(
        format=FORMAT,
        run=config.run,
        run_id=config.run_id or "",
        series=hot.series,
        step=hot.step,
        saved_at=format_time(hot.saved),
        generation=generation_id([member.id for member in members]),
        save_id=hot.shares[0].save_id,
        layout=config.hot.layout,
        members=members,
        metrics={},
        versions={},
    )


def still_there(hot: HotCheckpoint, root: Path) -> bool:
    """Whether its files are those that were read."""
    return all(
        (now := look_at(root, share.copy.path, Place(hot.series, hot.step, share.copy.rank))) is not None
        and now.stamp == share.copy.stamp
        for share in hot.shares
    )


def _member(share: HotShare, config: Config, clock: Clock) -> Member:
    copy, wanted = share.copy, config.hot.complete_when
    names = [Path(file.path).name for file in copy.files]
    is_folder = copy.path != copy.files[0].path
    if is_folder and wanted and not fnmatch.filter(names, wanted):
        raise IntegrityError(f"{copy.path} is not complete: it has no file {wanted}")
    if is_folder and not wanted and not share.handed_over:
        raise IntegrityError(
            f"nobody knows whether {copy.path} is complete",
            "no hook handed the folder over, and it was not taken up before; [hot] complete_when would tell",
        )
    found = [(file.path, _validated(config, file.path, clock)) for file in copy.files]
    if any(read.stamp != file.stamp for (_, read), file in zip(found, copy.files, strict=True)):
        raise SourceChangedError(f"{copy.path} changed while it was looked at")
    digests = tuple(
        FileDigest(path, read.size, read.mode, read.mtime_ns, read.sha256, read.crc64nvme) for path, read in found
    )
    identity, placed = place(config.run, copy.series, copy.step, digests)
    if share.row is not None and share.row.member not in (None, identity):
        raise IntegrityError(f"{copy.path} is damaged", "its bytes are not those that were validated when it was saved")
    return Member(
        id=identity,
        rank=None if share.world_size == 1 else share.rank,
        host="",
        files=tuple(msgspec.structs.replace(file, key=file.path) for file in placed),
        findings=together([(path, read.findings) for path, read in found]),
    )


def _validated(config: Config, path: str, clock: Clock) -> Validated:
    """At least in full: a checkpoint that is resumed from is worth one read."""
    source = config.hot.path / path
    try:
        if is_open_for_writing(source):
            raise SourceChangedError(f"{path} is open for writing")
        return validate(
            source,
            level=Level.DEEP if config.validate.level == "deep" else Level.FULL,
            name=source.name,
            non_finite=config.validate.non_finite,
            custom=config.validate.custom,
            custom_folder=config.file.parent if config.file else None,
            stop=lambda: clock.sleep(0),
        )
    except Rejected as rejection:
        raise IntegrityError(f"{path} on the hot tier is damaged", str(rejection)) from rejection
    except OSError as error:
        raise IntegrityError(f"{path} on the hot tier can't be read", error.strerror or str(error)) from error
