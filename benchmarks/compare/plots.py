"""Bar charts as self-contained SVG: one bar a row, a whisker from the least to the most."""

from collections.abc import Sequence
from html import escape

import msgspec

_LABELS = 215
_BARS = 235
_FIGURES = 60
_LINE = 20
_TOP = 52
_OURS = "#2b6cb0"
_THEIRS = "#a9b4c0"
_STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#24292f}.h{font-weight:600}.q{fill:#57606a}"
    "@media(prefers-color-scheme:dark){text{fill:#d0d7de}.q{fill:#8b949e}.w{stroke:#d0d7de}}</style>"
)


class Bar(msgspec.Struct, frozen=True):
    """One measured thing."""

    label: str
    value: float
    lowest: float
    highest: float
    ours: bool


class Panel(msgspec.Struct, frozen=True):
    """Bars of one unit, beside a title."""

    title: str
    unit: str
    bars: Sequence[Bar]


def chart(title: str, panels: Sequence[Panel]) -> str:
    """The panels side by side; each has its bars in its own order, the shortest first."""
    width = len(panels) * (_LABELS + _BARS + _FIGURES)
    height = _TOP + _LINE * max((len(panel.bars) for panel in panels), default=0) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"',
        f'role="img" aria-label="{escape(title, quote=True)}">',
        _STYLE,
        f'<text class="h" x="8" y="18">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        parts.append(_panel(panel, number * (_LABELS + _BARS + _FIGURES)))
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, left: int) -> str:
    most = max((bar.highest for bar in panel.bars), default=1.0) or 1.0
    start = left + _LABELS
    lines = [f'<text class="q" x="{start}" y="40">{escape(panel.title)}, {escape(panel.unit)}</text>']
    for number, bar in enumerate(sorted(panel.bars, key=lambda bar: bar.value)):
        y = _TOP + _LINE * number
        low, value, high = (start + _BARS * at / most for at in (bar.lowest, bar.value, bar.highest))
        colour = _OURS if bar.ours else _THEIRS
        emphasis = ' class="h"' if bar.ours else ""
        lines += [
            f'<text{emphasis} x="{start - 6}" y="{y + 12}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect x="{start}" y="{y + 2}" width="{value - start:.1f}" height="13" fill="{colour}"/>',
            f'<path class="w" d="M{low:.1f} {y + 8.5}H{high:.1f}" stroke="#24292f" stroke-width="1"/>',
            f'<text{emphasis} x="{high + 5:.1f}" y="{y + 12}">{bar.value:.3g}</text>',
        ]
    return "\n".join(lines)
