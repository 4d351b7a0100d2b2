"""The pictures: SVG whose coordinates are percentages and whose words are HTML beside it, so that one fits a phone
and a wall, and its letters stay as large as the rest of the page. Colours are classes: the page knows light and dark.

Everything that comes from a checkpoint goes through `escape`.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape

from ckpt_tier.core.units import format_duration, format_size, parse_time
from ckpt_tier.report.data import Checkpoint, Curve, Throughput, Where

MOST_MARKS = 2_000
"""Marks of the time line; of more checkpoints those that lie side by side become one mark."""
MOST_LANES = 64
MOST_POINTS = 400
"""Points of one curve, or of the lags; of more, each stretch shows its least and its largest."""
_COLUMNS = 240
"""Marks of one lane where not every checkpoint has its own."""
_SECONDS = (10.0, 60.0, 600.0, 3600.0, 6 * 3600.0, 86_400.0, 7 * 86_400.0, 30 * 86_400.0)
_WORDS = {
    Where.BOTH: "on both tiers",
    Where.COLD: "in the cold tier",
    Where.HOT: "on the hot tier only",
    Where.TROUBLE: "needs a person",
}

Point = tuple[float, float]
"""(x, y), each in its own unit."""


def time_line(checkpoints: Sequence[Checkpoint]) -> str:
    """A lane for each series: the upper half of a mark is the hot tier, the lower half the cold one."""
    lanes: dict[str, list[Checkpoint]] = defaultdict(list)
    for each in checkpoints:
        lanes[each.series].append(each)
    begin, end = _span([parse_time(each.saved_at) for each in checkpoints])
    gathered = len(checkpoints) > MOST_MARKS
    rows = [
        f'<div class="lane"><span>{escape(name)}</span><svg role="img" height="26">'
        f"<title>{len(members):,} checkpoints of series {escape(name)}</title>"
        f"{''.join(_marks(members, begin, end, gathered=gathered))}</svg></div>"
        for name, members in sorted(lanes.items())[:MOST_LANES]
    ]
    return f'<div class="lanes">{"".join(rows)}<div class="lane"><span></span>{_times(begin, end)}</div></div>'


def _marks(members: Sequence[Checkpoint], begin: float, end: float, *, gathered: bool) -> Iterator[str]:
    def place(each: Checkpoint) -> float:
        return _share(parse_time(each.saved_at), begin, end)

    if not gathered:
        for each in members:
            size = "" if each.size_bytes is None else f", {format_size(each.size_bytes)}"
            told = f"step {each.step}, {each.state}, {_WORDS[each.where]}{size}, saved {each.saved_at[:19]}"
            yield _mark(place(each), each.where, told, is_pinned=each.pinned)
        return
    columns: dict[int, list[Checkpoint]] = defaultdict(list)
    for each in members:
        columns[int(place(each) * (_COLUMNS - 1))].append(each)
    for column, found in sorted(columns.items()):
        for where in Where:
            those = [each for each in found if each.where is where]
            if those:
                told = f"{len(those):,} checkpoints, steps {those[0].step} to {those[-1].step}, {_WORDS[where]}"
                yield _mark(column / (_COLUMNS - 1), where, told, is_pinned=any(each.pinned for each in those))


def _mark(x: float, where: Where, told: str, *, is_pinned: bool) -> str:
    top, height = {Where.COLD: (14, 11), Where.HOT: (2, 11)}.get(where, (2, 23))
    pin = f'<circle class="pin" cx="{_percent(x)}" cy="13" r="3"/>' if is_pinned else ""
    return (
        f'<g><title>{escape(told)}</title><rect class="{where}" x="{_percent(x)}" y="{top}" width="3" '
        f'height="{height}" rx="1" transform="translate(-1.5)"/>{pin}</g>'
    )


def lags(checkpoints: Iterable[Checkpoint]) -> str:
    """How long each checkpoint was on this machine only, by when it was saved; a decade is as high as the next."""
    known = [
        (parse_time(each.saved_at), float(each.lag_seconds)) for each in checkpoints if each.lag_seconds is not None
    ]
    begin, end = _span([x for x, _ in known])
    worst = max(y for _, y in known)
    ticks = [0.0, *itertools.takewhile(lambda tick: tick < worst, _SECONDS)]
    ticks.append(next((tick for tick in _SECONDS if tick >= worst), worst))
    top = math.log1p(ticks[-1])
    dots = "".join(
        f'<circle class="dot" cx="{_percent(_share(x, begin, end))}" cy="{_percent(1 - math.log1p(y) / top)}" r="2.5"/>'
        for x, y in thinned(known)
    )
    words = [(math.log1p(tick) / top, format_duration(tick)) for tick in ticks]
    return _chart(dots, words, _times(begin, end), "Durability lag of each checkpoint")


def bars(throughput: Throughput) -> str:
    """Bytes committed in each stretch of time."""
    top = _top([float(each.bytes) for each in throughput.bins])
    width = 1 / len(throughput.bins)
    drawn = "".join(
        f"<g><title>{each.at[:16].replace('T', ' ')}: {format_size(each.bytes)}, {each.count:,} checkpoints</title>"
        f'<rect class="bar" x="{_percent((number + 0.1) * width)}" y="{_percent(1 - each.bytes / top)}" '
        f'width="{_percent(0.8 * width)}" height="{_percent(each.bytes / top)}"/></g>'
        for number, each in enumerate(throughput.bins)
    )
    begin = parse_time(throughput.bins[0].at)
    end = parse_time(throughput.bins[-1].at) + throughput.bin_seconds
    return _chart(drawn, _sizes(top), _times(begin, end), "Bytes committed over time")


def growth(throughput: Throughput) -> str:
    """All bytes that were committed and are still there, over time."""
    total = 0
    points: list[Point] = [(parse_time(throughput.bins[0].at), 0.0)]
    for each in throughput.bins:
        total += each.bytes
        points.append((parse_time(each.at) + throughput.bin_seconds, float(total)))
    top = _top([float(total)])
    line = _line(points, (points[0][0], points[-1][0]), (0.0, top), "c0")
    times = _times(points[0][0], points[-1][0])
    return _chart(line, _sizes(top), times, "Bytes in the cold tier over time")


def curves(name: str, found: Sequence[Curve]) -> str:
    """One metric over the steps, a line for each series."""
    points = [point for curve in found for point in curve.points]
    ticks = _round_ticks(*_span([y for _, y in points]))
    low, high = ticks[0], ticks[-1]
    first, last = _span([float(x) for x, _ in points])
    lines = "".join(
        _line(thinned(curve.points), (first, last), (low, high), f"c{number % 8}") for number, curve in enumerate(found)
    )
    steps = _labels(first, last, lambda x: f"{round(x):,}")
    legend = "".join(
        f'<span><i class="c{number % 8}"></i>{escape(curve.series)}</span>' for number, curve in enumerate(found)
    )
    below = f'<p class="legend">{legend}</p>' if len(found) > 1 else ""
    words = [(_share(tick, low, high), f"{tick:.6g}") for tick in ticks]
    return _chart(lines, words, steps, f"{name} over the steps") + below


def disk(parts: Sequence[tuple[str, str, int]], total: int, reserve: int) -> str:
    """The hot disk as one bar: (class, what, bytes) of each part, and where `reserve` begins."""
    drawn, at = [], 0.0
    for kind, what, size in parts:
        share = size / total if total else 0.0
        drawn.append(
            f"<g><title>{escape(what)}: {format_size(size)}</title>"
            f'<rect class="{kind}" x="{_percent(at)}" y="0" width="{_percent(share)}" height="100%"/></g>'
        )
        at += share
    mark = _percent(1 - reserve / total) if total else "100%"
    line = f'<line class="reserve" x1="{mark}" x2="{mark}" y1="0" y2="100%"/>'
    legend = "".join(
        f'<span><i class="{kind}"></i>{escape(what)} {format_size(size)}</span>' for kind, what, size in parts
    )
    return (
        f'<svg class="disk" role="img" height="30"><title>Use of the hot disk</title>{"".join(drawn)}{line}</svg>'
        f'<p class="legend">{legend}<span><i class="reserve"></i>min_free {format_size(reserve)}</span></p>'
    )


def thinned(points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> list[Point]:
    """The points, or of too many the least and the largest of each stretch: no peak is lost."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(2 * len(points) / most)
    kept: list[Point] = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        kept += sorted({min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])})
    return kept


def _chart(drawn: str, ticks: Sequence[tuple[float, str]], below: str, title: str) -> str:
    """`ticks`: how far up, from 0 to 1, and what stands there."""
    lines = "".join(
        f'<line class="grid" x1="0" x2="100%" y1="{_percent(1 - up)}" y2="{_percent(1 - up)}"/>' for up, _ in ticks
    )
    words = "".join(f'<span style="top:{_percent(1 - up)}">{escape(say)}</span>' for up, say in ticks)
    return (
        f'<div class="chart"><div class="up">{words}</div>'
        f'<svg role="img" height="180"><title>{escape(title)}</title>{lines}{drawn}</svg><div></div>{below}</div>'
    )


def _line(points: Sequence[Point], across: Point, up: Point, kind: str) -> str:
    placed = " ".join(f"{1000 * _share(x, *across):.1f},{1000 - 1000 * _share(y, *up):.1f}" for x, y in points)
    ends = "".join(
        f'<circle class="end {kind}" cx="{_percent(_share(x, *across))}" cy="{_percent(1 - _share(y, *up))}" r="3"/>'
        for x, y in points[-1:]
    )
    return (
        '<svg x="0" y="0" width="100%" height="100%" viewBox="0 0 1000 1000" preserveAspectRatio="none">'
        f'<polyline class="line {kind}" points="{placed}"/></svg>{ends}'
    )


def _times(begin: float, end: float) -> str:
    form = "%H:%M:%S" if end - begin < 600 else "%b %d %H:%M" if end - begin < 8 * 86_400 else "%Y-%m-%d"
    return _labels(begin, end, lambda at: datetime.fromtimestamp(at, UTC).strftime(form))


def _labels(first: float, last: float, say: Callable[[float], str]) -> str:
    words = "".join(f"<span>{escape(say(at))}</span>" for at in (first, (first + last) / 2, last))
    return f'<div class="across">{words}</div>'


def _span(values: Sequence[float]) -> Point:
    """The least and the largest, never the same."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _sizes(top: float) -> list[tuple[float, str]]:
    return [(part / 4, format_size(round(top * part / 4))) for part in range(5)]


def _top(values: Sequence[float]) -> float:
    """A round number that none is above, whose quarters are round too."""
    most = max(values, default=0.0) or 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(each * power for each in (1, 2, 4, 6, 8, 10) if each * power >= most)


def _round_ticks(low: float, high: float) -> list[float]:
    """Round numbers, four to eight of them, that hold both."""
    power = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(each * power for each in (1, 2, 2.5, 5, 10) if each * power >= (high - low) / 5)
    return [step * number for number in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _share(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"
