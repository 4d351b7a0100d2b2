"""The pictures of figures over time or steps, and of the disk, as SVG without any script. Pure."""

import math
from collections.abc import Iterable, Sequence

import msgspec

from ckpt_tier.core.units import format_size, parse_time
from ckpt_tier.report.axes import (
    Across,
    Down,
    across,
    duration_ticks,
    size_ticks,
    step_ticks,
    time_ticks,
    value_ticks,
)
from ckpt_tier.report.data import Checkpoint, Curve, Growth, Throughput
from ckpt_tier.report.drawing import BINS, BOTTOM, MOST_DOTS, TOP, axis, picture, plot, stretched, thinned
from ckpt_tier.report.markup import moment, text

COLOURS = 8
"""So many lines of one picture differ by colour and dashes (`style` has both)."""


def lag_over_time(points: Sequence[Checkpoint], told: str) -> str:
    """From saved to committed, a dot for each checkpoint, on a scale of logarithms."""
    dots = [(_seconds(c), float(c.lag_seconds)) for c in points if c.lag_seconds is not None and c.saved_at]
    x = across([at for at, _ in dots])
    logs = [(at, math.log10(max(1.0, lag))) for at, lag in dots]
    most = max((log for _, log in logs), default=1.0)
    y = Down(0.0, max(1.3, most * 1.05), TOP, BOTTOM)
    median = sorted(log for _, log in logs)[len(logs) // 2]
    inside = list(axis(time_ticks(x)))
    if len(logs) > MOST_DOTS:
        inside += _bars_of_dots(logs, x, y)
    else:
        inside += [f'<circle class="cold" cx="{x(at):.2f}%" cy="{y(log):.1f}" r="2.7"/>' for at, log in logs]
    inside.append(f'<line class="median" x1="0" x2="100%" y1="{y(median):.1f}" y2="{y(median):.1f}"/>')
    return plot("lag", "Durability lag over time", told, duration_ticks(y), inside)


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
    inside = list(axis(time_ticks(x)))
    for start, bucket in zip(starts, throughput.buckets, strict=True):
        left, right, top = x(start), x(start + width), y(bucket.bytes)
        inside.append(
            f'<rect class="cold" x="{left + (right - left) * 0.1:.2f}%" width="{(right - left) * 0.8:.2f}%" '
            f'y="{top:.1f}" height="{BOTTOM - top:.1f}" rx="1.5"><title>{moment(bucket.at)}: '
            f"{text(format_size(bucket.bytes))}</title></rect>"
        )
    return plot("throughput", "Bytes committed over time", told, size_ticks(y), inside)


def cold_growth(growth: Sequence[Growth], told: str) -> str:
    """How what the cold tier holds has come together: steps, with the area below."""
    moments = [(parse_time(each.at), each.bytes) for each in growth]
    x = across([at for at, _ in moments])
    y = Down(0.0, float(max((size for _, size in moments), default=0) or 1), TOP, BOTTOM)
    corners = [f"M{10 * x(moments[0][0]):.1f} {BOTTOM:g}V{y(moments[0][1]):.1f}"]
    corners += [f"H{10 * x(at):.1f}V{y(size):.1f}" for at, size in thinned(moments)[1:]]
    line = "".join(corners)
    inside = list(axis(time_ticks(x)))
    inside.append(stretched(f'<path class="area" d="{line}V{BOTTOM:g}Z"/><path class="line c0" d="{line}"/>'))
    return plot("growth", "Bytes in the cold tier over time", told, size_ticks(y), inside)


def curve(number: int, name: str, lines: Sequence[Curve], told: str) -> str:
    """One number over steps, a line for each series; the best point of all is marked."""
    points = [point for line in lines for point in line.points]
    x = across([float(point.step) for point in points])
    values = [point.value for point in points]
    y = Down(min(values), max(values), TOP, BOTTOM - 8)
    inside = list(axis(step_ticks(x)))
    for place, line in enumerate(lines):
        drawn = thinned([(float(p.step), p.value) for p in line.points])
        path = "L".join(f"{10 * x(step):.1f} {y(value):.1f}" for step, value in drawn)
        inside.append(stretched(f'<path class="line c{place % COLOURS}" d="M{path}"/>'))
        if len(drawn) <= 2:
            inside += [
                f'<circle class="dot c{place % COLOURS}" cx="{x(step):.2f}%" cy="{y(value):.1f}" r="3"/>'
                for step, value in drawn
            ]
    top = best(lines)
    inside.append(f'<circle class="best" cx="{x(top.best.step):.2f}%" cy="{y(top.best.value):.1f}" r="5.5"/>')
    return plot(f"curve{number}", f"{name} over steps", told, value_ticks(y), inside)


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


def _seconds(point: Checkpoint) -> float:
    return parse_time(point.saved_at or point.committed_at or "")
