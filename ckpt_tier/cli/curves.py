"""What is plotted: a value over the steps for each name and figure."""

import itertools
from collections.abc import Sequence

import msgspec

from ckpt_tier.tracking import Track, Tracked

_OF_TENSORS = ("mean", "min", "max", "std")


class Curve(msgspec.Struct, frozen=True):
    """One line: (step, value) in the order of the checkpoints; None where there is no value."""

    name: str
    stat: str
    points: tuple[tuple[int, float | None], ...]

    @property
    def pieces(self) -> list[list[tuple[int, float]]]:
        """What is drawn through: it breaks where a value is missing, and where a step was saved again."""
        pieces: list[list[tuple[int, float]]] = [[]]
        for step, value in self.points:
            if value is None or (pieces[-1] and step <= pieces[-1][-1][0]):
                pieces.append([])
            if value is not None:
                pieces[-1].append((step, value))
        return [piece for piece in pieces if piece]

    @property
    def values(self) -> list[tuple[int, float]]:
        """All that have a value."""
        return list(itertools.chain.from_iterable(self.pieces))


def stats_of(tracked: Tracked, name: str, stats: Sequence[str]) -> tuple[str, ...]:
    """The figures that were asked for; else the value of what has one element, and four of anything larger."""
    if stats:
        return tuple(stats)
    found = [track.found.figures for point in tracked.points for track in point.tracks if track.name == name]
    sizes = {figures.numel for figures in found if figures is not None}
    return ("value",) if sizes <= {1} else _OF_TENSORS


def curves(tracked: Tracked, stats: Sequence[str]) -> list[Curve]:
    """One for each name and figure, names first."""
    return [
        Curve(name, stat, tuple((point.step.step, _value(point.tracks, name, stat)) for point in tracked.points))
        for name in tracked.names
        for stat in stats_of(tracked, name, stats)
    ]


def _value(tracks: Sequence[Track], name: str, stat: str) -> float | None:
    for track in tracks:
        if track.name == name and track.found.figures is not None:
            value: float | None = getattr(track.found.figures, stat)
            return value
    return None
