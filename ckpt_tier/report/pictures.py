"""The pictures, as SVG without any script. Pure.

Each picture is as wide as the page and has a fixed height: what lies across is in per cent, so nothing is scaled and
text stays readable on a phone. Only lines and areas are stretched; their strokes are not.
"""

import math
from collections.abc import Iterable, Sequence

import msgspec

from ckpt_tier.core.units import format_duration, format_size, parse_time
from ckpt_tier.report.axes import (
    Across,
    Down,
    Tick,
    across,
    duration_ticks,
    size_ticks,
    step_ticks,
    time_ticks,
    value_ticks,
)
from ckpt_tier.report.data import Checkpoint, Curve, Growth, Throughput
from ckpt_tier.report.markup import text

MOST_DOTS = 2_000
"""Of one picture; what is more is drawn as one bar for each of `BINS` places."""
BINS = 250
HEIGHT = 230.0
TOP, BOTTOM = 24.0, 202.0
COLOURS = 8
"""So many lines of one picture differ by colour and dashes (`style` has both)."""
_AXIS = 18.0


def picture(name: str, title: str, told: str, height: float, inside: Iterable[str]) -> str:
    """A picture with its text alternative. `name` is unique on the page."""
    return (
        f'<svg class="picture" width="100%" height="{height:g}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{text(title)}</title><desc id="{name}-d">{text(told)}</desc>\n'
        + "\n".join(inside)
        + "</svg>"
    )


def lag_over_time(points: Sequence[Checkpoint], told: str) -> str:
    """From saved to committed, a dot for each checkpoint, on a scale of logarithms."""
    dots = [(_seconds(c), float(c.lag_seconds)) for c in points if c.lag_seconds is not None and c.saved_at]
    x = across([at for at, _ in dots])
    logs = [(at, math.log10(max(1.0, lag))) for at, lag in dots]
    most = max((log for _, log in logs), default=1.0)
    y = Down(0.0, max(1.3, most * 1.05), TOP, BOTTOM)
    median = sorted(log for _, log in logs)[len(logs) // 2]
    label = text(f"median {format_duration(sorted(lag for _, lag in dots)[len(dots) // 2])}")
    inside = [*_grid(duration_ticks(y)), *_axis(time_ticks(x), BOTTOM)]
    if len(logs) > MOST_DOTS:
        inside += _bars_of_dots(logs, x, y)
    else:
        inside += [f'<circle class="cold" cx="{x(at):.2f}%" cy="{y(log):.1f}" r="2.7"/>' for at, log in logs]
    inside += [
        f'<line class="median" x1="0" x2="100%" y1="{y(median):.1f}" y2="{y(median):.1f}"/>',
        f'<text class="halo" x="100%" y="{y(median) - 5:.1f}" text-anchor="end">{label}</text>',
    ]
    return picture("lag", "Durability lag over time", told, HEIGHT, inside)


def _bars_of_dots(dots: Sequence[tuple[float, float]], x: Across, y: Down) -> Iterable[str]:
    """From the least to the most of each place."""
    places: dict[int, list[float]] = {}
    for at, value in dots:
        places.setdefault(int(x(at) * BINS / 100), []).append(value)
    for place, values in sorted(places.items()):
        top, bottom = y(max(values)), y(min(values))
        yield (
            f'<rect class="cold" x="{place * 100 / BINS:.2f}%" width="{80 / BINS:.2f}%" y="{top - 1.5:.1f}" '
            f'height="{bottom - top + 3:.1f}"/>'
        )


def committed_over_time(throughput: Throughput, told: str) -> str:
    """A bar for each bucket of time."""
    starts = [parse_time(bucket.at) for bucket in throughput.buckets]
    width = throughput.bucket_seconds
    x = Across(min(starts, default=0.0), max(starts, default=0.0) + width)
    y = Down(0.0, float(max((bucket.bytes for bucket in throughput.buckets), default=0) or 1), TOP, BOTTOM)
    inside = [*_grid(size_ticks(y)), *_axis(time_ticks(x), BOTTOM)]
    for start, bucket in zip(starts, throughput.buckets, strict=True):
        left, right, top = x(start), x(start + width), y(bucket.bytes)
        inside.append(
            f'<rect class="cold" x="{left + (right - left) * 0.1:.2f}%" width="{(right - left) * 0.8:.2f}%" '
            f'y="{top:.1f}" height="{BOTTOM - top:.1f}" rx="1.5"><title>{text(bucket.at[:16].replace("T", " "))}: '
            f"{text(format_size(bucket.bytes))}</title></rect>"
        )
    return picture("throughput", "Bytes committed over time", told, HEIGHT, inside)


def cold_growth(growth: Sequence[Growth], told: str) -> str:
    """How what the cold tier holds has come together: steps, with the area below."""
    moments = [(parse_time(each.at), each.bytes) for each in growth]
    x = across([at for at, _ in moments])
    y = Down(0.0, float(max((size for _, size in moments), default=0) or 1), TOP, BOTTOM)
    corners = [f"M{10 * x(moments[0][0]):.1f} {BOTTOM:g}V{y(moments[0][1]):.1f}"]
    corners += [f"H{10 * x(at):.1f}V{y(size):.1f}" for at, size in _thinned(moments)[1:]]
    line = "".join(corners)
    inside = [*_grid(size_ticks(y)), *_axis(time_ticks(x), BOTTOM)]
    inside.append(_stretched(f'<path class="area" d="{line}V{BOTTOM:g}Z"/><path class="line c0" d="{line}"/>'))
    return picture("growth", "Bytes in the cold tier over time", told, HEIGHT, inside)


def curve(number: int, name: str, lines: Sequence[Curve], told: str) -> str:
    """One number over steps, a line for each series; the best point of all is marked."""
    points = [point for line in lines for point in line.points]
    x = across([float(point.step) for point in points])
    values = [point.value for point in points]
    y = Down(min(values), max(values), TOP + 6, BOTTOM - 8)
    inside = [*_grid(value_ticks(y)), *_axis(step_ticks(x), BOTTOM)]
    for place, line in enumerate(lines):
        drawn = _thinned([(float(p.step), p.value) for p in line.points])
        path = "L".join(f"{10 * x(step):.1f} {y(value):.1f}" for step, value in drawn)
        inside.append(_stretched(f'<path class="line c{place % COLOURS}" d="M{path}"/>'))
        if len(drawn) <= 2:
            inside += [
                f'<circle class="dot c{place % COLOURS}" cx="{x(step):.2f}%" cy="{y(value):.1f}" r="3"/>'
                for step, value in drawn
            ]
    top = best(lines)
    inside.append(f'<circle class="best" cx="{x(top.best.step):.2f}%" cy="{y(top.best.value):.1f}" r="5.5"/>')
    return picture(f"curve{number}", f"{name} over steps", told, HEIGHT, inside)


def best(lines: Sequence[Curve]) -> Curve:
    """The series whose best point is the best of all."""
    return max(lines, key=lambda line: line.best.value if line.mode == "max" else -line.best.value)


class Share(msgspec.Struct, frozen=True):
    """A piece of a bar: what it is, its bytes, and the class of its colour."""

    label: str
    bytes: int
    look: str


def shares(name: str, title: str, told: str, parts: Sequence[Share], mark: float | None) -> str:
    """One bar of all parts side by side; `mark` is a line at so many per cent."""
    total = sum(part.bytes for part in parts) or 1
    inside, left = [], 0.0
    for part in parts:
        width = 100 * part.bytes / total
        inside.append(
            f'<rect class="{part.look}" x="{left:.3f}%" width="{width:.3f}%" y="14" height="26">'
            f"<title>{text(part.label)}: {text(format_size(part.bytes))}</title></rect>"
        )
        left += width
    if mark is not None:
        anchor = "end" if mark > 50 else "start"
        inside += [
            f'<line class="limit" x1="{mark:.2f}%" x2="{mark:.2f}%" y1="4" y2="46"/>',
            f'<text x="{mark:.2f}%" dx="{-5 if mark > 50 else 5}" y="10" text-anchor="{anchor}">min_free</text>',
        ]
    return picture(name, title, told, 50, inside)


def _grid(ticks: Iterable[Tick]) -> Iterable[str]:
    """A line for each mark, its label above it: so no room is needed beside the picture."""
    for tick in ticks:
        yield f'<line class="grid" x1="0" x2="100%" y1="{tick.at:.1f}" y2="{tick.at:.1f}"/>'
        yield f'<text class="halo" x="0" y="{tick.at - 4:.1f}">{text(tick.label)}</text>'


def _axis(ticks: Sequence[Tick], bottom: float) -> Iterable[str]:
    """Labels below; on a narrow screen every second one."""
    yield f'<line class="axis" x1="0" x2="100%" y1="{bottom:g}" y2="{bottom:g}"/>'
    for number, tick in enumerate(ticks):
        anchor = "start" if tick.at < 8 else "end" if tick.at > 92 else "middle"
        spare = ' class="spare"' if number % 2 else ""
        yield (
            f'<text{spare} x="{tick.at:.2f}%" y="{bottom + _AXIS:g}" text-anchor="{anchor}">{text(tick.label)}</text>'
        )


def time_axis(scale: Across, bottom: float) -> Iterable[str]:
    """The labels of a scale of moments, below `bottom`."""
    return _axis(time_ticks(scale), bottom)


def _stretched(inside: str) -> str:
    """Lines and areas whose places across are in thousandths of the width."""
    return (
        f'<svg viewBox="0 0 1000 {HEIGHT:g}" preserveAspectRatio="none" width="100%" height="{HEIGHT:g}">{inside}</svg>'
    )


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about `MOST_DOTS` of the points: of each run the least and the most, and the very last."""
    if len(points) <= MOST_DOTS:
        return list(points)
    run = math.ceil(2 * len(points) / MOST_DOTS)
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), run):
        part = points[start : start + run]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _seconds(point: Checkpoint) -> float:
    return parse_time(point.saved_at or point.committed_at or "")
