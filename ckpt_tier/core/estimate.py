"""What a training will save and what that takes: space on both tiers, time on the uplink, money, what can be lost.

Pure arithmetic. Every series saves a checkpoint at each step that `every` divides, the first after `every` steps, all
series at the same time. The cold tier keeps everything.
"""

import math
from typing import Literal

import msgspec

Keep = int | Literal["all"]
"""How many checkpoints each series keeps on the hot tier."""

OTHER_KEEPS = (2, 3, 5)
"""What a retention is compared with, besides keeping all."""
GB = 10**9


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """A training, and what there is for its checkpoints.

    Attributes:
        steps: at its end.
        size: bytes of one checkpoint of one series, at least 1.
        series: how many save side by side.
        step_seconds: from step to step, pauses included; None if nobody knows. Then saves are taken to be far enough
            apart for the uplink.
        uplink: bytes per second, at least 1.
        room: bytes that checkpoints may take on the hot tier.
        price: of a GB (10^9 bytes) in the cold tier for a month; None if nobody asks.
    """

    steps: int
    size: int
    series: int = 1
    step_seconds: float | None = None
    uplink: int
    room: int
    price: float | None = None

    @property
    def save_bytes(self) -> int:
        """What all series save at one step."""
        return self.size * self.series

    @property
    def save_seconds(self) -> float:
        """How long the uplink is busy with what is saved at one step."""
        return self.save_bytes / self.uplink


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What one frequency with one retention has come to at the end of the training.

    `hot_bytes` is at rest, everything committed; `peak_bytes` while every series saves one more and `backlog_bytes`
    still wait for a slow uplink. `keeps_up`: whether the uplink sends a save before the next one comes. `lost_steps`
    and `lost_seconds`: the training that is gone if the machine dies at the worst moment, just before a save is sent;
    null where `keeps_up` is false, because it grows for as long as training goes on. Where the time between saves is
    not known, `keeps_up` and `lost_seconds` are null, and `lost_steps` leaves out the time of sending. `fits`: whether
    the peak fits the room.
    """

    every: int
    keep: Keep
    saves: int
    hot_series_bytes: int
    hot_bytes: int
    peak_bytes: int
    backlog_bytes: int
    cold_series_bytes: int
    cold_bytes: int
    uplink_seconds: int
    keeps_up: bool | None
    lost_steps: int | None
    lost_seconds: int | None
    cost_per_month: float | None
    fits: bool


class Assumption(msgspec.Struct, frozen=True):
    """A value that was not given, in words; `name` is the option that sets it."""

    name: str
    value: str
    source: Literal["measured", "configured", "assumed"]


def estimate(training: Training, every: int, keep: Keep) -> Estimate:
    """The estimate for a checkpoint every `every` steps, of which each series keeps `keep` on the hot tier."""
    saves = training.steps // every
    kept = saves if keep == "all" else min(keep, saves)
    cold = saves * training.save_bytes
    waiting = _backlog(training, every)
    peak = min(saves * training.series, (kept + 1) * training.series + waiting) * training.size
    least = least_every(training)
    keeps_up = None if least is None else every >= least
    return Estimate(
        every=every,
        keep=keep,
        saves=saves,
        hot_series_bytes=kept * training.size,
        hot_bytes=kept * training.save_bytes,
        peak_bytes=peak,
        backlog_bytes=waiting * training.size,
        cold_series_bytes=saves * training.size,
        cold_bytes=cold,
        uplink_seconds=-(-cold // training.uplink),
        keeps_up=keeps_up,
        lost_steps=None if keeps_up is False else _lost_steps(training, every),
        lost_seconds=_lost_seconds(training, every) if keeps_up else None,
        cost_per_month=None if training.price is None else training.price * cold / GB,
        fits=peak <= training.room,
    )


def variants(training: Training, every: int, keep: Keep) -> tuple[Estimate, ...]:
    """What was asked for, among half and twice the frequency and other retentions; by frequency, then by retention."""
    frequencies = sorted({max(1, every // 2), every, *([2 * every] if 2 * every <= training.steps else [])})
    keeps: list[Keep] = [*sorted({*OTHER_KEEPS, *([] if keep == "all" else [keep])}), "all"]
    return tuple(estimate(training, frequency, each) for frequency in frequencies for each in keeps)


def largest_keep(training: Training, every: int) -> int:
    """The most checkpoints of each series whose peak fits the room: all that are made if that fits, 0 if not even
    one does."""
    saves = training.steps // every
    files = training.room // training.size
    if saves * training.series <= files:
        return saves
    return max(0, (files - _backlog(training, every)) // training.series - 1)


def least_every_that_all_fit(steps: int, save_bytes: int, room: int) -> int | None:
    """The highest frequency, in steps between saves, at which every save of a training fits the room, rounded up to
    two digits as long as one save is left; None if not even one fits."""
    saves = min(room // save_bytes, steps)
    if saves == 0:
        return None
    least = steps // (saves + 1) + 1
    digit = 10 ** max(0, len(str(least)) - 2)
    rounded = -(-least // digit) * digit
    return rounded if rounded <= steps else least


def least_every(training: Training) -> int | None:
    """The highest frequency, in steps between saves, that the uplink keeps up with; None without `step_seconds`."""
    if training.step_seconds is None:
        return None
    return max(1, math.ceil(training.save_seconds / training.step_seconds))


def _backlog(training: Training, every: int) -> int:
    """Files that at most wait for the uplink, besides those that are kept anyway, while the last save is written.

    The uplink has had the time between all the saves before; which files it took is not counted on: none of those that
    wait needs to be among the newest.
    """
    least = least_every(training)
    if training.step_seconds is None or least is None or every >= least:
        return 0
    behind = training.save_bytes - math.floor(training.uplink * training.step_seconds * every)
    between = max(0, training.steps // every - 1)
    return max(0, -(-between * behind // training.size))


def _lost_steps(training: Training, every: int) -> int:
    """A save is not safe before it is sent: the worst moment is just before the end of that."""
    sending = 0 if training.step_seconds is None else math.ceil(training.save_seconds / training.step_seconds)
    return min(training.steps, every + sending)


def _lost_seconds(training: Training, every: int) -> int | None:
    if training.step_seconds is None:
        return None
    return math.ceil(min(training.steps * training.step_seconds, every * training.step_seconds + training.save_seconds))
