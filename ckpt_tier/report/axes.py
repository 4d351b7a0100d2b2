"""Scales and their marks. Horizontal places are percentages, so that a picture fits any width; vertical ones pixels."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from ckpt_tier.core.units import format_duration, format_size

MARGIN = 1.2
"""Per cent that stay free at both sides, so that no mark is cut."""
_NO_SPAN = 1e-300
"""What floats can't be divided by with any sense."""
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_TIME_STEPS = (
    _MINUTE, 5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR,
    _DAY, 2 * _DAY, 4 * _DAY, 7 * _DAY, 14 * _DAY, 28 * _DAY, 84 * _DAY, 168 * _DAY, 364 * _DAY,
)  # fmt: skip
_DURATIONS = (1, 10, _MINUTE, 10 * _MINUTE, _HOUR, 6 * _HOUR, _DAY, 7 * _DAY, 28 * _DAY, 364 * _DAY)


class Tick(msgspec.Struct, frozen=True):
    """A mark on an axis: its place (per cent across, or pixels down) and its label."""

    at: float
    label: str


class Across(msgspec.Struct, frozen=True):
    """A linear scale from left to right."""

    low: float
    high: float

    def __call__(self, value: float) -> float:
        """Per cent from the left; the middle where there is only one value."""
        if self.high <= self.low:
            return 50.0
        return MARGIN + (100 - 2 * MARGIN) * (value - self.low) / (self.high - self.low)


class Down(msgspec.Struct, frozen=True):
    """A linear scale from bottom to top, in pixels from the top."""

    low: float
    high: float
    top: float
    bottom: float

    def __call__(self, value: float) -> float:
        half = self.high / 2 - self.low / 2  # the whole may be more than a float holds
        if half <= _NO_SPAN:
            return (self.top + self.bottom) / 2
        part = (value / 2 - self.low / 2) / half
        return self.bottom - (self.bottom - self.top) * part


def across(values: Sequence[float]) -> Across:
    """The scale that shows all of them."""
    return Across(min(values, default=0.0), max(values, default=0.0))


def time_ticks(scale: Across, most: int = 7) -> list[Tick]:
    """Round moments in UTC, at most so many; days by name, hours by the clock."""
    span = scale.high - scale.low
    years = math.ceil(span / _TIME_STEPS[-1] / (most - 1))
    step = next((s for s in _TIME_STEPS if span / s <= most - 1), _TIME_STEPS[-1] * years)
    first = math.ceil(scale.low / step) * step
    moments: list[float] = [first + step * i for i in range(most + 1) if first + step * i <= scale.high]
    if len(moments) < 2:
        moments = [scale.low] if span <= 0 else [scale.low, scale.high]
        step = _MINUTE if span < _DAY else _DAY
    befores: list[float | None] = [None if _year(scale.low) != _year(scale.high) else moments[0], *moments[:-1]]
    return [Tick(scale(at), _moment(at, before, step)) for at, before in zip(moments, befores, strict=True)]


def _moment(at: float, before: float | None, step: float) -> str:
    """`at` in words; with the year where `before`, the moment named before it, was in another, or is None."""
    moment = datetime.fromtimestamp(at, UTC)
    day = f"{moment.day} {moment:%b}"
    if before is None or _year(before) != _year(at):
        day += f" {moment:%Y}"
    clock = f"{moment:%H:%M}"
    if step >= _DAY or clock == "00:00":
        return day
    return f"{day} {clock}" if before is None or before == at else clock


def _year(at: float) -> int:
    return datetime.fromtimestamp(at, UTC).year


def step_ticks(scale: Across, most: int = 7) -> list[Tick]:
    """Round numbers of steps."""
    return [Tick(scale(value), f"{value:,.0f}") for value in round_values(scale.low, scale.high, most, least=1.0)]


def value_ticks(scale: Down, most: int = 5) -> list[Tick]:
    """Round values of any size."""
    return [Tick(scale(value), f"{value:.6g}") for value in round_values(scale.low, scale.high, most)]


def size_ticks(scale: Down, most: int = 5) -> list[Tick]:
    """Round sizes above 0, in bytes."""
    values = round_values(scale.low, scale.high, most, least=1.0)
    return [Tick(scale(value), format_size(round(value))) for value in values if value > 0]


def duration_ticks(scale: Down) -> list[Tick]:
    """Seconds on a scale of logarithms to the base of ten."""
    shown = [s for s in _DURATIONS if scale.low <= math.log10(s) <= scale.high]
    return [Tick(scale(math.log10(s)), format_duration(s)) for s in shown]


def round_values(low: float, high: float, most: int, least: float = 0.0) -> list[float]:
    """At most so many multiples of 1, 2 or 5 times a power of ten, and of `least`, from `low` to `high`."""
    span = high - low
    if not math.isfinite(span) or span <= 2 * _NO_SPAN:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(s * power for s in (1, 2, 5, 10, 20) if span // (s * power) + 1 <= most)
    step = max(step, least)
    first = math.ceil(low / step - 1e-9)
    values = [(first + i) * step for i in range(most + 1)]
    return [value for value in values if value <= high + step * 1e-9]
