"""Line charts as a self-contained SVG, one panel for each figure, for light and dark pages. Nothing is loaded."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from ckpt_tier.cli.curves import Curve
from ckpt_tier.cli.paper import plain

MOST_LINES = 12
"""Of one panel; more can't be told apart."""
_WIDTH = 860
_LEFT, _RIGHT = 84, 24
_PANEL, _GAP, _TOP, _LEGEND = 220, 56, 40, 18
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, which colour-blind people can tell apart: https://jfly.uni-koeln.de/color/"""
_STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#24292f}.h{font-weight:600}.q{fill:#57606a}.g{stroke:#d0d7de}"
    "@media(prefers-color-scheme:dark){text{fill:#d0d7de}.q{fill:#8b949e}.g{stroke:#30363d}}</style>"
)


def drawing(curves: Sequence[Curve], *, title: str) -> str:
    """The chart; each panel has the lines of one figure, in one scale."""
    panels: dict[str, list[Curve]] = {}
    for curve in curves:
        if curve.values:
            panels.setdefault(curve.stat, []).append(curve)
    names = list(dict.fromkeys(curve.name for lines in panels.values() for curve in lines[:MOST_LINES]))
    left_out = len({curve.name for curve in curves}) - len(names)
    top = _TOP + _LEGEND * (len(names) + bool(left_out))
    height = top + len(panels) * (_PANEL + _GAP)
    steps = [step for lines in panels.values() for curve in lines for step, _ in curve.values]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"',
        f'role="img" aria-label="{escape(plain(title), quote=True)}">',
        _STYLE,
        f'<text class="h" x="{_LEFT}" y="22">{escape(plain(title))}</text>',
    ]
    for number, name in enumerate(names):
        y = _TOP + _LEGEND * number
        parts.append(f'<path d="M{_LEFT} {y}h26" {_pen(number)}/>')
        parts.append(f'<text x="{_LEFT + 34}" y="{y + 4}">{escape(plain(name))}</text>')
    if left_out:
        parts.append(f'<text class="q" x="{_LEFT}" y="{top - 14}">{left_out:,} more are left out</text>')
    for number, (stat, lines) in enumerate(panels.items()):
        parts += _panel(stat, lines[:MOST_LINES], names, top + 20 + number * (_PANEL + _GAP), (min(steps), max(steps)))
    return "\n".join([*parts, "</svg>", ""])


def _panel(stat: str, lines: Sequence[Curve], names: Sequence[str], top: int, steps: tuple[int, int]) -> Iterator[str]:
    values = [value for curve in lines for _, value in curve.values]
    ticks = nice_ticks(min(values), max(values))
    low, high = min(ticks[0], min(values)), max(ticks[-1], max(values))

    def x(step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * _part(step, *steps)

    def y(value: float) -> float:
        return top + _PANEL * (1 - _part(value, low, high))

    yield f'<text class="q" x="{_LEFT}" y="{top - 8}">{escape(stat)}</text>'
    for tick in ticks:
        yield f'<path class="g" d="M{_LEFT} {y(tick):.1f}H{_WIDTH - _RIGHT}" stroke-width="1"/>'
        yield f'<text class="q" x="{_LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.6g}</text>'
    for tick in nice_ticks(*steps):
        if steps[0] <= tick <= steps[1]:
            yield f'<text class="q" x="{x(tick):.1f}" y="{top + _PANEL + 18}" text-anchor="middle">{tick:,.10g}</text>'
    for curve in lines:
        pen = _pen(names.index(curve.name))
        for piece in curve.pieces:
            places = [f"{x(step):.1f} {y(value):.1f}" for step, value in piece]
            # A line of one point alone is a dot.
            yield f'<path d="M{"L".join(places)}{"h0.1" if len(piece) == 1 else ""}" {pen}/>'


def _part(value: float, low: float, high: float) -> float:
    """Halved first: the span of two floats may be beyond the largest float."""
    span = high / 2 - low / 2
    return (value / 2 - low / 2) / span if span > 0 else 0.5


def _pen(number: int) -> str:
    dashes = ' stroke-dasharray="6 3"' if number >= len(_COLOURS) else ""
    return (
        f'fill="none" stroke="{_COLOURS[number % len(_COLOURS)]}" stroke-width="1.8" stroke-linecap="round" '
        f'stroke-linejoin="round"{dashes}'
    )


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Up to `most` round numbers that cover `low` to `high`; just these two where there are none between."""
    span = high - low
    if not 0 < span < math.inf or span < 1e-12 * max(abs(low), abs(high)) or span < 1e-300:
        return [low] if low == high else [low, high]
    size = 10.0 ** math.floor(math.log10(span / (most - 2)))
    width = next(size * factor for factor in (1, 2, 5, 10, 20) if span / (size * factor) <= most - 2)
    first = math.floor(low / width)
    count = math.ceil(high / width) - first
    return [(first + number) * width for number in range(count + 1)]
