"""From the checkpoints of both tiers to the report's figures. Pure; times are seconds since the epoch."""

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from ckpt_tier.core.states import State
from ckpt_tier.core.units import format_time, parse_time
from ckpt_tier.flow.listing import Listed
from ckpt_tier.report.data import TROUBLE, Bucket, Checkpoint, Curve, Growth, Kind, Lag, Mode, Point, Throughput, worst

_BUCKETS = (60, 300, 900, 3600, 6 * 3600, 86_400, 7 * 86_400, 28 * 86_400)
"""Seconds of a bucket that people think in."""
_MOST_BUCKETS = 60

_MOST_BYTES = 2**63 - 1
"""The largest number of the document: what manifests claim may add up to more."""

_SHOWS_AS = {"incomplete": State.UPLOADED, "unreadable": State.SAVED}
"""The troubles that are no state of their own, and the state of what they are about."""

Troubles = Mapping[tuple[str, int], str]
"""(series, step) → what is wrong, of what is not committed."""
Generation = tuple[str, int, str]


def checkpoints(
    rows: Iterable[Listed], troubles: Troubles, damaged: Iterable[Generation], *, away: bool = False
) -> tuple[Checkpoint, ...]:
    """By series and time of saving. The shares that ranks saved of one step are one checkpoint.

    `away`: the cold tier could not be asked, so the journal's word for what is committed counts.
    """
    bad = frozenset(damaged)
    groups: dict[tuple[object, ...], list[Listed]] = defaultdict(list)
    for number, row in enumerate(rows):
        groups[(row.series, row.step) if row.rank is not None else (number,)].append(row)
    made = [_checkpoint(group, troubles, bad, away) for group in groups.values()]
    return tuple(sorted(made, key=lambda c: (c.series, c.saved_at or c.committed_at or "", c.step)))


def _checkpoint(shares: Sequence[Listed], troubles: Troubles, damaged: frozenset[Generation], away: bool) -> Checkpoint:
    row = shares[0]
    saved = [share.saved_at for share in shares if share.saved_at is not None]
    sizes = [share.size_bytes for share in shares if share.size_bytes is not None]
    lag = None
    if row.saved_at and row.committed_at:
        lag = max(0, round(parse_time(row.committed_at) - parse_time(row.saved_at)))
    return Checkpoint(
        series=row.series,
        step=row.step,
        generation=row.generation,
        kind=worst(_kind(share, troubles, damaged, away) for share in shares),
        hot=any(share.hot for share in shares),
        saved_at=max(saved, default=None),
        committed_at=row.committed_at,
        lag_seconds=lag,
        size_bytes=_added(sizes) if sizes else None,
        pin=row.pin,
        abandoned=row.abandoned,
    )


def _kind(row: Listed, troubles: Troubles, damaged: frozenset[Generation], away: bool) -> Kind:
    if row.committed_at is not None or (away and row.state == State.COMMITTED):
        if (row.series, row.step, row.generation) in damaged:
            return "damaged"
        return "both" if row.hot else "cold"
    said = {row.state}
    trouble = troubles.get((row.series, row.step), "")
    if _SHOWS_AS.get(trouble) == row.state:  # else it is about another save of the step
        said.add(trouble)
    return worst((kind for kind in TROUBLE if kind in said), "waiting")


def lag(points: Iterable[Checkpoint], now: float) -> Lag:
    """Over what is committed; what waits is counted by its age."""
    every = list(points)
    taken = [(c.lag_seconds, c.series, c.step) for c in every if c.lag_seconds is not None]
    ages = [round(now - parse_time(c.saved_at)) for c in every if c.kind == "waiting" and c.saved_at]
    longest = max(taken, default=(None, None, None))
    return Lag(
        count=len(taken),
        median_seconds=round(statistics.median(each[0] for each in taken)) if taken else None,
        worst_seconds=longest[0],
        worst_series=longest[1],
        worst_step=longest[2],
        oldest_waiting_seconds=max(0, *ages) if ages else None,
    )


def throughput(points: Iterable[Checkpoint]) -> Throughput:
    """By time of commit, in the smallest buckets of which at most `_MOST_BUCKETS` span the whole."""
    moments = [(parse_time(c.committed_at), c.size_bytes or 0) for c in points if c.committed_at]
    if not moments:
        return Throughput(bucket_seconds=_BUCKETS[0], buckets=())
    first, last = min(moments)[0], max(moments)[0]
    width = next((w for w in _BUCKETS if last // w - first // w < _MOST_BUCKETS), _BUCKETS[-1])
    found: dict[float, list[int]] = defaultdict(list)
    for at, size in moments:
        found[at // width * width].append(size)
    buckets = [Bucket(at=format_time(at), count=len(each), bytes=_added(each)) for at, each in sorted(found.items())]
    return Throughput(bucket_seconds=width, buckets=tuple(buckets))


def growth(points: Iterable[Checkpoint]) -> tuple[Growth, ...]:
    """What the cold tier holds, added up by time of commit; one entry for each moment."""
    moments = sorted((c.committed_at, c.size_bytes or 0) for c in points if c.committed_at)
    sums = itertools.accumulate(size for _, size in moments)
    added = {at: total for (at, _), total in zip(moments, sums, strict=True)}
    return tuple(Growth(at=at, bytes=min(total, _MOST_BYTES)) for at, total in added.items())


def curves(rows: Iterable[Listed], modes: Mapping[str, Literal["min", "max"]]) -> tuple[Curve, ...]:
    """Each metric of each series over its steps, without abandoned branches; of a step that was saved twice, what was
    saved last. `modes`: which way a metric is better, where the configuration says so."""
    found: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for row in sorted(rows, key=lambda row: row.saved_at or row.committed_at or ""):
        if not row.abandoned:
            for name, value in row.metrics.items():
                if math.isfinite(value):
                    found[name, row.series][row.step] = value
    return tuple(
        curve(name, series, values, modes.get(name, "lowest")) for (name, series), values in sorted(found.items())
    )


def curve(name: str, series: str, values: Mapping[int, float], mode: Mode = "lowest") -> Curve:
    """One number over steps, of which there must be one at least."""
    points = tuple(Point(step, value) for step, value in sorted(values.items()))
    best = max(points, key=lambda p: p.value) if mode == "max" else min(points, key=lambda p: p.value)
    return Curve(name=name, series=series, points=points, best=best, mode=mode)


def _added(sizes: Iterable[int]) -> int:
    return min(sum(sizes), _MOST_BYTES)
