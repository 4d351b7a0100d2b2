"""What the page tells, as the document that `report --json` prints. Pure: made from what `list`, `status` and
`status --disk` know."""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from ckpt_tier.core.states import NEEDS_A_PERSON
from ckpt_tier.core.units import format_duration, format_time, parse_time
from ckpt_tier.flow.disk import DiskReport
from ckpt_tier.flow.listing import Listed
from ckpt_tier.flow.status import SeriesStatus, Status, is_crowded

SCHEMA = "ckpt-tier/report/1"
BINS = 48
"""Bars of the throughput, at most."""
_WIDTHS = (60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86_400, 7 * 86_400, 28 * 86_400)
"""Seconds that a bar may stand for."""


class Where(StrEnum):
    """Where a checkpoint is."""

    BOTH = "both"
    COLD = "cold"
    HOT = "hot"
    TROUBLE = "trouble"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint on the time line.

    `where`: "hot" is on the hot tier only, and waits; "trouble" needs a person, such as one that was rejected.
    `lag_seconds`: from saving to committing; null for what is not committed, or whose manifest was not read.
    """

    series: str
    step: int
    generation: str | None
    saved_at: str
    where: Where
    state: str
    size_bytes: int | None
    lag_seconds: int | None
    pinned: bool
    abandoned: bool


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """Durability lag: how long checkpoints were on this machine only."""

    count: int
    median_seconds: int
    worst_seconds: int
    worst_series: str
    worst_step: int


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """What was committed in one stretch of time that began at `at`."""

    at: str
    bytes: int
    count: int


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes committed over time, in stretches of `bin_seconds`."""

    bin_seconds: int
    bins: tuple[Bin, ...]


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """A metric, or a tracked parameter, of one series: (step, value), by step."""

    name: str
    series: str
    points: tuple[tuple[int, float], ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The document of `report --json`. `sentence`: what would be lost now, and what needs a person. `disk` is null
    where the hot tier could not be looked at; `notes` says what is left out, and why."""

    schema: str = SCHEMA
    at: str
    run: str
    version: str
    sentence: str
    status: Status
    disk: DiskReport | None
    checkpoints: tuple[Checkpoint, ...]
    lag: Lag | None
    throughput: Throughput | None
    curves: tuple[Curve, ...]
    notes: tuple[str, ...]


def report(
    rows: Sequence[Listed],
    status: Status,
    disk: DiskReport | None,
    *,
    version: str,
    tracked: Iterable[Curve] = (),
    notes: Iterable[str] = (),
) -> Report:
    """The report at the time of `status`."""
    damaged = {(each.series, each.step) for each in status.attention if each.state == "damaged"}
    others = {(each.series, each.step) for each in status.attention if each.state != "damaged"}
    checkpoints = tuple(
        sorted(
            (found for row in rows if (found := _checkpoint(row, damaged, others)) is not None),
            key=lambda each: (parse_time(each.saved_at), each.series, each.step),
        )
    )
    return Report(
        at=status.at,
        run=status.run,
        version=version,
        sentence=sentence(status),
        status=status,
        disk=disk,
        checkpoints=checkpoints,
        lag=_lag(checkpoints),
        throughput=_throughput(rows),
        curves=(*_metrics(rows), *tracked),
        notes=tuple(notes),
    )


def sentence(status: Status) -> str:
    """What would be lost now, and what needs a person."""
    needs = [f"{_count(len(status.attention))} a person"] if status.attention else []
    needs += ["the cold tier is away"] if status.cold.error else []
    needs += ["the disk is filling up"] if is_crowded(status) else []
    first = " and ".join(needs) if needs else "nothing needs a person"
    return f"{first[0].upper()}{first[1:]}. {_loss(status.series, has_cold=bool(status.cold.url))}"


def _count(number: int) -> str:
    return f"{number:,} checkpoints need" if number > 1 else "1 checkpoint needs"


def _loss(series: Sequence[SeriesStatus], *, has_cold: bool) -> str:
    if not series:
        return "There are no checkpoints yet."
    if not has_cold:
        return "There is no cold tier: if this machine died now, everything would be lost."
    bare = [each.name for each in series if each.newest_committed is None]
    if bare:
        return f"If this machine died now, all of series {', '.join(bare)} would be lost."
    age = max(each.newest_committed.age_seconds for each in series if each.newest_committed)
    return f"If this machine died now, what was saved in the last {format_duration(age)} would be lost."


def _checkpoint(row: Listed, damaged: set[tuple[str, int]], others: set[tuple[str, int]]) -> Checkpoint | None:
    saved_at = row.saved_at or row.committed_at
    if saved_at is None:
        return None
    place = (row.series, row.step)
    # A step may have a sound generation in the cold tier, and another one here that was rejected.
    is_bad = row.state in NEEDS_A_PERSON or place in (damaged if row.committed_at else others)
    where = Where.BOTH if row.hot and row.committed_at else Where.COLD if row.committed_at else Where.HOT
    lag = None
    if row.committed_at is not None and row.saved_at is not None:
        lag = max(0, round(parse_time(row.committed_at) - parse_time(row.saved_at)))
    return Checkpoint(
        series=row.series,
        step=row.step,
        generation=row.generation,
        saved_at=saved_at,
        where=Where.TROUBLE if is_bad else where,
        state=row.state,
        size_bytes=row.size_bytes,
        lag_seconds=lag,
        pinned=row.pin is not None,
        abandoned=row.abandoned,
    )


def _lag(checkpoints: Sequence[Checkpoint]) -> Lag | None:
    known = sorted((each.lag_seconds, each.series, each.step) for each in checkpoints if each.lag_seconds is not None)
    if not known:
        return None
    worst, series, step = known[-1]
    median = known[(len(known) - 1) // 2][0]
    return Lag(count=len(known), median_seconds=median, worst_seconds=worst, worst_series=series, worst_step=step)


def _throughput(rows: Iterable[Listed]) -> Throughput | None:
    known = sorted(
        (parse_time(row.committed_at), row.size_bytes)
        for row in rows
        if row.committed_at is not None and row.size_bytes is not None
    )
    if not known:
        return None
    span = known[-1][0] - known[0][0]
    width = next((each for each in _WIDTHS if span / each < BINS - 1), _WIDTHS[-1])
    begin = known[0][0] // width * width
    sums: dict[int, list[int]] = defaultdict(list)
    for at, size in known:
        sums[int((at - begin) // width)].append(size)
    # A run of years in bars of four weeks may have more than fits: the last ones are shown.
    numbers = range(max(sums) + 1)[-BINS * 4 :]
    bins = tuple(
        Bin(at=format_time(begin + number * width), bytes=sum(sums[number]), count=len(sums[number]))
        for number in numbers
    )
    return Throughput(bin_seconds=width, bins=bins)


def _metrics(rows: Iterable[Listed]) -> list[Curve]:
    points: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: (row.saved_at or row.committed_at or "", row.step)):
        if not row.abandoned:
            for name, value in row.metrics.items():
                points[name, row.series][row.step] = value  # of a step that was saved twice, the later
    return [
        Curve(name=name, series=series, points=tuple(sorted(found.items())))
        for (name, series), found in sorted(points.items())
    ]


def by_name(curves: Iterable[Curve]) -> list[tuple[str, list[Curve]]]:
    """The curves that belong into one picture."""
    ordered = sorted(curves, key=lambda curve: (curve.name, curve.series))
    return [(name, list(group)) for name, group in itertools.groupby(ordered, key=lambda curve: curve.name)]
