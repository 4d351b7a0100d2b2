"""Plots for a terminal: dots of braille, eight in a character, or stars where the locale has no braille."""

from collections.abc import Iterator, Sequence

from ckpt_tier.cli import paper
from ckpt_tier.cli.curves import Curve

MOST_PLOTS = 8
_ROWS = 7
_COLUMNS = 64
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot in a braille character, by row and column: https://www.unicode.org/charts/PDF/U2800.pdf"""


def plots(curves: Sequence[Curve]) -> Iterator[str]:
    """One below the other, each with its own scale; a line tells how many were left out."""
    shown = [curve for curve in curves if curve.values][:MOST_PLOTS]
    for number, curve in enumerate(shown):
        if number:
            yield ""
        yield from plot(curve, braille=paper.can_show("⣿"), columns=min(_COLUMNS, paper.width() - 14))
    left = len(curves) - len(shown)
    if left:
        yield f"({left:,} more; {MOST_PLOTS} are shown at most: narrow KEY or --stat)"


def plot(curve: Curve, *, braille: bool, columns: int = _COLUMNS) -> Iterator[str]:
    """A title, the rows with their scale on the left, and the first and last step below."""
    yield paper.style(paper.plain(curve.name) + ("" if curve.stat == "value" else f" {curve.stat}"), bold=True)
    values = curve.values
    low, high = min(value for _, value in values), max(value for _, value in values)
    first, last = values[0][0], max(step for step, _ in values)
    columns = max(16, columns)
    wide, tall = (2, 4) if braille else (1, 1)
    canvas = _Canvas(columns * wide, _ROWS * tall)
    for piece in curve.pieces:
        places = [
            (_scaled(step, first, last, columns * wide), _ROWS * tall - 1 - _scaled(value, low, high, _ROWS * tall))
            for step, value in piece
        ]
        for one, other in zip(places, places[1:] or places, strict=False):
            canvas.line(one, other)
    scale = [f"{high:.5g}", *[""] * (_ROWS - 2), f"{low:.5g}"]
    margin = max(map(len, scale))
    bar = "│" if braille else "|"
    for text, row in zip(scale, canvas.rows(braille=braille), strict=True):
        yield f"{text:>{margin}} {bar}{row}".rstrip()
    ends = f"{first}{last:>{max(1, columns - len(str(first)))}}" if last != first else str(first)
    yield f"{'':>{margin}}  {ends}"


def _scaled(value: float, low: float, high: float, size: int) -> int:
    """Halved first: the span of two floats may be beyond the largest float."""
    span = high / 2 - low / 2
    return round((value / 2 - low / 2) / span * (size - 1)) if span > 0 else size // 2


class _Canvas:
    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._set: set[tuple[int, int]] = set()

    def line(self, one: tuple[int, int], other: tuple[int, int]) -> None:
        length = max(abs(other[0] - one[0]), abs(other[1] - one[1]), 1)
        for number in range(length + 1):
            part = number / length
            x, y = one[0] + (other[0] - one[0]) * part, one[1] + (other[1] - one[1]) * part
            self._set.add((round(x), round(y)))

    def rows(self, *, braille: bool) -> Iterator[str]:
        if not braille:
            for y in range(self._height):
                yield "".join("*" if (x, y) in self._set else " " for x in range(self._width))
            return
        for top in range(0, self._height, 4):
            yield "".join(self._braille(left, top) for left in range(0, self._width, 2))

    def _braille(self, left: int, top: int) -> str:
        bits = sum(_DOTS[y][x] for y in range(4) for x in range(2) if (left + x, top + y) in self._set)
        return chr(0x2800 + bits) if bits else " "
