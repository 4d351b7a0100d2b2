"""What there is, over both tiers: the checkpoints for `list`, and which one a restore means."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from ckpt_tier.cold.manifest import Manifest
from ckpt_tier.cold.manifests import Entry, Manifests
from ckpt_tier.cold.notes import NO_NOTES, Notes, metrics_of
from ckpt_tier.core.branches import Branch, branch_of
from ckpt_tier.core.events import Emit, PassedOver
from ckpt_tier.core.states import State
from ckpt_tier.core.units import format_time, parse_time
from ckpt_tier.errors import IntegrityError, NotFoundError
from ckpt_tier.hot.scan import HotCopy
from ckpt_tier.journal.saves import Save


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint, one generation, wherever it is. `None` where nobody has looked.

    Attributes:
        saved_at: RFC 3339; from the manifest, else the hot file's mtime.
        committed_at: RFC 3339, by the store's clock; None if it isn't in the cold tier.
        state: a journal state, "committed", or "hot" for a file nobody has taken up yet.
        hot: a hot copy exists.
        rank: of a share that is not part of a committed checkpoint yet.
        abandoned: it lies on a branch that training has left.
        pin: "pinned", with the reason that was given; None if the step is not.
    """

    series: str
    step: int
    generation: str | None
    state: str
    hot: bool
    saved_at: str | None
    committed_at: str | None
    size_bytes: int | None
    metrics: dict[str, float] = {}
    rank: int | None = None
    pin: str | None = None
    abandoned: bool = False


def merge(
    entries: Iterable[Entry],
    manifests: Mapping[Entry, Manifest],
    hot: Iterable[HotCopy],
    saves: Iterable[Save],
    pins: Mapping[tuple[str, int], str] | None = None,
    notes: Notes = NO_NOTES,
) -> list[Listed]:
    """Both tiers in one list, by series and step."""
    rows: dict[tuple[str, int, str], Listed] = {}
    for entry in entries:
        manifest = manifests.get(entry)
        rows[entry.series, entry.step, entry.generation] = Listed(
            series=entry.series,
            step=entry.step,
            generation=entry.generation,
            state=State.COMMITTED,
            hot=False,
            saved_at=manifest.saved_at if manifest else None,
            committed_at=format_time(entry.committed_at),
            size_bytes=manifest.size if manifest else None,
            metrics=metrics_of(manifest, notes) if manifest else {},
        )
    known = {(save.path, save.stamp): save for save in saves}
    brought_back = {
        (m.series, m.step, frozenset((f.path, f.size, f.mtime_ns) for f in member.files)): m.generation
        for m in manifests.values()
        for member in m.members
    }
    for copy in hot:
        save = known.get((copy.path, copy.stamp))
        row = _of_hot_copy(copy, save)
        if save is None:  # a restore gives its files their times, and the journal learns of them later
            files = frozenset((file.path, file.stamp.size, file.stamp.mtime_ns) for file in copy.files)
            row = msgspec.structs.replace(row, generation=brought_back.get((row.series, row.step, files)))
        there = rows.get((row.series, row.step, row.generation or copy.path))
        rows[row.series, row.step, row.generation or copy.path] = (
            msgspec.structs.replace(there, hot=True) if there else row
        )
    listed = [rows[key] for key in sorted(rows)]
    return [
        msgspec.structs.replace(
            row, pin=(pins or {}).get((row.series, row.step)), abandoned=_is_abandoned(row, notes.branches)
        )
        for row in listed
    ]


def _is_abandoned(row: Listed, branches: Collection[Branch]) -> bool:
    if not branches:
        return False
    saved = row.saved_at or row.committed_at
    return saved is not None and branch_of(branches, row.series, row.step, parse_time(saved)) is not None


def _of_hot_copy(copy: HotCopy, save: Save | None) -> Listed:
    return Listed(
        series=copy.series,
        step=copy.step,
        generation=save.generation if save else None,
        state=save.state if save else "hot",
        hot=True,
        saved_at=format_time(save.saved_at if save else copy.mtime_ns / 1e9),
        committed_at=None,
        size_bytes=copy.stamp.size,
        metrics=save.metrics if save else {},
        rank=copy.rank,
    )


def by_step(manifests: Manifests, series: str, step: int, generation: str | None) -> Manifest:
    """The step's manifest; with several generations the one saved last, unless one is named.

    Raises NotFoundError, which names the nearest steps there are.
    """
    entries = manifests.entries(series, step)
    wanted = [e for e in entries if e.step == step and generation in (None, e.generation)]
    if not wanted:
        raise no_such_step(manifests, [series], step, generation)
    found, damaged = manifests.read_all(wanted)
    return newest_of([*found.values(), *damaged.values()])


def newest_of(read: Collection[Manifest | IntegrityError]) -> Manifest:
    """Of the generations of one step the one saved last. Raises the error of one that can't be read: it may be what is
    meant, and whoever wants another one says so."""
    for each in read:
        if isinstance(each, IntegrityError):
            raise each
    return max((each for each in read if isinstance(each, Manifest)), key=lambda manifest: manifest.saved)


def readable(manifests: Manifests, series: str, emit: Emit) -> list[Manifest]:
    """The series' manifests that can be read and are sound; says why each other one is passed over."""
    found, damaged = manifests.read_all(manifests.entries(series))
    for entry, error in damaged.items():
        emit(PassedOver(series=series, step=entry.step, reason=str(error)))
    return list(found.values())


def no_such_step(manifests: Manifests, names: Sequence[str], step: int, generation: str | None = None) -> NotFoundError:
    """The error for a step, or a generation of it, that none of these series has; it names the nearest steps."""
    steps = {entry.step for entry in manifests.entries_from(dict.fromkeys(names, 0))}
    where = f"step {step} of series {names[0]!r}" if len(names) == 1 else f"step {step}"
    if generation is not None and step in steps:
        return NotFoundError(f"{where} has no generation {generation}", fix="see `ckpt-tier list`")
    near = sorted(sorted(steps, key=lambda there: abs(there - step))[:3])
    noun = "the nearest step is" if len(near) == 1 else "the nearest steps are"
    return NotFoundError(
        f"{where} is not in the cold tier",
        f"{noun} {', '.join(map(str, near))}" if near else "there are no checkpoints yet",
        "see `ckpt-tier list`",
    )
