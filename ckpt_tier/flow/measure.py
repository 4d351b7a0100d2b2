"""What the hot copies of a training show of it: how large its checkpoints are and how often it saves. Pure."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from statistics import median, median_low

import msgspec

from ckpt_tier.flow.status import RATE_SPAN
from ckpt_tier.hot.scan import HotCopy


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A training as its hot copies show it.

    Attributes:
        checkpoints: how many there are, of all series; shares of several ranks are one.
        size: bytes of one, the median.
        series: how many.
        newest_step: the highest.
        every: steps between two saves of a series, the median; None while none has two.
        step_seconds: from step to step, the median over the saves; None as well where the files were copied here.
        held: bytes of all of them together.
    """

    checkpoints: int
    size: int
    series: int
    newest_step: int
    every: int | None
    step_seconds: float | None
    held: int


def measure(copies: Iterable[HotCopy]) -> Measured | None:
    """What `copies` show; None if there are none. Medians, because a truncated file or a pause is not the rule."""
    sizes: defaultdict[str, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
    saved: defaultdict[str, defaultdict[int, float]] = defaultdict(lambda: defaultdict(float))
    for copy in copies:
        sizes[copy.series][copy.step] += copy.stamp.size
        saved[copy.series][copy.step] = max(saved[copy.series][copy.step], copy.mtime_ns / 1e9)
    if not sizes:
        return None
    every_size = [size for steps in sizes.values() for size in steps.values()]
    gaps = [after - before for steps in sizes.values() for before, after in pairwise(sorted(steps))]
    return Measured(
        checkpoints=len(every_size),
        size=median_low(every_size),
        series=len(sizes),
        newest_step=max(step for steps in sizes.values() for step in steps),
        every=median_low(gaps) if gaps else None,
        step_seconds=_step_seconds(saved.values()),
        held=sum(every_size),
    )


def _step_seconds(series: Iterable[dict[int, float]]) -> float | None:
    """Saves closer together than RATE_SPAN in all were copied here; after a rollback time runs backward."""
    paces = []
    for saved in series:
        if max(saved.values()) - min(saved.values()) >= RATE_SPAN:
            between = pairwise(sorted(saved.items()))
            paces += [(late - soon) / (after - before) for (before, soon), (after, late) in between if late > soon]
    return median(paces) if paces else None
