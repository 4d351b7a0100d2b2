"""Asks both tiers for what the report shows: one listing of each, and the journal. Changes nothing."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Literal

import msgspec

from ckpt_tier.cold.notes import NO_NOTES, Notes, list_notes
from ckpt_tier.cold.pins import read_pins
from ckpt_tier.core.states import State
from ckpt_tier.core.units import format_time, parse_time
from ckpt_tier.errors import NotFoundError, UnavailableError
from ckpt_tier.flow.disk import WITHIN, DiskReport
from ckpt_tier.flow.listing import Listed, merge
from ckpt_tier.flow.retry import persistently
from ckpt_tier.flow.status import Status
from ckpt_tier.hot.scan import scan
from ckpt_tier.journal.journal import peek, peek_verdicts
from ckpt_tier.journal.saves import Save
from ckpt_tier.operations import Operations
from ckpt_tier.report import figures, words
from ckpt_tier.report.data import Report
from ckpt_tier.report.tracked import tracked_curves
from ckpt_tier.wiring import Wiring


def gather(wiring: Wiring, *, series: str | None = None, page: str | None = None, track: Sequence[str] = ()) -> Report:
    """The report of all series, or one, as of now. Raises ConfigError, NotFoundError (no such series).

    When the cold tier can't be reached, its checkpoints are those that this machine has read before; the report says
    so in `cold_error`. `track`: names or globs of tensors and numbers to draw as well; what can't be read is a note.
    """
    config = wiring.config
    operations = Operations(wiring)
    entries, manifests, problem = operations.committed(read_all=True)
    committed = entries, manifests, problem
    status = operations.status(committed)
    disk = operations.disk(within=WITHIN, committed=committed)
    pins: dict[tuple[str, int], str] = {}
    notes = NO_NOTES
    if entries is None:
        manifests = wiring.remembered_manifests()
    elif entries:
        try:
            pins, notes = _marks(wiring)
        except UnavailableError as error:
            problem = str(error)
    saves, _ = peek(config.state_dir) or ([], None)
    hot = scan(config.hot.path, wiring.layout).copies
    rows = merge(manifests if entries is None else entries, manifests, hot, saves, pins, notes) + _lost(saves)
    if series is not None:
        _require(series, {row.series for row in rows})
        rows = [row for row in rows if row.series == series]
        status, disk = _only(series, status, disk)
    points = figures.checkpoints(
        rows,
        {(a.series, a.step): a.state for a in status.attention},
        [verdict.key for verdict in peek_verdicts(config.state_dir) if verdict.problem],
        away=entries is None,
    )
    tracked, unread = tracked_curves(wiring, track, sorted({point.series for point in points}))
    return Report(
        at=status.at,
        run=config.run,
        version=version("ckpt-tier"),
        config=str(config.file) if config.file else None,
        page=page,
        series=series,
        summary=words.summary(status),
        cold_error=problem,
        status=status,
        disk=disk,
        checkpoints=points,
        lag=figures.lag(points, parse_time(status.at)),
        throughput=figures.throughput(points),
        growth=figures.growth(points),
        curves=(*figures.curves(rows, _modes(wiring)), *tracked),
        notes=tuple(unread),
    )


def _marks(wiring: Wiring) -> tuple[dict[tuple[str, int], str], Notes]:
    manifests = wiring.cold.manifests
    names = persistently(manifests.series, wiring.clock)
    return (
        persistently(lambda: read_pins(manifests, names), wiring.clock),
        persistently(lambda: list_notes(manifests, names), wiring.clock),
    )


def _lost(saves: list[Save]) -> list[Listed]:
    """What neither tier has, and only the journal tells of."""
    return [
        Listed(
            series=save.series,
            step=save.step,
            generation=save.generation,
            state=save.state,
            hot=False,
            saved_at=format_time(save.saved_at),
            committed_at=None,
            size_bytes=save.size,
            metrics=save.metrics,
            rank=save.rank,
        )
        for save in saves
        if save.state is State.LOST
    ]


def _require(series: str, there: set[str]) -> None:
    if series not in there:
        known = ", ".join(sorted(there)[:12]) if there else ""
        raise NotFoundError(
            f"there is no series {series!r}",
            f"there are {known}" if known else "there are no checkpoints yet",
            "see `ckpt-tier list`, or leave --series out",
        )


def _only(series: str, status: Status, disk: DiskReport) -> tuple[Status, DiskReport]:
    """Both without the other series; what is about the whole disk stays."""
    return (
        msgspec.structs.replace(
            status,
            series=tuple(each for each in status.series if each.name == series),
            attention=tuple(each for each in status.attention if each.series == series),
        ),
        msgspec.structs.replace(disk, series=tuple(each for each in disk.series if each.name == series)),
    )


def _modes(wiring: Wiring) -> dict[str, Literal["min", "max"]]:
    rules = (wiring.config.cold.keep_best, wiring.config.hot.keep_best)
    return {rule.metric: rule.mode for rule in rules if rule is not None}
