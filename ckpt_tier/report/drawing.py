"""What all pictures are drawn with. Pure.

Each picture is as wide as the page and has a fixed height: what lies across is in per cent, so nothing is scaled and
text stays readable on a phone. Only lines and areas are stretched; their strokes are not.
"""

import math
from collections.abc import Iterable, Sequence

from ckpt_tier.report.axes import Tick
from ckpt_tier.report.markup import text

MOST_DOTS = 2_000
"""Of one picture; what is more is drawn as one bar for each of `BINS` places."""
BINS = 250
HEIGHT = 230.0
TOP, BOTTOM = 12.0, 202.0
_GUTTER = 62
"""Pixels at the left of a picture with a vertical scale, for its labels; `style` has the same."""
_AXIS = 18.0


def picture(name: str, title: str, told: str, height: float, inside: Iterable[str]) -> str:
    """A picture with its text alternative. `name` is unique on the page."""
    return (
        f'<svg class="picture" width="100%" height="{height:g}" role="img" aria-labelledby="{name}-t {name}-d">'
        f'<title id="{name}-t">{text(title)}</title><desc id="{name}-d">{text(told)}</desc>\n'
        + "\n".join(inside)
        + "</svg>"
    )


def plot(name: str, title: str, told: str, down: Sequence[Tick], inside: Iterable[str]) -> str:
    """A picture of `HEIGHT` with a vertical scale: its labels at the left, a line for each across the picture."""
    labels = [f'<text x="{_GUTTER - 8}" y="{t.at + 4:.1f}" text-anchor="end">{text(t.label)}</text>' for t in down]
    lines = [f'<line class="grid" x1="0" x2="100%" y1="{t.at:.1f}" y2="{t.at:.1f}"/>' for t in down]
    gutter = f'<svg class="picture" width="{_GUTTER}" height="{HEIGHT:g}" aria-hidden="true">{"".join(labels)}</svg>'
    return f'<div class="plot">{gutter}{picture(name, title, told, HEIGHT, [*lines, *inside])}</div>'


def axis(ticks: Sequence[Tick], bottom: float = BOTTOM) -> Iterable[str]:
    """Labels below; on a narrow screen every second one."""
    yield f'<line class="axis" x1="0" x2="100%" y1="{bottom:g}" y2="{bottom:g}"/>'
    for number, tick in enumerate(ticks):
        anchor = "start" if tick.at < 8 else "end" if tick.at > 92 else "middle"
        spare = ' class="spare"' if number % 2 else ""
        yield (
            f'<text{spare} x="{tick.at:.2f}%" y="{bottom + _AXIS:g}" text-anchor="{anchor}">{text(tick.label)}</text>'
        )


def stretched(inside: str) -> str:
    """Lines and areas whose places across are in thousandths of the width."""
    box = f'viewBox="0 0 1000 {HEIGHT:g}" preserveAspectRatio="none" width="100%" height="{HEIGHT:g}"'
    return f"<svg {box}>{inside}</svg>"


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about `MOST_DOTS` of the points: of each run the least and the most, and the very last."""
    if len(points) <= MOST_DOTS:
        return list(points)
    run = math.ceil(2 * len(points) / MOST_DOTS)
    kept: list[tuple[float, float]] = []
    for start in range(0, len(points), run):
        part = points[start : start + run]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]
