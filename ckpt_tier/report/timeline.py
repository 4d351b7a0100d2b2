"""The time line: a lane for each series, the hot tier above the cold one, a mark for each checkpoint where it lies."""

from collections import Counter
from collections.abc import Iterable, Sequence

from ckpt_tier.core.units import format_size, parse_time
from ckpt_tier.report.axes import Across, across, time_ticks
from ckpt_tier.report.data import TROUBLE, Checkpoint
from ckpt_tier.report.drawing import BINS, MOST_DOTS, axis, picture
from ckpt_tier.report.markup import moment, text

MOST_LANES = 24
_MOST_MARKS = 300
"""Drawn one by one where the others are summed up."""
_LANE, _HOT, _COLD, _BAND = 62.0, 28.0, 46.0, 15.0
_SHAPES = {
    "hot": '<circle r="4" class="hot"/>',
    "cold": '<circle r="3.2" class="cold"/>',
    "waiting": '<circle r="4" class="ring"/>',
    "late": '<path d="M0-5.2 5 4H-5Z" class="late"/>',
    "cross": '<path d="M-4-4 4 4M-4 4 4-4" class="cross"/>',
    "lost": '<path d="M-4-4H4V4H-4Z" class="hollow"/>',
    "damaged": '<path d="M0-5.6 5.6 0 0 5.6-5.6 0Z" class="damaged"/>',
    "pin": '<path d="M-3.5-3H3.5L0 3Z" class="pin"/>',
}
_LEGEND = {
    "hot": "on the hot tier, and committed",
    "cold": "in the cold tier",
    "waiting": "only hot: waits for the cold tier",
    "late": "stalled or incomplete",
    "cross": "rejected or unreadable",
    "lost": "lost before it was committed",
    "damaged": "damaged in the cold tier",
    "pin": "pinned",
}
_SHAPE = {
    "waiting": "waiting", "incomplete": "late", "stalled": "late", "unreadable": "cross", "rejected": "cross",
    "lost": "lost", "damaged": "damaged",
}  # fmt: skip
_WORDS = {"both": "hot and cold", "cold": "cold", "waiting": "waits for the cold tier"}


def timeline(points: Sequence[Checkpoint], told: str) -> str:
    """The picture: of at most `MOST_LANES` series, and above `MOST_DOTS` marks with bars that stand for many."""
    names = lanes(points)
    x = across([_at(point) for point in points])
    bottom = 4 + len(names) * _LANE
    inside = ["<defs>" + "".join(f'<g id="m-{name}">{shape}</g>' for name, shape in _SHAPES.items()) + "</defs>"]
    shown = [point for point in points if point.series in names]
    for place, name in enumerate(names):
        top = 4 + place * _LANE
        mine = [point for point in shown if point.series == name]
        inside += _lane(name, top)
        inside += _summed(mine, x, top) if is_summed(points) else [_mark(point, x, top) for point in mine]
    inside += axis(time_ticks(x), bottom)
    return picture("timeline", "Every checkpoint over the tiers", told, bottom + 28, inside)


def lanes(points: Iterable[Checkpoint]) -> list[str]:
    """The series that get a lane."""
    return sorted({point.series for point in points})[:MOST_LANES]


def is_summed(points: Sequence[Checkpoint]) -> bool:
    """Whether there are too many for a mark each."""
    return len(points) > MOST_DOTS


def legend(points: Sequence[Checkpoint]) -> str:
    """The marks that are there, and how many of each."""
    counts = Counter(_SHAPE.get(point.kind) for point in points)
    counts["hot"] = sum(point.kind == "both" for point in points)
    counts["cold"] = sum(point.kind in ("both", "cold") for point in points)
    counts["pin"] = sum(point.pin is not None for point in points)
    items = [
        f'<li><svg width="14" height="14" aria-hidden="true"><use href="#m-{name}" x="7" y="7"/></svg>'
        f"{text(said)} <b>{counts[name]:,}</b></li>"
        for name, said in _LEGEND.items()
        if counts[name]
    ]
    faded = sum(point.abandoned for point in points)
    if faded:
        items.append(f"<li>pale: on a branch that training has left <b>{faded:,}</b></li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def describe(point: Checkpoint) -> str:
    """One checkpoint in words."""
    told = [f"step {point.step}", _WORDS.get(point.kind, point.kind)]
    if point.size_bytes is not None:
        told.append(format_size(point.size_bytes))
    if point.saved_at:
        told.append(f"saved {moment(point.saved_at)}")
    if point.pin is not None:
        told.append(point.pin)
    if point.abandoned:
        told.append("abandoned")
    return ", ".join(told)


def _lane(name: str, top: float) -> Iterable[str]:
    yield f'<text class="name" x="0" y="{top + 12:g}">series {text(name)}</text>'
    for look, middle in (("hot-band", _HOT), ("cold-band", _COLD)):
        yield f'<rect class="{look}" x="0" width="100%" y="{top + middle - _BAND / 2:g}" height="{_BAND:g}" rx="3"/>'


def _mark(point: Checkpoint, x: Across, top: float) -> str:
    at = f"{x(_at(point)):.2f}%"
    hot, cold = top + _HOT, top + _COLD
    parts = []
    if point.kind == "both":
        parts.append(f'<line class="joint" x1="{at}" x2="{at}" y1="{hot:g}" y2="{cold:g}"/>')
    if point.kind in ("both", "damaged") and point.hot:
        parts.append(_use("hot", at, hot))
    if point.kind in ("both", "cold"):
        parts.append(_use("cold", at, cold))
    elif point.kind == "damaged":
        parts.append(_use("damaged", at, cold))
    else:
        parts.append(_use(_SHAPE[point.kind], at, hot))
    if point.pin is not None:
        parts.append(_use("pin", at, hot - 13))
    pale = ' class="pale"' if point.abandoned else ""
    return f"<g{pale}><title>{text(describe(point))}</title>{''.join(parts)}</g>"


def _use(shape: str, at: str, y: float) -> str:
    return f'<use href="#m-{shape}" x="{at}" y="{y:g}"/>'


def _summed(points: Sequence[Checkpoint], x: Across, top: float) -> Iterable[str]:
    """Bars that stand for many, the stronger the more; what stands out keeps its own mark."""
    for look, middle, there in (("hot", _HOT, _on_hot(points)), ("cold", _COLD, _in_cold(points))):
        places = Counter(int(x(_at(point)) * BINS / 100) for point in there)
        most = max(places.values(), default=1)
        for place, count in sorted(places.items()):
            yield (
                f'<rect class="{look}" opacity="{0.35 + 0.65 * count / most:.2f}" x="{place * 100 / BINS:.1f}%" '
                f'width="{86 / BINS:.2f}%" y="{top + middle - 5:g}" height="10">'
                f"<title>{count:,} checkpoints</title></rect>"
            )
    for point in [point for point in points if _stands_out(point)][-_MOST_MARKS:]:
        yield _mark(point, x, top)


def _stands_out(point: Checkpoint) -> bool:
    return point.kind in TROUBLE or point.kind == "waiting" or point.pin is not None


def _on_hot(points: Iterable[Checkpoint]) -> list[Checkpoint]:
    return [point for point in points if point.hot and point.kind not in TROUBLE]


def _in_cold(points: Iterable[Checkpoint]) -> list[Checkpoint]:
    return [point for point in points if point.kind in ("both", "cold")]


def _at(point: Checkpoint) -> float:
    return parse_time(point.saved_at or point.committed_at or "1970-01-01T00:00:00Z")
